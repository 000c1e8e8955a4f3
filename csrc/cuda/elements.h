// Kernels for independent classes side by side: a thread takes vectors of elements, whatever pixels they
// belong to. Its vectors lie a multiple of the number of classes apart, so that each of their elements keeps
// its class. Any number of classes; one read, and the gradient one read and one write.
#pragma once

#include "pixel.h"
#include "sums.h"

namespace lsr::cuda {

struct Elements {
  const void* data;
  int64_t image_stride, elements;        // of an image
  int64_t vectors, part_vectors, parts;  // of an image; of a part; of an image
  int64_t pixels;                        // of an image
  int threads;                           // of a block that take part
  Divider classes;
  const uint8_t* mask;
};

// Calls visit(i, whole) for each vector i of this thread's; `whole`: all of its elements are the image's.
template <int V, class Visit>
LSR_DEVICE void for_element_vectors(const Elements& in, int64_t part, Visit visit) {
  const int64_t begin = part * in.part_vectors, past = begin + in.part_vectors;
  const int64_t end = past < in.vectors ? past : in.vectors;
  if (thread_index() >= in.threads) return;
  for (int64_t i = begin + thread_index(); i < end; i += in.threads) visit(i, (i + 1) * V <= in.elements);
}

// Vector i of an image; its elements beyond the image's end are zeros.
template <class S, bool Once>
LSR_DEVICE Words<16> read_vector(const Elements& in, const S* data, int64_t i, bool whole) {
  constexpr int V = 16 / static_cast<int>(sizeof(S));
  Words<16> x = {};
  if (!whole) {
#pragma unroll
    for (int j = 0; j < V; ++j) {
      if (i * V + j < in.elements) Codec<S>::set(x.at, j, read_element(data + i * V + j));
    }
  } else if (Once) {
    read_once(data + i * V, x);
  } else {
    read_own(data + i * V, x);
  }
  return x;
}

LSR_DEVICE bool is_element_counted(const Elements& in, int64_t image, int64_t element) {
  if (element >= in.elements) return false;
  return !in.mask || in.mask[image * in.pixels + in.classes.quotient(static_cast<uint32_t>(element))] != 0;
}

// The class of element j of this thread's vectors.
template <int V>
LSR_DEVICE int class_of(const Elements& in, int j) {
  return (thread_index() * V + j) % static_cast<int>(in.classes.divisor);
}

template <class S>
LSR_KERNEL(kThreads, (sizeof(S) == 2 ? 2 : 3))
element_moments(Elements in, Records records) {
  using T = Compute<S>;
  constexpr int V = 16 / static_cast<int>(sizeof(S));
  LSR_SHARED(double, p_wide, V* kThreads);
  LSR_SHARED(double, q_wide, V* kThreads);
  LSR_SHARED(int64_t, n_wide, kThreads);
  const int64_t image = block_index() / in.parts, part = block_index() % in.parts;
  const S* data = static_cast<const S*>(in.data) + image * in.image_stride;
  T p_sums[V] = {}, q_sums[V] = {};
  int64_t counted_sum = 0;
  for (int j = 0; j < V; ++j) {
    p_wide[j * kThreads + thread_index()] = q_wide[j * kThreads + thread_index()] = 0;
  }
  const auto widen = [&] {
#pragma unroll
    for (int j = 0; j < V; ++j) {
      p_wide[j * kThreads + thread_index()] += p_sums[j];
      q_wide[j * kThreads + thread_index()] += q_sums[j];
      p_sums[j] = q_sums[j] = T{};
    }
  };
  uint32_t first_class = 0;
#pragma unroll
  for (int j = 0; j < V; ++j) first_class |= (class_of<V>(in, j) == 0 ? 1u : 0u) << j;
  int narrow = 0;
  for_element_vectors<V>(in, part, [&](int64_t i, bool whole) {
    const Words<16> x = read_vector<S, true>(in, data, i, whole);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      const int counted = is_element_counted(in, image, i * V + j);
      T logit = counted ? Codec<S>::get(x.at, j) : T{};
      counted_sum += counted & (first_class >> j & 1);
      add_moments<S, 1>(&logit, static_cast<T>(counted), p_sums + j, q_sums + j);
    }
    if (++narrow % kNarrowPixels == 0) widen();
  });
  widen();
  n_wide[thread_index()] = counted_sum;
  sync_threads();
  // A warp adds up a class at a time, n as the one after the last.
  const int classes = static_cast<int>(in.classes.divisor);
  for (int l = warp_index(); l <= classes; l += kThreads / kWarp) {
    if (l == classes) {
      int64_t n = 0;
      for (int t = lane_index(); t < kThreads; t += kWarp) n += n_wide[t];
      n = warp_sum(n);
      if (lane_index() == 0) records.at(image, 0, part) = static_cast<double>(n);
      continue;
    }
    double p = 0, q = 0;
    for (int k = l + classes * lane_index(); k < in.threads * V; k += classes * kWarp) {
      p += p_wide[k % V * kThreads + k / V];
      q += q_wide[k % V * kThreads + k / V];
    }
    p = warp_sum(p);
    q = warp_sum(q);
    if (lane_index() == 0) {
      records.at(image, 1 + l, part) = p;
      records.at(image, 1 + classes + l, part) = q;
    }
  }
}

template <class S>
LSR_KERNEL(kThreads, (sizeof(S) == 2 ? 2 : 3))
element_gradient(Elements in, GradientSource source, void* out, int64_t out_image_stride) {
  using T = Compute<S>;
  constexpr int V = 16 / static_cast<int>(sizeof(S));
  const int64_t image = block_index() / in.parts, part = block_index() % in.parts;
  const S* data = static_cast<const S*>(in.data) + image * in.image_stride;
  S* to = static_cast<S*>(out) + image * out_image_stride;
  const double scale = scale_of(source);
  T a[V], b[V];
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const int64_t cell = image * in.classes.divisor + class_of<V>(in, j);
    a[j] = static_cast<T>(scale * source.a[cell]);
    b[j] = static_cast<T>(scale * source.b[cell]);
  }
  for_element_vectors<V>(in, part, [&](int64_t i, bool whole) {
    Words<16> x = read_vector<S, false>(in, data, i, whole);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      T logit = Codec<S>::get(x.at, j);
      to_gradient<S, 1>(&logit, a + j, b + j);
      Codec<S>::set(x.at, j, is_element_counted(in, image, i * V + j) ? logit : T{});
    }
    if (whole) return write_words(to + i * V, x);
#pragma unroll
    for (int j = 0; j < V; ++j) {
      if (i * V + j < in.elements) write_element(to + i * V + j, Codec<S>::get(x.at, j));
    }
  });
}

}  // namespace lsr::cuda
