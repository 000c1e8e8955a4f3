// Lanes of pixels as compiler vectors, as wide as the including translation unit's LSR_VECTOR_BYTES.
//
// Included before lsr/activation.h: built-in types have no namespace, so its templates find only those
// overloads of select and at_least that were declared before them.
#pragma once

#include <cstdint>
#include <cstring>
#if LSR_VECTOR_BYTES >= 32
#include <immintrin.h>
#endif

#include "../lsr/macros.h"

namespace lsr {

typedef float Floats __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef double Doubles __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef int32_t FloatMask __attribute__((vector_size(LSR_VECTOR_BYTES)));
typedef int64_t DoubleMask __attribute__((vector_size(LSR_VECTOR_BYTES)));

typedef uint32_t FloatBits __attribute__((vector_size(LSR_VECTOR_BYTES)));

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

// -|x|, by the sign's bit.
LSR_HD Floats minus_abs(Floats x) { return (Floats)((FloatMask)x | INT32_MIN); }
LSR_HD Doubles minus_abs(Doubles x) { return (Doubles)((DoubleMask)x | INT64_MIN); }

// sum + x in lanes that the mask leaves out, sum in the others.
LSR_HD Floats add_unless(FloatMask mask, Floats sum, Floats x) {
#if LSR_VECTOR_BYTES == 32
  return sum + (Floats)_mm256_andnot_ps((__m256)mask, (__m256)x);  // one operation less than to select
#else
  return select(mask, sum, sum + x);
#endif
}
LSR_HD Doubles add_unless(DoubleMask mask, Doubles sum, Doubles x) { return select(mask, sum, sum + x); }

template <class V>
LSR_HD V load_bits(const void* from) {
  V lanes;
  std::memcpy(&lanes, from, sizeof(V));
  return lanes;
}

LSR_HD Floats load_lanes(const float* from) { return load_bits<Floats>(from); }
LSR_HD Doubles load_lanes(const double* from) { return load_bits<Doubles>(from); }
LSR_HD void store_lanes(float* to, Floats lanes) { std::memcpy(to, &lanes, sizeof(lanes)); }
LSR_HD void store_lanes(double* to, Doubles lanes) { std::memcpy(to, &lanes, sizeof(lanes)); }

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
LSR_HD Doubles at_least(Doubles least, Doubles x) { return select(least > x, least, x); }

}  // namespace lsr
