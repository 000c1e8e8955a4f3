// Lanes of pixels as compiler vectors, as wide as the including translation unit's LSR_VECTOR_BYTES.
//
// Included before lsr/activation.h: built-in types have no namespace, so its templates find only those
// overloads of select and exp_of that were declared before them.
#pragma once

#include <cstdint>
#include <cstring>

#include "../lsr/macros.h"

namespace lsr {

typedef float Floats __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef double Doubles __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef int32_t FloatMask __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef int64_t DoubleMask __attribute__((vector_size(LSR_VECTOR_BYTES)));

template <class T>
struct Vec;
template <>
struct Vec<float> {
  using Lanes = Floats;
  using Mask = FloatMask;
  using Bits = int32_t;
};
template <>
struct Vec<double> {
  using Lanes = Doubles;
  using Mask = DoubleMask;
  using Bits = int64_t;
};
template <class T>
constexpr int kLanes = LSR_VECTOR_BYTES / sizeof(T);

LSR_HD Floats select(FloatMask mask, Floats a, Floats b) { return mask ? a : b; }
LSR_HD Doubles select(DoubleMask mask, Doubles a, Doubles b) { return mask ? a : b; }

template <class V, class T>
LSR_HD V load_lanes(const T* from) {
  V lanes;
  std::memcpy(&lanes, from, sizeof(V));
  return lanes;
}

template <class V, class T>
LSR_HD void store_lanes(T* to, V lanes) {
  std::memcpy(to, &lanes, sizeof(V));
}

// exp(x) for x <= 0, to about 1 ulp; below the smallest normal number it stays there. NaN stays NaN.
//   1. x = n ln 2 + r, |r| <= ln 2 / 2, ln 2 in two parts (Cody and Waite). Adding `round` leaves n plus the
//      exponent's bias in the low bits of the sum.
//   2. exp(r) by a polynomial.  3. times 2^n.
LSR_HD Floats exp_of(Floats x) {
  constexpr float kRound = 12582912.0f + 127.0f;
  x = select(x < -87.33f, Floats{} - 87.33f, x);
  const Floats shifted = x * 1.44269504f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  return y * (Floats)((FloatMask)shifted << 23);
}

LSR_HD Doubles exp_of(Doubles x) {
  constexpr double kRound = 6755399441055744.0 + 1023.0;
  constexpr double kTaylor[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  x = select(x < -708.0, Doubles{} - 708.0, x);
  const Doubles shifted = x * 1.4426950408889634 + kRound;
  const Doubles n = shifted - kRound;
  const Doubles r = x - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6;
  Doubles y = Doubles{} + kTaylor[0];
  for (int i = 1; i < 14; ++i) y = y * r + kTaylor[i];
  return y * (Doubles)((DoubleMask)shifted << 52);
}

}  // namespace lsr
