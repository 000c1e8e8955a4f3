// Kernels for exclusive classes side by side where a vector of 16 bytes holds whole pixels: two or four
// classes, and eight of the half types. A thread computes a vector where it lies, in registers. One read; the
// gradient one read and one write.
#pragma once

#include "planar.h"

namespace lsr::cuda {

// Pixels of a vector; 0 where it would cut one.
template <class S>
LSR_HD constexpr int packed_pixels(int classes) {
  const int elements = 16 / static_cast<int>(sizeof(S));
  return sizeof(S) < 8 && classes > 1 && elements % classes == 0 ? elements / classes : 0;
}

// Vectors that a thread has in flight.
constexpr int kPackedUnroll = 4;

template <class S, int L>
LSR_DEVICE void read_pixel(const Words<16>& vector, int j, Compute<S>* x) {
#pragma unroll
  for (int l = 0; l < L; ++l) x[l] = Codec<S>::get(vector.at, j * L + l);
}

template <class S, int L>
LSR_KERNEL(kThreads, planar_residents<S>(L))
packed_moments(Planes planes, Records records) {
  using T = Compute<S>;
  constexpr int V = packed_pixels<S>(L);
  LSR_SHARED(double, rows, kThreads / kWarp * BlockSums<L>::kWidth);
  const BlockSums<L> sums{rows};
  const Part part = part_of<L>(planes);
  const S* data = plane_of<S>(planes, part);
  T p_sums[L] = {}, q_sums[L] = {};
  int64_t counted_sum = 0;
  sums.clear();
  int round = 0;
  for (int64_t first = part.begin; first < planes.vectors; first += kPackedUnroll * part.step) {
    Words<16> x[kPackedUnroll];
    uint32_t counted[kPackedUnroll];
#pragma unroll
    for (int u = 0; u < kPackedUnroll; ++u) {
      const int64_t i = first + u * part.step + thread_index();
      x[u] = {};
      counted[u] = 0;
      if (i >= planes.vectors) continue;
      read_once(data + vector_offset<V * L>(planes, planes.row_stride, i), x[u]);
      counted[u] = counted_pixels<V>(planes, part.image, i);
    }
#pragma unroll
    for (int u = 0; u < kPackedUnroll; ++u) {
      if (planes.mask) clear_uncounted<S, V, L>(x[u], counted[u]);
      const auto read = [&](int j, T* pixel) { read_pixel<S, L>(x[u], j, pixel); };
      counted_sum += count_bits(counted[u]);
      add_vector<S, L, V>(planes.mask, counted[u], read, p_sums, q_sums);
    }
    if (++round % (kNarrowPixels / (V * kPackedUnroll)) == 0) sums.take(p_sums, q_sums);
  }
  sums.take(p_sums, q_sums);
  sums.finish(counted_sum, records, part.image, part.index, L, 0);
}

template <class S, int L>
LSR_KERNEL(kThreads, planar_residents<S>(L))
packed_gradient(Planes planes, GradientSource source, void* out, int64_t out_image_stride,
                int64_t out_row_stride) {
  using T = Compute<S>;
  constexpr int V = packed_pixels<S>(L);
  const Part part = part_of<L>(planes);
  const S* data = plane_of<S>(planes, part);
  S* to = static_cast<S*>(out) + part.image * out_image_stride;
  const double scale = scale_of(source);
  T a[L], b[L];
#pragma unroll
  for (int l = 0; l < L; ++l) {
    a[l] = static_cast<T>(scale * source.a[part.image * L + l]);
    b[l] = static_cast<T>(scale * source.b[part.image * L + l]);
  }
  for (int64_t first = part.begin; first < planes.vectors; first += kPackedUnroll * part.step) {
    Words<16> x[kPackedUnroll];
#pragma unroll
    for (int u = 0; u < kPackedUnroll; ++u) {
      const int64_t i = first + u * part.step + thread_index();
      if (i < planes.vectors) read_own(data + vector_offset<V * L>(planes, planes.row_stride, i), x[u]);
    }
#pragma unroll
    for (int u = 0; u < kPackedUnroll; ++u) {
      const int64_t i = first + u * part.step + thread_index();
      if (i >= planes.vectors) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        T pixel[L];
        read_pixel<S, L>(x[u], j, pixel);
        to_gradient<S, L>(pixel, a, b);
#pragma unroll
        for (int l = 0; l < L; ++l) Codec<S>::set(x[u].at, j * L + l, pixel[l]);
      }
      if (planes.mask) clear_uncounted<S, V, L>(x[u], counted_pixels<V>(planes, part.image, i));
      write_words(to + vector_offset<V * L>(planes, out_row_stride, i), x[u]);
    }
  }
}

}  // namespace lsr::cuda
