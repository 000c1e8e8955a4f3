// Exclusive classes over a run: softmax. Static is the number of classes where the compiler knows it, or 0.
//
// The classes of a part pass through their exponentials for all of the part, then through what follows from
// them: two short loops whose iterations overlap in the processor, where one long loop would wait at each of
// its steps.
#pragma once

#include "runs.h"

#include "../lsr/activation.h"

namespace lsr {
namespace {

// Two classes go from memory to registers at once; of more, the part's exponentials are made first, in x.
template <int Static>
constexpr bool kStaged = Static != 2;

template <class S, int Static, Shape kShape, class V>
LSR_HD void part_exponentials(const Part<S, Static, kShape>& part, int classes, V* x) {
  for (int i = 0; i < part.vectors(); ++i, x += Static ? Static : classes) {
    part.load(i, classes, x);
    softmax_exponentials<Static, V>(classes, x);
  }
}

template <class S, int Static, Shape kShape, class V>
LSR_HD void part_moments(const Part<S, Static, kShape>& part, int classes, V* x, LaneSums<V> sums) {
  // The part's own sums: in registers, where Static gives their number.
  V local[2 * (Static ? Static : 1)] = {};
  V* sum_p = Static ? local : sums.p;
  V* sum_q = Static ? local + Static : sums.q;
  const auto take = [&](int l, V p, V q) LSR_LAMBDA {
    sum_p[l] += p;
    sum_q[l] += q;
  };
  if (kStaged<Static>) part_exponentials(part, classes, x);
  for (int i = 0; i < part.vectors(); ++i, x += kStaged<Static> ? classes : 0) {
    part.prefetch_next(i, classes);
    const auto valid = part.valid(i);
    if constexpr (kStaged<Static>) {
      softmax_moments<Static, V>(classes, x, valid, take);
    } else {
      V two[2];
      part.load(i, 2, two);
      const Logistic<V> one = logistic<V>(two[1] - two[0]);
      const V inverse = valid(one.inverse), q = one.q * (inverse * inverse);
      take(0, one.complement * inverse, q);
      take(1, one.p * inverse, q);
    }
  }
  if constexpr (Static > 0) {
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
      sums.p[l] += sum_p[l];
      sums.q[l] += sum_q[l];
    });
  }
}

template <class S, int Static, Shape kShape, class T, class V>
LSR_HD void part_gradient(const Part<S, Static, kShape>& part, int classes, const T* a, const T* b,
                          Pointer<S> out, bool stream, V* x, V* room) {
  V local[2 * (Static ? Static : 1)];
  V* p = Static ? local : room;
  V* g = p + (Static ? Static : classes);
  if (kStaged<Static>) part_exponentials(part, classes, x);
  for (int i = 0; i < part.vectors(); ++i, x += kStaged<Static> ? classes : 0) {
    part.prefetch_next(i, classes);
    if constexpr (kStaged<Static>) {
      softmax_gradient<Static, T, V>(classes, x, p, g, a, b);
    } else {
      V two[2];
      part.load(i, 2, two);
      const Logistic<V> one = logistic<V>(two[1] - two[0]);
      const V difference = a[1] - a[0] + (b[1] * one.p - b[0] * one.complement) * one.inverse;
      g[1] = difference * (one.q * one.inverse * one.inverse);
      g[0] = -g[1];
    }
    const auto valid = part.valid(i);
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { g[l] = valid(g[l]); });
    store_pixels<Static, kShape, S>(out.at(i * part.kWidth), classes, g, stream);
  }
}

template <int Static, class S>
void exclusive_moments(const Run<S>& run, const Scratch<S>& scratch, double* sums_p, double* sums_q) {
  const auto add_part = [&](const auto& part, auto sums) {
    part_moments(part, run.classes, scratch.lanes(), sums);
  };
  sum_run<Static, (Static > 0)>(run, scratch, sums_p, sums_q, LaneClasses::kOne, add_part);
}

template <int Static, class S>
void exclusive_gradient(const Run<S>& run, const Scratch<S>& scratch, const Compute<S>* a,
                        const Compute<S>* b, Pointer<S> out, bool stream) {
  const auto write_part = [&](const auto& part, Pointer<S> to, bool streams) {
    part_gradient(part, run.classes, a, b, to, streams, scratch.lanes(), scratch.sums());
  };
  write_run<Static, (Static > 0)>(run, scratch, out, stream, write_part);
}

}  // namespace
}  // namespace lsr
