// Kernels for classes in planes, each a row of whole vectors after the other: NCHW, and crops of it. A thread
// takes a vector of pixels of every class, several loads in flight, and keeps all of them in registers. One
// read; the gradient one read and one write.
#pragma once

#include "pixel.h"
#include "sums.h"

namespace lsr::cuda {

// Bytes of a vector: fewer for more classes, so that those of all classes fit the registers.
template <class S>
LSR_HD constexpr int planar_bytes(int classes) {
  const int bytes = classes <= (sizeof(S) == 2 ? 6 : 8) ? 16 : classes <= 16 ? 8 : 4;
  return bytes < static_cast<int>(sizeof(S)) ? static_cast<int>(sizeof(S)) : bytes;
}

// Vectors of every class that a thread takes at a time, so that few classes too are many loads in flight.
LSR_HD constexpr int planar_unroll(int classes) { return classes == 1 ? 4 : classes == 2 ? 2 : 1; }

// Thread blocks that a multiprocessor is to hold at a time: as many as the registers allow without a spill.
template <class S>
LSR_HD constexpr int planar_residents(int classes) {
  if (classes == 1) return 3;
  if (classes == 2) return 4;
  const bool three = sizeof(S) == 4 ? classes <= 6 : sizeof(S) == 2 && (classes <= 4 || classes == 6);
  return three ? 3 : classes <= (sizeof(S) == 8 ? 4 : 8) ? 2 : 1;
}

// The planes of one part of an image, in vectors.
struct Planes {
  const void* data;
  int64_t image_stride, class_stride, row_stride;
  int64_t vectors, parts, pixels;  // of an image
  Divider row;                     // vectors of a row
  bool one_row;                    // no divisions
  const uint8_t* mask;
  bool wide_mask;  // the mask of a vector may be read at once
  int classes;
};

// Which part of which image a thread block has; for classes by themselves, of which class too. The parts of
// an image take turns, `step` vectors each time: side by side, the blocks that run at a time sweep over the
// image together, and memory serves few places at once.
struct Part {
  int64_t image, index, begin, step;
  int first_class;
};

template <int L>
LSR_DEVICE Part part_of(const Planes& planes) {
  const int64_t plane = block_index() / planes.parts, index = block_index() % planes.parts;
  const int64_t begin = index * kThreads, step = planes.parts * kThreads;
  if (L > 1) return {plane, index, begin, step, 0};
  return {plane / planes.classes, index, begin, step, static_cast<int>(plane % planes.classes)};
}

// Elements from a plane's start to vector i.
template <int V>
LSR_DEVICE int64_t vector_offset(const Planes& planes, int64_t row_stride, int64_t i) {
  if (planes.one_row) return i * V;
  const uint32_t row = planes.row.quotient(static_cast<uint32_t>(i));
  return row * row_stride + (i - static_cast<int64_t>(row) * planes.row.divisor) * V;
}

// Bit j: whether pixel j of vector i counts.
template <int V>
LSR_DEVICE uint32_t counted_pixels(const Planes& planes, int64_t image, int64_t i) {
  if (!planes.mask) return (1u << V) - 1;
  const uint8_t* mask = planes.mask + image * planes.pixels + i * V;
  uint32_t bits = 0;
  if constexpr (V > 1) {
    if (planes.wide_mask) {
      Words<V> bytes;
      read_once(mask, bytes);
#pragma unroll
      for (int j = 0; j < V; ++j) bits |= (bytes.at[j / 4] >> 8 * (j % 4) & 1) << j;
      return bits;
    }
  }
  for (int j = 0; j < V; ++j) bits |= (mask[j] != 0 ? 1u : 0u) << j;
  return bits;
}

// Zeros for those of a vector's V pixels that do not count, of L elements each.
template <class S, int V, int L, int Bytes>
LSR_DEVICE void clear_uncounted(Words<Bytes>& words, uint32_t counted) {
#pragma unroll
  for (int e = 0; e < V * L; ++e) {
    if (!(counted >> e / L & 1)) Codec<S>::set(words.at, e, Compute<S>{});
  }
}

// A build for L classes serves fewer, down to the next build: the rest are classes of probability 0.
template <class S, int Bytes>
LSR_DEVICE void fill_absent(Words<Bytes>& words) {
  for (int j = 0; j < Bytes / static_cast<int>(sizeof(S)); ++j) {
    Codec<S>::set(words.at, j, static_cast<Compute<S>>(-INFINITY));
  }
}

// The vectors of all classes at i; Once: nobody writes them in this launch.
template <class S, int L, bool Exact, bool Once, int Bytes>
LSR_DEVICE void read_planes(const Planes& planes, const S* from, Words<Bytes>* x) {
#pragma unroll
  for (int l = 0; l < L; ++l) {
    if (!Exact && l >= planes.classes) {
      fill_absent<S>(x[l]);
    } else if (Once) {
      read_once(from + l * planes.class_stride, x[l]);
    } else {
      read_own(from + l * planes.class_stride, x[l]);
    }
  }
}

template <class S>
LSR_DEVICE const S* plane_of(const Planes& planes, const Part& part) {
  return static_cast<const S*>(planes.data) + part.image * planes.image_stride +
         part.first_class * planes.class_stride;
}

template <class S, int L, bool Exact, int Bytes>
LSR_KERNEL(kThreads, planar_residents<S>(L))
planar_moments(Planes planes, Records records) {
  using T = Compute<S>;
  constexpr int V = Bytes / static_cast<int>(sizeof(S)), kUnroll = planar_unroll(L);
  LSR_SHARED(double, rows, kThreads / kWarp * BlockSums<L>::kWidth);
  const BlockSums<L> sums{rows};
  const Part part = part_of<L>(planes);
  const S* data = plane_of<S>(planes, part);
  T p_sums[L] = {}, q_sums[L] = {};
  int64_t counted_sum = 0;
  sums.clear();
  int round = 0;
  for (int64_t first = part.begin; first < planes.vectors; first += kUnroll * part.step) {
    Words<Bytes> x[kUnroll][L];
    uint32_t counted[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * part.step + thread_index();
      counted[u] = 0;
#pragma unroll
      for (int l = 0; l < L; ++l) x[u][l] = {};
      if (i >= planes.vectors) continue;
      read_planes<S, L, Exact, true>(planes, data + vector_offset<V>(planes, planes.row_stride, i), x[u]);
      counted[u] = counted_pixels<V>(planes, part.image, i);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (planes.mask) {
#pragma unroll
        for (int l = 0; l < L; ++l) clear_uncounted<S, V, 1>(x[u][l], counted[u]);
      }
      const auto read = [&](int j, T* pixel) {
#pragma unroll
        for (int l = 0; l < L; ++l) pixel[l] = Codec<S>::get(x[u][l].at, j);
      };
      counted_sum += count_bits(counted[u]);
      add_vector<S, L, V>(planes.mask, counted[u], read, p_sums, q_sums);
    }
    if (++round % (kNarrowPixels / (V * kUnroll)) == 0) sums.take(p_sums, q_sums);
  }
  sums.take(p_sums, q_sums);
  sums.finish(counted_sum, records, part.image, part.index, Exact ? L : planes.classes, part.first_class);
}

template <class S, int L, bool Exact, int Bytes>
LSR_KERNEL(kThreads, planar_residents<S>(L))
planar_gradient(Planes planes, GradientSource source, void* out, int64_t out_image_stride,
                int64_t out_class_stride, int64_t out_row_stride) {
  using T = Compute<S>;
  constexpr int V = Bytes / static_cast<int>(sizeof(S)), kUnroll = planar_unroll(L);
  const Part part = part_of<L>(planes);
  const S* data = plane_of<S>(planes, part);
  S* to = static_cast<S*>(out) + part.image * out_image_stride + part.first_class * out_class_stride;
  const int classes = Exact ? L : planes.classes;
  const double scale = scale_of(source);
  T a[L], b[L];
#pragma unroll
  for (int l = 0; l < L; ++l) {
    const int64_t cell = part.image * planes.classes + part.first_class + l;
    a[l] = l < classes ? static_cast<T>(scale * source.a[cell]) : T{};
    b[l] = l < classes ? static_cast<T>(scale * source.b[cell]) : T{};
  }
  for (int64_t first = part.begin; first < planes.vectors; first += kUnroll * part.step) {
    Words<Bytes> x[kUnroll][L];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * part.step + thread_index();
      if (i >= planes.vectors) continue;
      read_planes<S, L, Exact, false>(planes, data + vector_offset<V>(planes, planes.row_stride, i), x[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t i = first + u * part.step + thread_index();
      if (i >= planes.vectors) continue;
#pragma unroll
      for (int j = 0; j < V; ++j) {
        T pixel[L];
#pragma unroll
        for (int l = 0; l < L; ++l) pixel[l] = Codec<S>::get(x[u][l].at, j);
        to_gradient<S, L>(pixel, a, b);
#pragma unroll
        for (int l = 0; l < L; ++l) Codec<S>::set(x[u][l].at, j, pixel[l]);
      }
      S* at = to + vector_offset<V>(planes, out_row_stride, i);
      const uint32_t counted = planes.mask ? counted_pixels<V>(planes, part.image, i) : 0;
#pragma unroll
      for (int l = 0; l < L; ++l) {
        if (planes.mask) clear_uncounted<S, V, 1>(x[u][l], counted);
        if (l < classes) write_words(at + l * out_class_stride, x[u][l]);
      }
    }
  }
}

}  // namespace lsr::cuda
