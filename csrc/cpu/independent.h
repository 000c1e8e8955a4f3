// Independent classes over a run: sigmoid, element by element, for any number of classes.
#pragma once

#include "runs.h"

#include "../lsr/activation.h"

namespace lsr {
namespace {

// Vector j of those that hold a vector of pixels, of which there are as many as classes: the row of a class,
// or elements side by side. Vectors of one j hold the same classes in the same lanes.
template <Shape kShape, int kWidth, class S>
LSR_HD S* element_vector(Pointer<S> pixels, int j) {
  return kShape == Shape::kPixels ? pixels.data + j * kWidth : pixels.of_class(j);
}

// The logistic function of vector j at vector i of a part, the k-th of its group.
template <class S, Shape kShape>
LSR_HD Logistic<Lanes<Compute<S>>> logistic_at(const Part<S, 0, kShape>& part, int i, int k, int j) {
  constexpr int kWidth = kLanes<Compute<S>>;
  const S* from = element_vector<kShape, kWidth>(part.shaped(part.logits).at((i - k) * kWidth), j);
  return logistic<Lanes<Compute<S>>>(part.valid(i, k)(load_vector<kShape>(from, k)));
}

template <class S, Shape kShape, class V>
LSR_HD void part_moments(const Part<S, 0, kShape>& part, int classes, LaneSums<V> sums) {
  for (int j = 0; j < classes; ++j) {
    V sum_p{}, sum_q{};
    part.for_each_vector([&](int i, int k) LSR_LAMBDA {
      const Logistic<V> one = logistic_at(part, i, k, j);
      const V inverse = part.valid(i, k)(one.inverse);
      sum_p += one.p * inverse;
      sum_q += one.q * (inverse * inverse);
    });
    sums.p[j] += sum_p;
    sums.q[j] += sum_q;
  }
}

template <class S>
void independent_moments(const Run<S>& run, const Scratch<S>& scratch, double* sums_p, double* sums_q) {
  const auto add_part = [&](const auto& part, auto sums) { part_moments(part, run.classes, sums); };
  // Whole vectors side by side apart from the rest: their lanes are those of other classes.
  const bool side_by_side = !run.mask && shape_of(run.logits, run.classes, true) == Shape::kPixels;
  const int64_t whole = side_by_side ? run.count - run.count % kLanes<Compute<S>> : 0;
  const Run<S> vectors{run.logits, whole, nullptr, run.classes};
  const Run<S> rest{run.logits.at(whole), run.count - whole, run.mask, run.classes};
  if (vectors.count) sum_run<0, true>(vectors, scratch, sums_p, sums_q, LaneClasses::kInTurn, add_part);
  if (rest.count) sum_run<0, false>(rest, scratch, sums_p, sums_q, LaneClasses::kOne, add_part);
}

// a and b for the lanes of each vector of elements side by side.
template <class T>
__attribute__((noinline)) void spread_coefficients(int classes, const T* a, const T* b, Lanes<T>* a_lanes,
                                                   Lanes<T>* b_lanes) {
  for (int e = 0, l = 0; e < classes * kLanes<T>; ++e, l = l + 1 < classes ? l + 1 : 0) {
    a_lanes[e / kLanes<T>][e % kLanes<T>] = a[l];
    b_lanes[e / kLanes<T>][e % kLanes<T>] = b[l];
  }
}

template <class S, Shape kShape, class T, class V>
LSR_HD void part_gradient(const Part<S, 0, kShape>& part, int classes, const T* a, const T* b,
                          const V* a_lanes, const V* b_lanes, Pointer<S> out, bool stream) {
  constexpr int kWidth = kLanes<T>;
  for (int j = 0; j < classes; ++j) {
    const V a_j = kShape == Shape::kPixels ? a_lanes[j] : V{} + a[j];
    const V b_j = kShape == Shape::kPixels ? b_lanes[j] : V{} + b[j];
    V group[kGroup<S, kShape>];
    part.for_each_vector([&](int i, int k) LSR_LAMBDA {
      const Logistic<V> one = logistic_at(part, i, k, j);
      const V g = (a_j + b_j * (one.p * one.inverse)) * (one.q * one.inverse * one.inverse);
      group[k] = part.valid(i, k)(g);
      if (k + 1 < kGroup<S, kShape>) return;
      store_group<kShape>(element_vector<kShape, kWidth>(out.at((i - k) * kWidth), j), group, 1, stream);
    });
  }
}

template <class S>
void independent_gradient(const Run<S>& run, const Scratch<S>& scratch, const Compute<S>* a,
                          const Compute<S>* b, Pointer<S> out, bool stream) {
  Lanes<Compute<S>>*a_lanes = scratch.sums(), *b_lanes = a_lanes + run.classes;
  spread_coefficients(run.classes, a, b, a_lanes, b_lanes);
  const auto write_part = [&](const auto& part, Pointer<S> to, bool streams) {
    part_gradient(part, run.classes, a, b, a_lanes, b_lanes, to, streams);
  };
  write_run<0, true>(run, scratch, out, stream, write_part);
}

}  // namespace
}  // namespace lsr
