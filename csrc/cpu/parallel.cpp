#include "parallel.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "subnormal.h"

namespace lsr::cpu {
namespace {

constexpr int64_t kRangePixels = 16384;     // large enough to hide a range's start, small enough to share out
constexpr int64_t kMaxRanges = 256;         // bounds the partial sums
constexpr int64_t kStreamBytes = 32 << 20;  // of a gradient that would push everything else out of the caches
constexpr int64_t kThreadElements = 32768;  // a thread is not worth starting for less

int64_t ranges_per_image(const Pixels& pixels) {
  const int64_t area = pixels.height * pixels.width;
  const int64_t most = std::max<int64_t>(1, kMaxRanges / std::max<int64_t>(1, pixels.images));
  return std::clamp<int64_t>((area + kRangePixels - 1) / kRangePixels, 1, most);
}

// Part i of an image's pixels, at multiples of 64, which every build's vectors divide.
Range range_at(const Pixels& pixels, int64_t per_image, int64_t index) {
  const int64_t area = pixels.height * pixels.width;
  const int64_t length = ((area + per_image - 1) / per_image + 63) / 64 * 64;
  const int64_t begin = std::min(area, index % per_image * length);
  return {index / per_image, begin, std::min(area, begin + length)};
}

int64_t bytes_of(Scalar scalar) {
  return scalar == Scalar::kFloat64 ? 8 : scalar == Scalar::kFloat32 ? 4 : 2;
}

// The sums of one range, where an image is one block.
struct ImageSums final : MomentSink {
  explicit ImageSums(double* where) : sums(where) {}
  double* record(int64_t) override { return sums; }
  double* sums;
};

// The sums of one range by block id, in the order in which the blocks turn up.
struct IdSums final : MomentSink {
  double* record(int64_t block) override {
    if (block != last) {
      const auto [place, added] = slots.try_emplace(block, blocks.size());
      if (added) {
        blocks.push_back(block);
        sums.resize(sums.size() + width);
      }
      last = block;
      slot = place->second;
    }
    return sums.data() + slot * width;
  }
  size_t width = 0, slot = 0;
  int64_t last = -1;
  std::unordered_map<int64_t, size_t> slots;
  std::vector<int64_t> blocks;
  std::vector<double> sums;
};

struct Output {
  double *n, *S, *Q;
  int64_t classes;

  void add(int64_t block, const double* record) const {
    n[block] += record[0];
    for (int64_t l = 0; l < classes; ++l) {
      S[block * classes + l] += record[1 + l];
      Q[block * classes + l] += record[1 + classes + l];
    }
  }
};

// Calls call(i) for each of an image's ranges of every image.
template <class Call>
void for_each_range(ParallelFor parallel, const Pixels& pixels, int64_t per_image, Call call) {
  const int64_t elements = std::max<int64_t>(1, pixels.classes * (pixels.height * pixels.width / per_image));
  parallel(
      pixels.images * per_image, std::max<int64_t>(1, kThreadElements / elements),
      [](void* context, int64_t index) {
        const FlushSubnormal guard;
        (*static_cast<Call*>(context))(index);
      },
      &call);
}

}  // namespace

void block_moments(const Pixels& pixels, double* n, double* S, double* Q, ParallelFor parallel) {
  const int64_t per_image = ranges_per_image(pixels);
  const int64_t ranges = pixels.images * per_image;
  const int64_t width = 1 + 2 * pixels.classes;
  const Output output{n, S, Q, pixels.classes};
  const Kernels& kernels = build().kernels(pixels.logits.scalar);
  std::fill(n, n + pixels.blocks, 0.0);
  std::fill(S, S + pixels.blocks * pixels.classes, 0.0);
  std::fill(Q, Q + pixels.blocks * pixels.classes, 0.0);

  if (!pixels.block_ids) {
    std::vector<double> sums(ranges * width);
    for_each_range(parallel, pixels, per_image, [&](int64_t i) {
      ImageSums sink(sums.data() + i * width);
      kernels.moments(pixels, range_at(pixels, per_image, i), sink);
    });
    for (int64_t i = 0; i < ranges; ++i) output.add(i / per_image, sums.data() + i * width);
    return;
  }
  std::vector<IdSums> sinks(ranges);
  for_each_range(parallel, pixels, per_image, [&](int64_t i) {
    sinks[i].width = width;
    kernels.moments(pixels, range_at(pixels, per_image, i), sinks[i]);
  });
  for (const IdSums& sink : sinks) {
    for (size_t j = 0; j < sink.blocks.size(); ++j) output.add(sink.blocks[j], sink.sums.data() + j * width);
  }
}

void pixel_gradient(const Pixels& pixels, const GradientSource& source, const Array& out,
                    ParallelFor parallel) {
  const int64_t per_image = ranges_per_image(pixels);
  const int64_t bytes = pixels.images * pixels.classes * pixels.height * pixels.width * bytes_of(out.scalar);
  const bool stream = out.data != pixels.logits.data && bytes > kStreamBytes;
  const int64_t last = pixels.images * per_image - 1;
  const Kernels& kernels = build().kernels(pixels.logits.scalar);
  // Backwards: what the moments read last may still lie in a cache.
  for_each_range(parallel, pixels, per_image, [&](int64_t i) {
    kernels.gradient(pixels, range_at(pixels, per_image, last - i), source, out, stream);
  });
}

}  // namespace lsr::cpu
