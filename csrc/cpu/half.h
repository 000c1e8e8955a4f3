// The two 16-bit floats as bits, without branches, so that loops over them vectorise.
#pragma once

#include <cstdint>
#include <cstring>

#include "../lsr/macros.h"

namespace lsr {

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

LSR_HD uint32_t float_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

LSR_HD float bits_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

LSR_HD float widen(BFloat16 x) { return bits_float(static_cast<uint32_t>(x.bits) << 16); }
LSR_HD float widen(float x) { return x; }
LSR_HD double widen(double x) { return x; }

LSR_HD float widen(Float16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16;
  const uint32_t shifted = static_cast<uint32_t>(x.bits & 0x7fff) << 13;
  const uint32_t normal = shifted + ((127 - 15) << 23);
  const uint32_t special = shifted + ((255 - 31) << 23);  // infinity and NaN
  // A subnormal's mantissa counts multiples of 2^-24.
  const uint32_t subnormal = float_bits(static_cast<float>(static_cast<int32_t>(shifted >> 13)) * 0x1p-24f);
  const uint32_t exponent = shifted >> 23;
  const uint32_t magnitude = exponent == 0 ? subnormal : exponent == 31 ? special : normal;
  return bits_float(sign | magnitude);
}

LSR_HD void narrow(float x, float* to) { *to = x; }
LSR_HD void narrow(double x, double* to) { *to = x; }

// Round to nearest, ties to even.
LSR_HD void narrow(float x, BFloat16* to) {
  const uint32_t bits = float_bits(x);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to->bits = static_cast<uint16_t>(x != x ? 0x7fc0 : rounded);
}

LSR_HD void narrow(float x, Float16* to) {
  const uint32_t bits = float_bits(x);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  // Adding 0.5 aligns a subnormal's last bit with the float's; the addition itself rounds.
  const uint32_t subnormal = float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f);
  const uint32_t normal = (magnitude - ((127 - 15) << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  uint32_t half = magnitude < (113u << 23) ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;  // from 65520 up it rounds to infinity
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  to->bits = static_cast<uint16_t>(sign | half);
}

}  // namespace lsr
