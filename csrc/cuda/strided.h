// Kernels for everything else: any strides, any number of classes, pixels of an image in blocks of their own.
// A thread takes pixels by themselves and goes through their classes more than once: the moments read the
// logits twice, the gradient three times. The repeats of few classes come from the first-level cache, those
// of many from the second.
#pragma once

#include "pixel.h"
#include "sums.h"

namespace lsr::cuda {

constexpr int kStridedPixels = 4;              // of a thread
constexpr int kTile = kStridedPixels * kWarp;  // pixels of a warp
constexpr int kStridedClasses = 128;           // of one pass over the pixels

struct Strides {
  int64_t image, classes, row, pixel;
};

struct Strided {
  const void* data;
  Strides strides;
  int64_t width, pixels;             // of an image
  int64_t tiles, part_tiles, parts;  // of an image; of a part; of an image
  Divider row;                       // pixels of a row
  bool narrow;                       // fewer pixels than the divider takes
  int classes;
  bool exclusive;
  const uint8_t* mask;
  const int32_t* block_ids;
  int64_t blocks;
};

LSR_DEVICE int64_t pixel_offset(const Strided& in, const Strides& strides, int64_t image, int64_t pixel) {
  const int64_t row = in.narrow ? in.row.quotient(static_cast<uint32_t>(pixel)) : pixel / in.width;
  return image * strides.image + row * strides.row + (pixel - row * in.width) * strides.pixel;
}

// The block of a pixel: its image, or what its id says; -1 if it does not count, -2 if there is no such
// block.
LSR_DEVICE int64_t block_of(const Strided& in, int64_t image, int64_t pixel) {
  if (pixel >= in.pixels) return -1;
  const int64_t at = image * in.pixels + pixel;
  if (in.mask && in.mask[at] == 0) return -1;
  if (!in.block_ids) return image;
  const int64_t id = in.block_ids[at];
  return id < 0 ? -1 : id < in.blocks ? id : -2;
}

// What all classes of a pixel share: the largest logit, and sum exp(x_l - top) - 1.
template <class T>
struct Shared {
  T top, rest;
};

// In one pass: a new top rescales what was summed before it.
template <class S, class T = Compute<S>>
LSR_DEVICE Shared<T> shared_of(const S* x, int64_t stride, int classes) {
  Shared<T> s{read_element(x), T{}};
  for (int l = 1; l < classes; ++l) {
    const T logit = read_element(x + l * stride);
    if (logit > s.top) {
      s.rest = (s.rest + T{1}) * exponential<S>(s.top - logit);
      s.top = logit;
    } else {
      s.rest += exponential<S>(logit - s.top);
    }
  }
  s.rest += s.top - s.top;  // no number where the top is infinity
  return s;
}

// p and p (1 - p) of one class.
template <class T>
struct Moment {
  T p, q;
};

template <class S, class T>
LSR_DEVICE Moment<T> moment_of(bool exclusive, const Shared<T>& s, T logit) {
  if (!exclusive) {
    const Logistic<T> one = quick_logistic<S>(logit);
    return {one.p * one.inverse, one.q * one.inverse * one.inverse};
  }
  const T e = exponential<S>(logit - s.top), w = T{1} / (T{1} + s.rest);
  return {e * w, (e * s.rest + (e - e * e)) * w * w};
}

// One part of an image, or, with block ids, its pixels' shares added to the blocks' fixed-point sums.
template <class S>
LSR_KERNEL(kThreads, 2)
strided_moments(Strided in, Records records, FixedSums fixed) {
  using T = Compute<S>;
  constexpr int kWarps = kThreads / kWarp;
  LSR_SHARED(double, rows, kWarps* BlockSums<kStridedClasses>::kWidth);
  const BlockSums<kStridedClasses> sums{rows};
  const int64_t image = block_index() / in.parts, part = block_index() % in.parts;
  const int64_t begin = part * in.part_tiles, past = begin + in.part_tiles;
  const int64_t end = past < in.tiles ? past : in.tiles;
  const S* data = static_cast<const S*>(in.data);
  for (int first_class = 0; first_class < in.classes; first_class += kStridedClasses) {
    const int left = in.classes - first_class, classes = left < kStridedClasses ? left : kStridedClasses;
    int64_t counted_sum = 0;
    sums.clear();
    for (int64_t tile = begin + warp_index(); tile < end; tile += kWarps) {
      // 1. The warp's pixels, side by side, and what their classes share.
      int64_t block[kStridedPixels], offset[kStridedPixels];
      Shared<T> shared[kStridedPixels] = {};
#pragma unroll
      for (int v = 0; v < kStridedPixels; ++v) {
        const int64_t pixel = tile * kTile + v * kWarp + lane_index();
        block[v] = block_of(in, image, pixel);
        if (block[v] == -2 && first_class == 0) fixed.count_unknown();
        offset[v] = block[v] < 0 ? 0 : pixel_offset(in, in.strides, image, pixel);
        if (block[v] >= 0 && in.exclusive) {
          shared[v] = shared_of(data + offset[v], in.strides.classes, in.classes);
        }
      }
      // 2. Block by block: without ids there is one.
      for (;;) {
        int64_t chosen = image;
        if (in.block_ids) {
          chosen = INT64_MAX;
          for (int v = 0; v < kStridedPixels; ++v) {
            if (block[v] >= 0 && block[v] < chosen) chosen = block[v];
          }
          for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
            const int64_t other = shuffle_xor(chosen, lanes);
            if (other < chosen) chosen = other;
          }
          if (chosen == INT64_MAX) break;
        }
        int64_t counted = 0;
        for (int v = 0; v < kStridedPixels; ++v) counted += block[v] == chosen;
        counted_sum += counted;
        if (in.block_ids && first_class == 0) fixed.count(chosen, warp_sum(counted));
        for (int l = 0; l < classes; ++l) {
          T p{}, q{};
#pragma unroll
          for (int v = 0; v < kStridedPixels; ++v) {
            if (block[v] != chosen) continue;
            const T logit = read_element(data + offset[v] + (first_class + l) * in.strides.classes);
            const Moment<T> moment = moment_of<S>(in.exclusive, shared[v], logit);
            p += moment.p;
            q += moment.q;
          }
          p = warp_sum(p);
          q = warp_sum(q);
          if (lane_index() != 0) continue;
          if (in.block_ids) {
            fixed.add(chosen, first_class + l, p);
            fixed.add(chosen, in.classes + first_class + l, q);
          } else {
            sums.row()[1 + l] += static_cast<double>(p);
            sums.row()[1 + kStridedClasses + l] += static_cast<double>(q);
          }
        }
        if (!in.block_ids) break;
        for (int v = 0; v < kStridedPixels; ++v) block[v] = block[v] == chosen ? -1 : block[v];
      }
    }
    if (!in.block_ids) sums.finish(counted_sum, records, image, part, classes, first_class);
    sync_threads();  // the rows are emptied for the next classes
  }
}

template <class S>
LSR_KERNEL(kThreads, (sizeof(S) == 8 ? 2 : 4))
strided_gradient(Strided in, GradientSource source, void* out, Strides out_strides) {
  using T = Compute<S>;
  const int64_t image = block_index() / in.parts, part = block_index() % in.parts;
  const int64_t begin = part * in.part_tiles * kTile, past = begin + in.part_tiles * kTile;
  const int64_t end = past < in.pixels ? past : in.pixels;
  const T scale = static_cast<T>(scale_of(source));
  for (int64_t pixel = begin + thread_index(); pixel < end; pixel += kThreads) {
    const int64_t block = block_of(in, image, pixel), stride = in.strides.classes;
    const S* x = static_cast<const S*>(in.data) + pixel_offset(in, in.strides, image, pixel);
    S* to = static_cast<S*>(out) + pixel_offset(in, out_strides, image, pixel);
    const double* a = source.a + (block < 0 ? 0 : block * in.classes);
    const double* b = source.b + (block < 0 ? 0 : block * in.classes);
    if (block < 0) {
      for (int l = 0; l < in.classes; ++l) write_element(to + l * out_strides.classes, T{});
    } else if (!in.exclusive) {
      for (int l = 0; l < in.classes; ++l) {
        T logit = read_element(x + l * stride);
        const T a_l = static_cast<T>(a[l]), b_l = static_cast<T>(b[l]);
        to_gradient<S, 1>(&logit, &a_l, &b_l);
        write_element(to + l * out_strides.classes, scale * logit);
      }
    } else {
      // As softmax_gradient: u = a + b p relative to the top class's, whose own term then vanishes.
      const Shared<T> shared = shared_of(x, stride, in.classes);
      const T inverse = T{1} / (T{1} + shared.rest);
      T pivot{}, dot{};
      for (int l = 0; l < in.classes; ++l) {
        if (read_element(x + l * stride) == shared.top) {
          pivot = static_cast<T>(a[l]) + static_cast<T>(b[l]) * inverse;
        }
      }
      const auto relative = [&](int l, T p) {
        return static_cast<T>(a[l]) + static_cast<T>(b[l]) * p - pivot;
      };
      for (int l = 0; l < in.classes; ++l) {
        const T p = exponential<S>(read_element(x + l * stride) - shared.top) * inverse;
        dot += p * relative(l, p);
      }
      for (int l = 0; l < in.classes; ++l) {
        const T p = exponential<S>(read_element(x + l * stride) - shared.top) * inverse;
        write_element(to + l * out_strides.classes, scale * p * (relative(l, p) - dot));
      }
    }
  }
}

}  // namespace lsr::cuda
