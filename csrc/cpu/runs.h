// The two pixel kernels over a run: consecutive pixels of one block, class by class in rows of lanes.
#pragma once

#include <cstdint>

#include "transpose.h"
#include "vec.h"  // before anything that includes lsr/activation.h

#include "../lsr/activation.h"

namespace lsr {
namespace {  // each build of the kernels keeps its own code

constexpr int kFlush = 32;  // single-precision additions a lane takes before it is widened

// The type that a stored type is computed in.
template <class S>
struct ComputeType {
  using Type = float;
};
template <>
struct ComputeType<double> {
  using Type = double;
};
template <class S>
using Compute = typename ComputeType<S>::Type;

// Pixels 0 .. count of each class l at data + l * stride.
template <class T>
struct Rows {
  T* data;
  int64_t stride;
};

// Which of the `count` lanes at a pixel are valid.
template <class T>
LSR_HD typename Vec<T>::Mask valid_lanes(const uint8_t* mask, int count) {
  typename Vec<T>::Bits valid[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) valid[i] = i < count && (!mask || mask[i]) ? -1 : 0;
  return load_bits<typename Vec<T>::Mask>(valid);
}

// A row's next lanes; of the last ones only `count`, and zeros.
template <class S>
LSR_HD auto load_some(const S* from, int count) {
  constexpr int lanes = kLanes<Compute<S>>;
  if (count >= lanes) return load_lanes(from);
  S some[lanes] = {};
  for (int i = 0; i < count; ++i) some[i] = from[i];
  return load_lanes(some);
}

template <class S, class V>
LSR_HD void store_some(S* to, V lanes, int count) {
  constexpr int most = kLanes<Compute<S>>;
  if (count >= most) return store_lanes(to, lanes);
  S some[most];
  store_lanes(some, lanes);
  for (int i = 0; i < count; ++i) to[i] = some[i];
}

// Sums of p and q per class: single-precision lanes, emptied into double ones before they lose digits.
template <class T, int Static>
struct LaneSums {
  Lanes<T>* p;
  Lanes<T>* q;
  double* wide;  // (2, classes, lanes)

  LSR_HD void flush(int classes) {
    const int count = Static ? Static : classes;
    for (int l = 0; l < count; ++l) {
      for (int i = 0; i < kLanes<T>; ++i) {
        wide[l * kLanes<T> + i] += p[l][i];
        wide[(count + l) * kLanes<T> + i] += q[l][i];
      }
      p[l] = q[l] = Lanes<T>{};
    }
  }

  LSR_HD void add_to(int classes, double* sums_p, double* sums_q) const {
    const int count = Static ? Static : classes;
    for (int l = 0; l < count; ++l) {
      for (int i = 0; i < kLanes<T>; ++i) {
        sums_p[l] += wide[l * kLanes<T> + i];
        sums_q[l] += wide[(count + l) * kLanes<T> + i];
      }
    }
  }
};

// Vectors of pixels in a part of a run: their exponentials stay in the first-level cache.
constexpr int part_vectors(int classes) { return classes <= 8 ? kFlush : classes <= 64 ? 256 / classes : 2; }

// Room for a part's exponentials, and for the sums or the gradient of a number of classes that is not Static.
template <class T>
constexpr int64_t scratch_bytes(int classes) {
  return (part_vectors(classes) + 2) * classes * sizeof(Lanes<T>) + 2 * classes * kLanes<T> * sizeof(double);
}

// Zero for lanes that do not count, whatever they hold.
template <class T, bool Whole>
struct Valid {
  typename Vec<T>::Mask mask;
  LSR_HD Lanes<T> operator()(Lanes<T> lanes) const { return select(mask, lanes, Lanes<T>{}); }
};
template <class T>
struct Valid<T, true> {
  LSR_HD Lanes<T> operator()(Lanes<T> lanes) const { return lanes; }
};

// Part of a run: `count` pixels from `first` on, of a run that goes on to `end`. Three classes and more pass
// through their exponentials for all of the part, then through what follows from them: two short loops whose
// iterations overlap in the processor, where one long loop would wait at each of its steps.
template <class S>
struct Part {
  Rows<const S> rows;
  const uint8_t* mask;
  int64_t first, end;
  int count;

  static constexpr int kWidth = kLanes<Compute<S>>;
  int vectors() const { return (count + kWidth - 1) / kWidth; }
  // Whether every lane of every vector is a pixel that counts.
  bool whole() const { return !mask && count % kWidth == 0; }
  LSR_HD int some(int vector) const {
    return count - vector * kWidth < kWidth ? count - vector * kWidth : kWidth;
  }
  // The lanes of a vector that are pixels that count; in a whole part, which has no others, nothing.
  template <bool Whole>
  LSR_HD Valid<Compute<S>, Whole> valid(int vector) const {
    if constexpr (Whole) {
      return {};
    } else {
      return {valid_lanes<Compute<S>>(mask ? mask + first + vector * kWidth : nullptr, some(vector))};
    }
  }
  // Asks for the logits of class l that the next part will read at this vector, if the run goes on that far.
  LSR_HD void prefetch_next(int vector, int l) const {
    const int64_t pixel = first + count + vector * kWidth;
    if (pixel < end) __builtin_prefetch(rows.data + l * rows.stride + pixel);
  }
  // The logits of class l.
  template <bool Whole>
  LSR_HD auto load(int vector, int l) const {
    const S* from = rows.data + l * rows.stride + first + vector * kWidth;
    if constexpr (Whole) {
      return load_lanes(from);
    } else {
      return load_some(from, some(vector));
    }
  }
};

template <int Static, bool Whole, class S, class V>
LSR_HD void part_exponentials(const Part<S>& part, int classes, V* e) {
  for (int i = 0; i < part.vectors(); ++i, e += Static ? Static : classes) {
    const auto valid = part.template valid<Whole>(i);
    softmax_exponentials<Static, V>(
        classes, [&](int l) LSR_LAMBDA { return valid(part.template load<Whole>(i, l)); }, e);
  }
}

template <int Static, bool Whole, class S, class V>
LSR_HD void part_moments(const Part<S>& part, Activation activation, int classes, V* e,
                         LaneSums<Compute<S>, Static>& sums) {
  const int count = Static ? Static : classes;
  const bool exclusive = Static != 1 && activation == Activation::kSoftmax;
  if (exclusive && count > 2) part_exponentials<Static, Whole>(part, classes, e);
  for (int i = 0; i < part.vectors(); ++i) {
    const auto valid = part.template valid<Whole>(i);
    const auto load = [&](int l) LSR_LAMBDA { return valid(part.template load<Whole>(i, l)); };
    const auto take = [&](int l, V p, V q, const Weights<V>& weights) LSR_LAMBDA {
      sums.p[l] += p * weights.p;
      sums.q[l] += q * weights.q;
    };
    const auto weigh = [&](V inverse)
                           LSR_LAMBDA { return Weights<V>{valid(inverse), valid(inverse * inverse)}; };
    if (exclusive && count > 2) {
      for_classes<Static>(classes, [&](int l) LSR_LAMBDA { part.prefetch_next(i, l); });
      softmax_moments<Static, V>(classes, e + i * count,
                                 [&](int l, V p, V q, const Weights<V>& w)
                                     LSR_LAMBDA { take(l, p, q, {valid(w.p), valid(w.q)}); });
    } else if (exclusive) {
      const Logistic<V> one = logistic<V>(load(1) - load(0));
      take(0, one.complement, one.q, weigh(one.inverse));
      take(1, one.p, one.q, weigh(one.inverse));
    } else {
      for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
        const Logistic<V> one = logistic<V>(load(l));
        take(l, one.p, one.q, weigh(one.inverse));
      });
    }
  }
}

// Adds the sums of p and p (1 - p) over a run to sums_p and sums_q; `scratch` holds scratch_bytes.
template <int Static, class S>
void moments_run(Rows<const S> rows, int64_t count, const uint8_t* mask, Activation activation, int classes,
                 double* sums_p, double* sums_q, void* scratch) {
  using T = Compute<S>;
  using V = Lanes<T>;
  constexpr int kSlots = Static ? Static : 1;
  V* e = static_cast<V*>(scratch);
  V local[2 * kSlots] = {};
  double local_wide[2 * kSlots * kLanes<T>] = {};
  V* lanes = Static ? local : e + part_vectors(classes) * classes;
  double* wide = Static ? local_wide : reinterpret_cast<double*>(lanes + 2 * classes);
  if (!Static) {
    std::memset(lanes, 0, 2 * classes * sizeof(V));
    std::memset(wide, 0, 2 * classes * kLanes<T> * sizeof(double));
  }
  LaneSums<T, Static> sums{lanes, lanes + (Static ? Static : classes), wide};
  const int64_t most = part_vectors(classes) * kLanes<T>;
  int unflushed = 0;
  for (int64_t first = 0; first < count; first += most) {
    const Part<S> part{rows, mask, first, count,
                       static_cast<int>(count - first < most ? count - first : most)};
    if (part.whole()) {
      part_moments<Static, true>(part, activation, classes, e, sums);
    } else {
      part_moments<Static, false>(part, activation, classes, e, sums);
    }
    unflushed += part.vectors();
    if (unflushed + part_vectors(classes) <= kFlush) continue;
    sums.flush(classes);
    unflushed = 0;
  }
  if (unflushed) sums.flush(classes);
  sums.add_to(classes, sums_p, sums_q);
}

// Whether all rows of whole vectors start at multiples of the vectors' size.
template <class S>
bool is_aligned(Rows<S> rows, int classes) {
  constexpr uintptr_t kBytes = kLanes<Compute<S>> * sizeof(S);
  const auto start = reinterpret_cast<uintptr_t>(rows.data);
  return start % kBytes == 0 && (classes == 1 || rows.stride * sizeof(S) % kBytes == 0);
}

template <int Static, bool Whole, class S, class T, class V>
LSR_HD void part_gradient(const Part<S>& part, Activation activation, int classes, const T* a, const T* b,
                          Rows<S> out, bool stream, V* e) {
  const int count = Static ? Static : classes;
  const bool exclusive = Static != 1 && activation == Activation::kSoftmax;
  V local[2 * (Static ? Static : 1)];
  V* p = Static ? local : e + part_vectors(classes) * classes;
  V* v = p + count;
  if (exclusive && count > 2) part_exponentials<Static, Whole>(part, classes, e);
  for (int i = 0; i < part.vectors(); ++i) {
    const auto valid = part.template valid<Whole>(i);
    const auto load = [&](int l) LSR_LAMBDA { return valid(part.template load<Whole>(i, l)); };
    const auto store = [&](int l, V value) LSR_LAMBDA {
      S* to = out.data + l * out.stride + part.first + i * kLanes<T>;
      if constexpr (!Whole) return store_some(to, valid(value), part.some(i));
      return stream ? stream_lanes(to, value) : store_lanes(to, value);
    };
    if (exclusive && count > 2) {
      for_classes<Static>(classes, [&](int l) LSR_LAMBDA { part.prefetch_next(i, l); });
      softmax_gradient<Static, T, V>(classes, e + i * count, p, v, a, b, store);
    } else if (exclusive) {
      const Logistic<V> one = logistic<V>(load(1) - load(0));
      const V difference = a[1] - a[0] + (b[1] * one.p - b[0] * one.complement) * one.inverse;
      const V slope = difference * (one.q * one.inverse * one.inverse);
      store(0, -slope);
      store(1, slope);
    } else {
      for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
        const Logistic<V> one = logistic<V>(load(l));
        store(l, (a[l] + b[l] * (one.p * one.inverse)) * (one.q * one.inverse * one.inverse));
      });
    }
  }
}

// Writes the gradient over a run; 0 where a pixel is not valid. `out` may be `rows`, but not if `stream`:
// then it bypasses the caches.
template <int Static, class S>
void gradient_run(Rows<const S> rows, int64_t count, const uint8_t* mask, Activation activation, int classes,
                  const Compute<S>* a, const Compute<S>* b, Rows<S> out, bool stream, void* scratch) {
  using T = Compute<S>;
  auto* e = static_cast<Lanes<T>*>(scratch);
  stream = stream && is_aligned(out, classes);
  const int64_t most = part_vectors(classes) * kLanes<T>;
  for (int64_t first = 0; first < count; first += most) {
    const Part<S> part{rows, mask, first, count,
                       static_cast<int>(count - first < most ? count - first : most)};
    if (part.whole()) {
      part_gradient<Static, true>(part, activation, classes, a, b, out, stream, e);
    } else {
      part_gradient<Static, false>(part, activation, classes, a, b, out, false, e);
    }
  }
  if (stream) end_streaming();
}

}  // namespace
}  // namespace lsr
