// Channels last to rows and back: L vectors that hold the classes of their pixels side by side become one
// vector per class, by L - 1 two-source shuffles each.
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
LSR_HD void to_rows(const Lanes<T>* in, Lanes<T>* out, std::integer_sequence<int, C...>) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes<T>>{};
  ((out[C] = gather_class<T, L, C, 1>(in[0], in, lanes)), ...);
}

template <class T, int L, int... J>
LSR_HD void from_rows(const Lanes<T>* in, Lanes<T>* out, std::integer_sequence<int, J...>) {
  constexpr auto lanes = std::make_integer_sequence<int, kLanes<T>>{};
  ((out[J] = gather_elements<T, L, J, 1>(in[0], in, lanes)), ...);
}

}  // namespace
}  // namespace lsr
