// Lanes of pixels as compiler vectors, as wide as the including translation unit's LSR_VECTOR_BYTES.
//
// Included before lsr/activation.h: built-in types have no namespace, so its templates find only those
// overloads of select that were declared before them.
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

}  // namespace lsr
