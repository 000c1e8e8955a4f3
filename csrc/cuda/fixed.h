// Sums of blocks whose pixels lie anywhere, in fixed point: integers add up to the same in any order, so
// atomics on them keep the result the same bit for bit.
#pragma once

#include "../lsr/macros.h"
#include "platform.h"

namespace lsr::cuda {

// A sum of numbers from 0 to below 2^31 in two words: units of 2^-32, and the rest in units of 2^-72.
constexpr double kCoarse = 0x1p32, kFine = 0x1p40;

LSR_DEVICE void add_fixed(uint64_t* words, double value) {
  const double scaled = value * kCoarse;
  const uint64_t coarse = static_cast<uint64_t>(scaled);
  const uint64_t fine = static_cast<uint64_t>((scaled - static_cast<double>(coarse)) * kFine);
  if (coarse > 0) add_integer(words, coarse);
  if (fine > 0) add_integer(words + 1, fine);
}

LSR_DEVICE double fixed_value(const uint64_t* words) {
  return static_cast<double>(words[0]) / kCoarse + static_cast<double>(words[1]) / kCoarse / kFine;
}

// A sum of doubles of either sign, to more digits than they have: relative to the largest, which all have to
// announce before the first is added.
struct ExactSum {
  uint64_t largest;  // the bits of its magnitude, which order as the numbers do
  uint64_t words[2];

  LSR_DEVICE void announce(double x) {
    const double magnitude = fabs(x);
    uint64_t bits;
    memcpy(&bits, &magnitude, 8);
    raise_integer(&largest, bits);
  }
  LSR_DEVICE void add(double x) {
    if (!is_finite()) return;
    // Below 2 in magnitude; two's complement wraps to the right sum, of numbers below zero too.
    const double scaled = x * power_of_two(2046 - (largest >> 52)) * kCoarse, coarse = floor(scaled);
    add_integer(words, static_cast<uint64_t>(static_cast<int64_t>(coarse)));
    add_integer(words + 1, static_cast<uint64_t>((scaled - coarse) * kFine));
  }
  LSR_DEVICE double value() const {
    if (!is_finite()) return NAN;
    const double coarse = static_cast<double>(static_cast<int64_t>(words[0])) / kCoarse;
    const double fine = static_cast<double>(words[1]) / kCoarse / kFine;
    return (coarse + fine) * power_of_two(largest >> 52);
  }

 private:
  LSR_DEVICE bool is_finite() const { return largest >> 52 < 2046; }
  static LSR_DEVICE double power_of_two(uint64_t biased) {
    const uint64_t bits = biased << 52;
    double x;
    memcpy(&x, &bits, 8);
    return x;
  }
};

// Per block n, the number of sums that were not finite, and 2 L sums in two words each. After the last block,
// how many pixels named a block that there is not.
struct FixedSums {
  uint64_t* data;
  int64_t blocks;
  int classes;

  LSR_HD static int64_t words(int64_t blocks, int64_t classes) { return blocks * (2 + 4 * classes) + 1; }
  LSR_HD uint64_t* block(int64_t k) const { return data + k * (2 + 4 * int64_t{classes}); }

  LSR_DEVICE void count_unknown() const { add_integer(block(blocks), 1); }

  LSR_DEVICE void count(int64_t k, int64_t counted) const {
    if (lane_index() == 0) add_integer(block(k), static_cast<uint64_t>(counted));
  }

  // Value i of block k: a sum of probabilities, at least 0.
  LSR_DEVICE void add(int64_t k, int i, double sum) const {
    if (!(sum >= 0 && sum < 0x1p31)) return add_integer(block(k) + 1, 1);
    add_fixed(block(k) + 2 + 2 * i, sum);
  }

  LSR_DEVICE double n(int64_t k) const { return static_cast<double>(block(k)[0]); }

  LSR_DEVICE double value(int64_t k, int i) const {
    if (block(k)[1] > 0 || block(blocks)[0] > 0) return NAN;
    return fixed_value(block(k) + 2 + 2 * i);
  }
};

}  // namespace lsr::cuda
