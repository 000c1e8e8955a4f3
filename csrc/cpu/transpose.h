// Channels last to rows and back: L vectors that hold the classes of their pixels side by side become one
// vector per class. While L is even, classes are parted into even and odd ones, by a two-source shuffle for
// each vector; an odd number of them takes L - 1 shuffles each.
#pragma once

#include <utility>

#include "vec.h"

namespace lsr {
namespace {

template <class T>
using Lanes = typename Vec<T>::Lanes;

template <class T, int... Index>
LSR_HD Lanes<T> shuffle(Lanes<T> a, Lanes<T> b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, Index...);
#else
  return __builtin_shuffle(a, b, typename Vec<T>::Mask{Index...});
#endif
}

// Lane `lane` of the step that merges source `step` into what sources 0 .. step - 1 gave. `from` is the
// source that the lane comes from in the end, `at` its lane there.
constexpr int merge_index(int lanes, int lane, int step, int from, int at) {
  if (from == step) return lanes + at;
  return step == 1 && from == 0 ? at : lane;
}

// Class c of W pixels, out of L vectors of W elements: pixel i has it at element c + i L.
template <class T, int L, int C, int Step, int... I>
LSR_HD Lanes<T> gather_class(Lanes<T> sofar, const Lanes<T>* in, std::integer_sequence<int, I...> lanes) {
  constexpr int W = kLanes<T>;
  const Lanes<T> merged =
      shuffle<T, merge_index(W, I, Step, (C + I * L) / W, (C + I * L) % W)...>(sofar, in[Step]);
  if constexpr (Step + 1 < L) {
    return gather_class<T, L, C, Step + 1>(merged, in, lanes);
  } else {
    return merged;
  }
}

// Vector J of the W L elements of W pixels, out of one vector per class.
template <class T, int L, int J, int Step, int... I>
LSR_HD Lanes<T> gather_elements(Lanes<T> sofar, const Lanes<T>* in, std::integer_sequence<int, I...> lanes) {
  constexpr int W = kLanes<T>;
  const Lanes<T> merged =
      shuffle<T, merge_index(W, I, Step, (J * W + I) % L, (J * W + I) / L)...>(sofar, in[Step]);
  if constexpr (Step + 1 < L) {
    return gather_elements<T, L, J, Step + 1>(merged, in, lanes);
  } else {
    return merged;
  }
}

template <class T, int L, int... C>
LSR_HD void gather_classes(const Lanes<T>* in, Lanes<T>* out, std::integer_sequence<int, C...>) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes<T>>{};
  ((out[C] = gather_class<T, L, C, 1>(in[0], in, lanes)), ...);
}

template <class T, int L, int... J>
LSR_HD void gather_pixels(const Lanes<T>* in, Lanes<T>* out, std::integer_sequence<int, J...>) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes<T>>{};
  ((out[J] = gather_elements<T, L, J, 1>(in[0], in, lanes)), ...);
}

template <class T, int Odd, int... I>
LSR_HD Lanes<T> every_second(Lanes<T> a, Lanes<T> b, std::integer_sequence<int, I...>) {
  return shuffle<T, 2 * I + Odd...>(a, b);
}

// The first or the second half of a0 b0 a1 b1 ...
template <class T, int Half, int... I>
LSR_HD Lanes<T> zipped(Lanes<T> a, Lanes<T> b, std::integer_sequence<int, I...>) {
  constexpr int W = kLanes<T>;
  return shuffle<T, (Half * W + I) / 2 + I % 2 * W...>(a, b);
}

template <class T, int L>
LSR_HD void to_rows(const Lanes<T>* in, Lanes<T>* out);
template <class T, int L>
LSR_HD void from_rows(const Lanes<T>* in, Lanes<T>* out);

// to_rows and from_rows of the even classes by themselves (Odd is 0), or of the odd ones.
template <class T, int L, int Odd>
LSR_HD void half_to_rows(const Lanes<T>* in, Lanes<T>* out) {
  Lanes<T> rows[L / 2];
  to_rows<T, L / 2>(in, rows);
  for_classes<L / 2>(0, [&](int j) LSR_LAMBDA { out[2 * j + Odd] = rows[j]; });
}

template <class T, int L, int Odd>
LSR_HD void half_from_rows(const Lanes<T>* in, Lanes<T>* out) {
  Lanes<T> rows[L / 2];
  for_classes<L / 2>(0, [&](int j) LSR_LAMBDA { rows[j] = in[2 * j + Odd]; });
  from_rows<T, L / 2>(rows, out);
}

template <class T, int L>
LSR_HD void to_rows(const Lanes<T>* in, Lanes<T>* out) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes<T>>{};
  if constexpr (L == 1) {
    out[0] = in[0];
  } else if constexpr (L % 2 == 0) {
    Lanes<T> half[L / 2];
    for_classes<L / 2>(
        0, [&](int j) LSR_LAMBDA { half[j] = every_second<T, 0>(in[2 * j], in[2 * j + 1], lanes); });
    half_to_rows<T, L, 0>(half, out);
    for_classes<L / 2>(
        0, [&](int j) LSR_LAMBDA { half[j] = every_second<T, 1>(in[2 * j], in[2 * j + 1], lanes); });
    half_to_rows<T, L, 1>(half, out);
  } else {
    gather_classes<T, L>(in, out, std::make_integer_sequence<int, L>{});
  }
}

template <class T, int L>
LSR_HD void from_rows(const Lanes<T>* in, Lanes<T>* out) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes<T>>{};
  if constexpr (L == 1) {
    out[0] = in[0];
  } else if constexpr (L % 2 == 0) {
    Lanes<T> even[L / 2], odd[L / 2];
    half_from_rows<T, L, 0>(in, even);
    half_from_rows<T, L, 1>(in, odd);
    for_classes<L / 2>(0, [&](int j) LSR_LAMBDA {
      out[2 * j] = zipped<T, 0>(even[j], odd[j], lanes);
      out[2 * j + 1] = zipped<T, 1>(even[j], odd[j], lanes);
    });
  } else {
    gather_pixels<T, L>(in, out, std::make_integer_sequence<int, L>{});
  }
}

}  // namespace
}  // namespace lsr
