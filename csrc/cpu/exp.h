// exp and 1 / x of lanes. Included before lsr/activation.h, as vec.h is.
#pragma once

#include "vec.h"

namespace lsr {

// 1 / x for x from 1 to 2^100, to 1 ulp.
LSR_HD Floats inverse_of(Floats x) {
#if LSR_VECTOR_BYTES == 64
  const Floats y = (Floats)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
  return y + y * (1.0f - x * y);
#else
  return 1.0f / x;
#endif
}
LSR_HD Doubles inverse_of(Doubles x) { return 1.0 / x; }

// exp(x) for x <= 0; exactly 1 at 0. Below the smallest normal number it stays there. NaN stays NaN.
//   1. x = n ln 2 / kSteps + r, |r| <= ln 2 / 2 kSteps, ln 2 in two parts (Cody and Waite). Adding kRound
//      leaves n in the low bits of the sum.
//   2. exp(r) by a polynomial.  3. times 2^(n / kSteps).
// To 1 ulp: of degree 3 with a register full of the powers 2^(i / kSteps), of degree 6 without.
#if LSR_VECTOR_BYTES >= 32
constexpr int kSteps = kLanes<float>;

// Bits of 2^(i / kSteps), less i in the place to which step 3 shifts n: the sum is 2^(n / kSteps).
#if LSR_VECTOR_BYTES == 64
constexpr int kStepShift = 19;
constexpr float kSquare = 0.50001621f, kCube = 0.1666684f;  // of least relative error on |r| <= ln 2 / 32
LSR_HD FloatMask power_at(FloatMask n) {
  const FloatMask powers = {0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
                            0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
                            0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
  return (FloatMask)_mm512_maskz_permutexvar_epi32(0xffff, (__m512i)n, (__m512i)powers);
}
#else
constexpr int kStepShift = 20;
constexpr float kSquare = 0.50006467f, kCube = 0.16667217f;
LSR_HD FloatMask power_at(FloatMask n) {
  const FloatMask powers = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                            0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
  return (FloatMask)_mm256_permutevar8x32_epi32((__m256i)powers, (__m256i)n);
}
#endif

LSR_HD Floats exp_of(Floats x) {
  constexpr float kRound = 12582912.0f;
  x = at_least(Floats{} - 87.33f, x);
  const Floats shifted = x * (kSteps * 1.44269504f) + kRound;
  const Floats n = shifted - kRound;
  const Floats r = x - n * (0.693359375f / kSteps) + n * (2.12194440e-4f / kSteps);
  const FloatMask index = (FloatMask)shifted;
  const Floats power = (Floats)(power_at(index) + (index << kStepShift));
  Floats y = r * kCube + kSquare;
  y = y * r + 1.0f;
  return power * (y * r) + power;
}
#else
LSR_HD Floats exp_of(Floats x) {
  constexpr float kRound = 12582912.0f + 127.0f;
  x = at_least(Floats{} - 87.33f, x);
  const Floats shifted = x * 1.44269504f + kRound;
  const Floats n = shifted - kRound;
  const Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats y = r * 1.3893407e-3f + 8.3702996e-3f;
  y = y * r + 4.16670910e-2f;
  y = y * r + 1.66665057e-1f;
  y = y * r + 4.99999981e-1f;
  y = y * r + 1.0f;
  y = y * r + 1.0f;
  return y * (Floats)((FloatMask)shifted << 23);
}
#endif

LSR_HD Doubles exp_of(Doubles x) {
  constexpr double kRound = 6755399441055744.0 + 1023.0;
  constexpr double kTaylor[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  x = at_least(Doubles{} - 708.0, x);
  const Doubles shifted = x * 1.4426950408889634 + kRound;
  const Doubles n = shifted - kRound;
  const Doubles r = x - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6;
  Doubles y = Doubles{} + kTaylor[0];
  for (int i = 1; i < 14; ++i) y = y * r + kTaylor[i];
  return y * (Doubles)((DoubleMask)shifted << 52);
}

}  // namespace lsr
