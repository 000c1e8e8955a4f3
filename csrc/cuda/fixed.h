// Sums of blocks whose pixels lie anywhere, in fixed point: integers add up to the same in any order, so
// atomics on them keep the result the same bit for bit.
#pragma once

#include "../lsr/macros.h"
#include "platform.h"

namespace lsr::cuda {

// Per block n, the number of sums that were not finite, and 2 L sums in two words each: units of 2^-32, and
// the rest in units of 2^-72. After the last block, how many pixels named a block that there is not.
struct FixedSums {
  uint64_t* data;
  int64_t blocks;
  int classes;

  static constexpr double kCoarse = 0x1p32, kFine = 0x1p40;

  LSR_HD static int64_t words(int64_t blocks, int64_t classes) { return blocks * (2 + 4 * classes) + 1; }
  LSR_HD uint64_t* block(int64_t k) const { return data + k * (2 + 4 * int64_t{classes}); }

  LSR_DEVICE void count_unknown() const { add_integer(block(blocks), 1); }

  LSR_DEVICE void count(int64_t k, int64_t counted) const {
    if (lane_index() == 0) add_integer(block(k), static_cast<uint64_t>(counted));
  }

  // Value i of block k: a sum of probabilities, at least 0.
  LSR_DEVICE void add(int64_t k, int i, double sum) const {
    if (!(sum >= 0 && sum < 0x1p31)) return add_integer(block(k) + 1, 1);
    const double scaled = sum * kCoarse;
    const uint64_t coarse = static_cast<uint64_t>(scaled);
    const uint64_t fine = static_cast<uint64_t>((scaled - static_cast<double>(coarse)) * kFine);
    uint64_t* words = block(k) + 2 + 2 * i;
    if (coarse > 0) add_integer(words, coarse);
    if (fine > 0) add_integer(words + 1, fine);
  }

  LSR_DEVICE double n(int64_t k) const { return static_cast<double>(block(k)[0]); }

  LSR_DEVICE double value(int64_t k, int i) const {
    if (block(k)[1] > 0 || block(blocks)[0] > 0) return NAN;
    const uint64_t* words = block(k) + 2 + 2 * i;
    return static_cast<double>(words[0]) / kCoarse + static_cast<double>(words[1]) / kCoarse / kFine;
  }
};

}  // namespace lsr::cuda
