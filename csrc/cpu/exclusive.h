// Exclusive classes over a run: softmax. Static is the number of classes where the compiler knows it, or 0.
//
// A part is passed over several times, each time by a short loop whose turns do not depend on each other: the
// processor works on many of them at once, where one long loop would wait at each of its steps.
#pragma once

#include "runs.h"

#include "../lsr/activation.h"

namespace lsr {
namespace {

// Two classes go from memory to registers at once; of more, the part's exponentials are made first, in x.
template <int Static>
constexpr bool kStaged = Static != 2;

// exp(x_l - max) of the part's pixels, to x, (vectors, classes).
template <class S, int Static, Shape kShape, class V>
LSR_HD void part_exponentials(const Part<S, Static, kShape>& part, int classes, V* x) {
  part.for_each_vector([&](int i, int k) LSR_LAMBDA {
    V* at = x + i * classes;
    V logits[Static ? Static : 1];
    V* from = Static ? logits : at;
    part.load(i, k, classes, from);
    V top = from[0];
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { top = at_least(top, from[l]); });
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { at[l] = from[l] - top; });
  });
  for (int k = 0; k < part.vectors() * classes; ++k) x[k] = exp_of(x[k]);
}

// What the classes of a pixel share: 1 / sum of the exponentials, and 1 - p of the class at the top.
template <class V>
struct Share {
  V inverse, below;
};

template <int Static, class V, class Count>
LSR_HD Share<V> share_of(int classes, const V* e, Count count) {
  const V one = V{} + 1.0f;
  V sum{}, rest{};
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
    sum += e[l];
    rest = add_unless(e[l] == one, rest, e[l]);
  });
  // The sum without one class at the top. Where several tie for it, nothing cancels in sum - 1.
  const V others = select(sum - rest > one + 0.5f, sum - one, rest);
  const V inverse = count(inverse_of(one + others));
  return {inverse, others * inverse};
}

template <class S, int Static, Shape kShape, class V>
LSR_HD void add_staged(const Part<S, Static, kShape>& part, int classes, V* x, LaneSums<V> sums) {
  Share<V> shares[kPartVectors];
  part_exponentials(part, classes, x);
  part.for_each_vector([&](int i, int k) LSR_LAMBDA {
    part.prefetch_next(i, classes);
    shares[i] = share_of<Static, V>(classes, x + i * classes, part.valid(i, k));
  });
  for (int l = 0; l < classes; ++l) {
    V sum_p{}, sum_q{};
    for (int i = 0; i < part.vectors(); ++i) {
      const V e = x[i * classes + l], p = e * shares[i].inverse;
      sum_p += p;
      // 1 - p as a sum that cannot cancel; of the top class e is 1.
      sum_q += p * ((1.0f - e) * shares[i].inverse + shares[i].below);
    }
    sums.p[l] += sum_p;
    sums.q[l] += sum_q;
  }
}

// Two classes: their probabilities, and the product of these.
template <class V>
struct Pair {
  V p[2], product;
};

// The second class has the logistic function of the difference x.
template <class V, class Count>
LSR_HD Pair<V> pair_of(V x, Count count) {
  const V e = exp_of(minus_abs(x)), more = count(inverse_of(1.0f + e)), less = e * more;
  return {{select(x > V{}, less, more), select(x > V{}, more, less)}, more * less};
}

template <class S, int Static, Shape kShape>
LSR_HD Pair<Lanes<Compute<S>>> pair_at(const Part<S, Static, kShape>& part, int i, int k) {
  Lanes<Compute<S>> two[2];
  part.prefetch_next(i, 2);
  part.load(i, k, 2, two);
  return pair_of(lead_of(two[0], two[1], at_least(two[0], two[1])), part.valid(i, k));
}

template <class S, Shape kShape, class V>
LSR_HD void add_pairs(const Part<S, 2, kShape>& part, LaneSums<V> sums) {
  V sum_p[2] = {}, sum_q{};
  part.for_each_vector([&](int i, int k) LSR_LAMBDA {
    const Pair<V> pair = pair_at(part, i, k);
    for (int l = 0; l < 2; ++l) sum_p[l] += pair.p[l];
    sum_q += pair.product;
  });
  for (int l = 0; l < 2; ++l) {
    sums.p[l] += sum_p[l];
    sums.q[l] += sum_q;
  }
}

template <class S, int Static, Shape kShape, class V>
LSR_HD void part_moments(const Part<S, Static, kShape>& part, int classes, V* x, LaneSums<V> sums) {
  if constexpr (kStaged<Static>) {
    add_staged(part, Static ? Static : classes, x, sums);
  } else {
    add_pairs(part, sums);
  }
}

template <class S, int Static, Shape kShape, class T, class V>
LSR_HD void part_gradient(const Part<S, Static, kShape>& part, int all_classes, const T* a, const T* b,
                          Pointer<S> out, bool stream, V* x, V* room) {
  const int classes = Static ? Static : all_classes;
  V local[kGroup<S, kShape> * (Static ? Static : 1)], probabilities[Static ? Static : 1];
  V* group = Static ? local : room;  // (vectors of a group, classes)
  if (kStaged<Static>) part_exponentials(part, classes, x);
  part.for_each_vector([&](int i, int k) LSR_LAMBDA {
    V* g = group + k * classes;
    if constexpr (kStaged<Static>) {
      V* e = x + i * classes;
      part.prefetch_next(i, classes);
      softmax_gradient<Static, T, V>(classes, e, Static ? probabilities : e, g, a, b);
      const auto valid = part.valid(i, k);
      for_classes<Static>(classes, [&](int l) LSR_LAMBDA { g[l] = valid(g[l]); });
    } else {
      const Pair<V> pair = pair_at(part, i, k);
      g[1] = part.valid(i, k)(pair.product * (a[1] - a[0] + b[1] * pair.p[1] - b[0] * pair.p[0]));
      g[0] = -g[1];
    }
    if (k + 1 < kGroup<S, kShape>) return;
    store_pixels<Static, kShape, S>(out.at((i - k) * part.kWidth), classes, group, stream);
  });
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
