// Lanes of the two half types, which are computed in single precision: from memory and back.
#pragma once

#include "vec.h"

namespace lsr {

typedef uint16_t HalfBits __attribute__((vector_size(LSR_VECTOR_BYTES / 2)));

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

// 16-bit integers as the upper halves of 32 bits, and the upper halves of 32-bit integers.
#if LSR_VECTOR_BYTES == 64
LSR_HD FloatBits widen_upper(HalfBits x) {
  const __m512i from = (__m512i)(FloatBits){0u << 16,  1u << 16,  2u << 16,  3u << 16, 4u << 16,  5u << 16,
                                            6u << 16,  7u << 16,  8u << 16,  9u << 16, 10u << 16, 11u << 16,
                                            12u << 16, 13u << 16, 14u << 16, 15u << 16};
  const __m512i wide = _mm512_maskz_broadcast_i64x4(0xff, (__m256i)x);
  return (FloatBits)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, from, wide);
}
LSR_HD HalfBits narrow_upper(FloatBits x) {
  const __m512i from = (__m512i)(FloatBits){
      0x30001, 0x70005, 0xb0009, 0xf000d, 0x130011, 0x170015, 0x1b0019, 0x1f001d, 0, 0, 0, 0, 0, 0, 0, 0};
  const __m512i upper = _mm512_maskz_permutexvar_epi16(0xffffffff, from, (__m512i)x);
  return (HalfBits)_mm512_maskz_extracti64x4_epi64(0xff, upper, 0);
}
#elif LSR_VECTOR_BYTES == 32
LSR_HD FloatBits widen_upper(HalfBits x) { return (FloatBits)_mm256_cvtepu16_epi32((__m128i)x) << 16; }
LSR_HD HalfBits narrow_upper(FloatBits x) {
  const __m256i upper = (__m256i)(x >> 16), packed = _mm256_packus_epi32(upper, upper);
  return (HalfBits)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x88));
}
#else
LSR_HD FloatBits widen_upper(HalfBits x) { return __builtin_convertvector(x, FloatBits) << 16; }
LSR_HD HalfBits narrow_upper(FloatBits x) { return __builtin_convertvector(x >> 16, HalfBits); }
#endif

// To bfloat16 in the upper halves: to nearest, ties away from zero, which saves three operations of what ties
// to even take. NaN stays NaN if its lower half is zeros, as it is where arithmetic makes it, or bfloat16
// logits.
LSR_HD FloatBits rounded(Floats x) { return (FloatBits)x + 0x8000; }
LSR_HD HalfBits to_bfloat16(Floats x) { return narrow_upper(rounded(x)); }

// Of bfloat16 values in memory, two vectors: those at even places and those at odd ones. Each is a shift or a
// mask away, where lanes in order would have to be moved.
LSR_HD Floats even_of(FloatBits both) { return (Floats)(both << 16); }
LSR_HD Floats odd_of(FloatBits both) { return (Floats)(both & 0xffff0000); }
LSR_HD FloatBits joined(Floats even, Floats odd) { return rounded(even) >> 16 | (rounded(odd) & 0xffff0000); }

#if LSR_VECTOR_BYTES == 64
LSR_HD Floats from_float16(HalfBits x) { return (Floats)_mm512_maskz_cvtph_ps(0xffff, (__m256i)x); }
LSR_HD HalfBits to_float16(Floats x) { return (HalfBits)_mm512_maskz_cvtps_ph(0xffff, (__m512)x, 0); }
#elif LSR_VECTOR_BYTES == 32
LSR_HD Floats from_float16(HalfBits x) { return (Floats)_mm256_cvtph_ps((__m128i)x); }
LSR_HD HalfBits to_float16(Floats x) { return (HalfBits)_mm256_cvtps_ph((__m256)x, 0); }
#else
LSR_HD Floats from_float16(HalfBits x) {
  const FloatBits half = __builtin_convertvector(x, FloatBits), magnitude = (half & 0x7fff) << 13;
  // A subnormal one as the low bits of 2^-14 and more, less 2^-14: a subnormal float might be taken as 0.
  const Floats subnormal = (Floats)(magnitude + (113u << 23)) - 0x1p-14f;
  FloatBits bits = magnitude < (1u << 23) ? (FloatBits)subnormal : magnitude + (112u << 23);
  bits = magnitude >= (31u << 23) ? magnitude + (224u << 23) : bits;  // infinity and NaN
  return (Floats)(bits | (half & 0x8000) << 16);
}
LSR_HD HalfBits to_float16(Floats x) {
  const FloatBits sign = (FloatBits)x >> 16 & 0x8000;
  const FloatBits bits = (FloatBits)x & 0x7fffffff;
  // Adding 0.5 aligns a subnormal's last bit with the float's; the addition itself rounds.
  const FloatBits subnormal = (FloatBits)((Floats)bits + 0.5f) - (FloatBits)(Floats{} + 0.5f);
  const FloatBits normal = (bits - (112u << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
  FloatBits half = bits < (113u << 23) ? subnormal : normal;
  half = bits >= 0x477ff000u ? (FloatBits{} + 0x7c00u) : half;  // from 65520 up it rounds to infinity
  half = bits > 0x7f800000u ? (FloatBits{} + 0x7e00u) : half;
  return __builtin_convertvector(half | sign, HalfBits);
}
#endif

LSR_HD void store_bits(void* to, FloatBits bits) { std::memcpy(to, &bits, sizeof(bits)); }

LSR_HD Floats load_lanes(const BFloat16* from) { return (Floats)widen_upper(load_bits<HalfBits>(from)); }
LSR_HD Floats load_lanes(const Float16* from) { return from_float16(load_bits<HalfBits>(from)); }
LSR_HD void store_lanes(BFloat16* to, Floats lanes) {
  const HalfBits half = to_bfloat16(lanes);
  std::memcpy(to, &half, sizeof(half));
}
LSR_HD void store_lanes(Float16* to, Floats lanes) {
  const HalfBits half = to_float16(lanes);
  std::memcpy(to, &half, sizeof(half));
}

}  // namespace lsr
