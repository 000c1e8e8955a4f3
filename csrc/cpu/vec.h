// Lanes of pixels as compiler vectors, as wide as the including translation unit's LSR_VECTOR_BYTES.
//
// Included before lsr/activation.h: built-in types have no namespace, so its templates find only those
// overloads of select and exp_of that were declared before them.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../lsr/macros.h"

namespace lsr {

typedef float Floats __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef double Doubles __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef int32_t FloatMask __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef int64_t DoubleMask __attribute__((vector_size(LSR_VECTOR_BYTES)));

typedef uint32_t FloatBits __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef uint16_t HalfBits __attribute__((vector_size(LSR_VECTOR_BYTES / 2)));

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

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

template <class V>
LSR_HD V load_bits(const void* from) {
  V lanes;
  std::memcpy(&lanes, from, sizeof(V));
  return lanes;
}

// Lanes from memory of any of the four types, and back.
LSR_HD Floats load_lanes(const float* from) { return load_bits<Floats>(from); }
LSR_HD Doubles load_lanes(const double* from) { return load_bits<Doubles>(from); }
LSR_HD Floats load_lanes(const BFloat16* from) {
  return (Floats)(__builtin_convertvector(load_bits<HalfBits>(from), FloatBits) << 16);
}
LSR_HD Floats load_lanes(const Float16* from) {
  const FloatBits half = __builtin_convertvector(load_bits<HalfBits>(from), FloatBits);
  // Moving the exponent by a product takes subnormal numbers along. Infinity and NaN come out at 65536 and
  // above.
  const Floats finite = (Floats)((half & 0x7fff) << 13) * 0x1p112f;
  const FloatBits special = (FloatBits)(finite >= 65536.0f) & 0x7f800000;
  return (Floats)((FloatBits)finite | special | (half & 0x8000) << 16);
}

LSR_HD void store_lanes(float* to, Floats lanes) { std::memcpy(to, &lanes, sizeof(lanes)); }
LSR_HD void store_lanes(double* to, Doubles lanes) { std::memcpy(to, &lanes, sizeof(lanes)); }
LSR_HD void store_lanes(BFloat16* to, Floats lanes) {
  const FloatBits bits = (FloatBits)lanes;
  const FloatBits rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest, ties to even
  const HalfBits half = __builtin_convertvector(lanes == lanes ? rounded : (rounded | 0x40), HalfBits);
  std::memcpy(to, &half, sizeof(half));
}
LSR_HD void store_lanes(Float16* to, Floats lanes) {
  const FloatBits sign = (FloatBits)lanes >> 16 & 0x8000;
  const FloatBits bits = (FloatBits)lanes & 0x7fffffff;
  // Adding 0.5 aligns a subnormal's last bit with the float's; the addition itself rounds.
  const FloatBits subnormal = (FloatBits)((Floats)bits + 0.5f) - (FloatBits)(Floats{} + 0.5f);
  const FloatBits normal = (bits - (112u << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
  FloatBits half = bits < (113u << 23) ? subnormal : normal;
  half = bits >= 0x477ff000u ? (FloatBits{} + 0x7c00u) : half;  // from 65520 up it rounds to infinity
  half = bits > 0x7f800000u ? (FloatBits{} + 0x7e00u) : half;
  const HalfBits narrow = __builtin_convertvector(half | sign, HalfBits);
  std::memcpy(to, &narrow, sizeof(narrow));
}

// Stores that pass the caches by, for memory that nobody reads soon; `to` is aligned to the lanes' size. They
// save the read of the line that an ordinary store begins with. Fenced by end_streaming.
template <class S, class V>
LSR_HD void stream_lanes(S* to, V lanes) {
  store_lanes(to, lanes);
}
#if LSR_VECTOR_BYTES == 64
constexpr bool kCanStream = true;
LSR_HD void stream_lanes(float* to, Floats lanes) { _mm512_stream_ps(to, (__m512)lanes); }
LSR_HD void end_streaming() { _mm_sfence(); }
#elif LSR_VECTOR_BYTES == 32
constexpr bool kCanStream = true;
LSR_HD void stream_lanes(float* to, Floats lanes) { _mm256_stream_ps(to, (__m256)lanes); }
LSR_HD void end_streaming() { _mm_sfence(); }
#else
constexpr bool kCanStream = false;
LSR_HD void end_streaming() {}
#endif

// The larger of the two, or x where it is NaN: one instruction, which compilers do not find.
LSR_HD Floats at_least(Floats least, Floats x) {
#if LSR_VECTOR_BYTES == 64
  return (Floats)_mm512_maskz_max_ps(0xffff, (__m512)least, (__m512)x);
#elif LSR_VECTOR_BYTES == 32
  return (Floats)_mm256_max_ps((__m256)least, (__m256)x);
#else
  return select(least > x, least, x);
#endif
}

// 1 / x for x from 1 to 2^100, to about 1 ulp.
LSR_HD Floats inverse_of(Floats x) {
#if LSR_VECTOR_BYTES == 64
  const Floats y = (Floats)_mm512_rcp14_ps((__m512)x);
  return y + y * (1.0f - x * y);
#else
  return 1.0f / x;
#endif
}
LSR_HD Doubles inverse_of(Doubles x) { return 1.0 / x; }

// 2^(i / kSteps) in all lanes i, less i steps of the exponent's bits that come back with the whole number of
// steps; and the lanes of it that the low bits of `index` choose.
#if LSR_VECTOR_BYTES >= 32
constexpr int kSteps = LSR_VECTOR_BYTES / 4;
#if LSR_VECTOR_BYTES == 64
constexpr int kShift = 19;
LSR_HD FloatMask powers_at(FloatMask index) {
  const FloatMask powers = {0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
                            0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
                            0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
  return (FloatMask)_mm512_maskz_permutexvar_epi32(0xffff, (__m512i)index, (__m512i)powers);
}
#else
constexpr int kShift = 20;
LSR_HD FloatMask powers_at(FloatMask index) {
  const FloatMask powers = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                            0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
  return (FloatMask)_mm256_permutevar8x32_epi32((__m256i)powers, (__m256i)index);
}
#endif
#endif

LSR_HD Floats exp_of(Floats x) {
  x = at_least(Floats{} - 87.33f, x);
  const Floats shifted = x * (kSteps * 1.44269504f) + 12582912.0f;
  const Floats n = shifted - 12582912.0f;
  const Floats r = x - n * (0.69314718056f / kSteps);
  const FloatMask power = powers_at((FloatMask)shifted) + ((FloatMask)shifted << kShift);
  Floats y = r * 0.166670577f + 0.5f;
  y = y * r + 1.0f;
  y = y * r;
  return (Floats)power * y + (Floats)power;
}

LSR_HD Doubles exp_of(Doubles x) {
  constexpr double kRound = 6755399441055744.0 + 1023.0;
  constexpr double kTaylor[] = {
      1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
      1.0 / 720,        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  const Doubles least = Doubles{} - 708.0;
  x = select(least > x, least, x);
  const Doubles shifted = x * 1.4426950408889634 + kRound;
  const Doubles n = shifted - kRound;
  const Doubles r = x - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6;
  Doubles y = Doubles{} + kTaylor[0];
  for (int i = 1; i < 14; ++i) y = y * r + kTaylor[i];
  return y * (Doubles)((DoubleMask)shifted << 52);
}

}  // namespace lsr
