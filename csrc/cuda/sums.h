// From each thread's sums to one record a thread block.
#pragma once

#include "fixed.h"
#include "vector.h"

namespace lsr::cuda {

// Records of n, S and Q, one a part of an image: value i of part j of image k at [(k width + i) parts + j],
// so that whoever adds up the parts reads them side by side.
struct Records {
  double* data;
  int64_t parts;
  int width;  // 1 + 2 L

  LSR_DEVICE double& at(int64_t image, int value, int64_t part) const {
    return data[(image * width + value) * parts + part];
  }
};

// Where the sums of stage A are: in records of parts, or, with block ids, in fixed point.
struct MomentSums {
  Records records;
  FixedSums fixed;  // data null: records
};

// Pixels that a thread adds up in single precision before its sums are widened: more would lose their sixth
// digit.
constexpr int kNarrowPixels = 32;

// Sums of a thread block: each warp's own row of doubles in shared memory, n, S[L] and Q[L].
template <int L>
struct BlockSums {
  static constexpr int kWidth = 1 + 2 * L;
  double* rows;

  LSR_DEVICE double* row() const { return rows + warp_index() * kWidth; }

  LSR_DEVICE void clear() const {
    for (int i = lane_index(); i < kWidth; i += kWarp) row()[i] = 0;
    sync_warp();
  }

  // Empties the threads' sums into their warp's row. Every thread of the warp takes part.
  template <class T>
  LSR_DEVICE void take(T* p_sums, T* q_sums) const {
    T q{};
#pragma unroll
    for (int l = 0; l < L; ++l) {
      const T p = warp_sum(p_sums[l]);
      if (L != 2 || l == 0) q = warp_sum(q_sums[l]);  // of two classes it is the same
      if (lane_index() == 0) {
        row()[1 + l] += p;
        row()[1 + L + l] += q;
      }
      p_sums[l] = q_sums[l] = T{};
    }
  }

  // Writes the block's record, of `classes` <= L classes from first_class on; n as well if it is the first.
  LSR_DEVICE void finish(int64_t counted, const Records& records, int64_t image, int64_t part, int classes,
                         int first_class) const {
    const int64_t n = warp_sum(counted);
    if (lane_index() == 0) row()[0] = static_cast<double>(n);
    sync_threads();
    const int all_classes = (records.width - 1) / 2;
    for (int i = thread_index(); i < 1 + 2 * classes; i += kThreads) {
      const int l = (i - 1) % classes, is_q = i > classes;
      if (i == 0 && first_class > 0) continue;
      double sum = 0;
      for (int warp = 0; warp < kThreads / kWarp; ++warp) {
        sum += rows[warp * kWidth + (i == 0 ? 0 : 1 + is_q * L + l)];
      }
      records.at(image, i == 0 ? 0 : 1 + is_q * all_classes + first_class + l, part) = sum;
    }
  }
};

}  // namespace lsr::cuda
