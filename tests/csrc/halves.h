// The two half types, read by their bits apart from the kernels' code; written by cutting off, not rounding.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// The kernels' types have the same names in lsr.
namespace lsr::by_digits {

struct BFloat16 {
  BFloat16() = default;
  explicit BFloat16(double x) {
    const float single = static_cast<float>(x);
    uint32_t word;
    std::memcpy(&word, &single, sizeof(word));
    bits = static_cast<uint16_t>(word >> 16);
  }
  operator long double() const {
    const uint32_t word = uint32_t{bits} << 16;
    float single;
    std::memcpy(&single, &word, sizeof(single));
    return single;
  }
  uint16_t bits = 0;
};

struct Float16 {
  Float16() = default;
  explicit Float16(double x) {  // finite
    int exponent;
    std::frexp(x, &exponent);
    exponent = exponent < -13 ? -13 : exponent;  // below, numbers are subnormal
    const auto digits = static_cast<uint32_t>(std::ldexp(std::fabs(x), 11 - exponent));  // below 2^11
    bits = static_cast<uint16_t>((x < 0) << 15 | (digits + ((exponent + 13) << 10)));
  }
  operator long double() const {
    const int exponent = bits >> 10 & 31, digits = bits & 0x3ff;
    const long double size = exponent ? std::ldexp(1024 + digits, exponent - 25) : std::ldexp(digits, -24);
    return bits >> 15 ? -size : size;
  }
  uint16_t bits = 0;
};

}  // namespace lsr::by_digits
