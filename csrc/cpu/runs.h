// The two pixel kernels over a run: consecutive pixels of one block, class by class in rows of lanes.
#pragma once

#include <cstdint>

#include "exp.h"  // before anything that includes lsr/activation.h
#include "stream.h"
#include "transpose.h"

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

// Where the pixels of a run lie: pixel i of class l at data + l * class_stride + i * pixel_stride.
template <class S>
struct Pointer {
  S* data;
  int64_t class_stride, pixel_stride;

  LSR_HD Pointer at(int64_t pixel) const { return {data + pixel * pixel_stride, class_stride, pixel_stride}; }
  // Whether the classes of a pixel lie side by side, as many as a build for Static classes can sort out.
  template <int Static>
  LSR_HD bool interleaved() const {
    return Static > 1 && class_stride == 1 && pixel_stride == Static;
  }
};

// Which of the `count` lanes at a pixel are valid.
template <class T>
LSR_HD typename Vec<T>::Mask valid_lanes(const uint8_t* mask, int count) {
  typename Vec<T>::Bits valid[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) valid[i] = i < count && (!mask || mask[i]) ? -1 : 0;
  return load_bits<typename Vec<T>::Mask>(valid);
}

// Some lanes that lie `stride` apart, and zeros.
template <class S>
LSR_HD auto load_apart(const S* from, int64_t stride, int count) {
  S some[kLanes<Compute<S>>] = {};
  for (int i = 0; i < count; ++i) some[i] = from[i * stride];
  return load_lanes(some);
}

template <class S, class V>
LSR_HD void store_apart(S* to, int64_t stride, V lanes, int count) {
  S some[kLanes<Compute<S>>];
  store_lanes(some, lanes);
  for (int i = 0; i < count; ++i) to[i * stride] = some[i];
}

// What the vectors of a part of a run are filled with: consecutive pixels' values of one class, or
// consecutive values of pixels whose classes lie side by side. Both of pixels that all count, unlike mixed
// ones.
enum class Shape { kRows, kPixels, kMixed };

template <int Static, class S>
LSR_HD Shape shape_of(Pointer<S> array) {
  return array.pixel_stride == 1                ? Shape::kRows
         : array.template interleaved<Static>() ? Shape::kPixels
                                                : Shape::kMixed;
}

// All classes of the `count` pixels from `from` on, one vector each.
template <int Static, Shape kShape, class S, class V>
LSR_HD void load_pixels(Pointer<const S> from, int classes, int count, V* x) {
  constexpr int kWidth = kLanes<Compute<S>>;
  if constexpr (kShape == Shape::kRows) {
    for_classes<Static>(classes,
                        [&](int l) LSR_LAMBDA { x[l] = load_lanes(from.data + l * from.class_stride); });
  } else if constexpr (kShape == Shape::kPixels && Static > 1) {
    V in[Static];
    for_classes<Static>(classes, [&](int j) LSR_LAMBDA { in[j] = load_lanes(from.data + j * kWidth); });
    to_rows<Compute<S>, Static>(in, x);
  } else {
    const Shape shape = count == kWidth ? shape_of<Static>(from) : Shape::kMixed;
    if (shape == Shape::kRows) return load_pixels<Static, Shape::kRows, S>(from, classes, count, x);
    if (Static > 1 && shape == Shape::kPixels) {
      return load_pixels<Static, Shape::kPixels, S>(from, classes, count, x);
    }
    for (int l = 0; l < classes; ++l) {
      x[l] = load_apart(from.data + l * from.class_stride, from.pixel_stride, count);
    }
  }
}

// And back; `stream` bypasses the caches and needs aligned addresses.
template <int Static, Shape kShape, class S, class V>
LSR_HD void store_pixels(Pointer<S> to, int classes, int count, const V* x, bool stream) {
  constexpr int kWidth = kLanes<Compute<S>>;
  const auto store = [&](S* at, V lanes)
                         LSR_LAMBDA { return stream ? stream_lanes(at, lanes) : store_lanes(at, lanes); };
  if constexpr (kShape == Shape::kRows) {
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { store(to.data + l * to.class_stride, x[l]); });
  } else if constexpr (kShape == Shape::kPixels && Static > 1) {
    V out[Static];
    from_rows<Compute<S>, Static>(x, out);
    for_classes<Static>(classes, [&](int j) LSR_LAMBDA { store(to.data + j * kWidth, out[j]); });
  } else {
    const Shape shape = count == kWidth ? shape_of<Static>(to) : Shape::kMixed;
    if (shape == Shape::kRows) return store_pixels<Static, Shape::kRows, S>(to, classes, count, x, stream);
    if (Static > 1 && shape == Shape::kPixels) {
      return store_pixels<Static, Shape::kPixels, S>(to, classes, count, x, stream);
    }
    for (int l = 0; l < classes; ++l) {
      store_apart(to.data + l * to.class_stride, to.pixel_stride, x[l], count);
    }
  }
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
constexpr int part_vectors(int classes) { return classes <= 8 ? 16 : classes <= 64 ? 256 / classes : 2; }

// Room for a part's exponentials, and for the sums or the gradient of a number of classes that is not Static.
template <class T>
constexpr int64_t scratch_bytes(int classes) {
  return (part_vectors(classes) + 2) * classes * sizeof(Lanes<T>) + 2 * classes * kLanes<T> * sizeof(double);
}

// Zero for lanes that do not count, whatever they hold.
template <class T, bool kWhole>
struct Valid {
  typename Vec<T>::Mask mask;
  LSR_HD Lanes<T> operator()(Lanes<T> lanes) const { return select(mask, lanes, Lanes<T>{}); }
};
template <class T>
struct Valid<T, true> {
  LSR_HD Lanes<T> operator()(Lanes<T> lanes) const { return lanes; }
};

// Part of a run: `count` pixels from `first` on, of a run that goes on to `end`. The classes pass through
// their exponentials for all of the part, then through what follows from them: two short loops whose
// iterations overlap in the processor, where one long loop would wait at each of its steps.
template <class S, int Static, Shape kShape>
struct Part {
  Pointer<const S> logits;
  const uint8_t* mask;
  int64_t first, end;
  int count;

  using T = Compute<S>;
  static constexpr int kWidth = kLanes<T>;
  static constexpr bool kWhole = kShape != Shape::kMixed;
  int vectors() const { return (count + kWidth - 1) / kWidth; }
  LSR_HD int some(int vector) const {
    return kWhole || count - vector * kWidth > kWidth ? kWidth : count - vector * kWidth;
  }
  // The lanes of a vector that are pixels that count; in a whole part, which has no others, nothing.
  LSR_HD Valid<T, kWhole> valid(int vector) const {
    if constexpr (kWhole) {
      return {};
    } else {
      return {valid_lanes<T>(mask ? mask + first + vector * kWidth : nullptr, some(vector))};
    }
  }
  // The logits of all classes, zeros in lanes that do not count.
  LSR_HD void load(int vector, int classes, Lanes<T>* x) const {
    load_pixels<Static, kShape, S>(logits.at(first + vector * kWidth), classes, some(vector), x);
    const auto counted = valid(vector);
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { x[l] = counted(x[l]); });
  }
  // Asks for what the next part will read at this vector, if the run goes on that far.
  LSR_HD void prefetch_next(int vector, int classes) const {
    const int64_t pixel = first + count + vector * kWidth;
    if (pixel >= end) return;
    const S* next = logits.at(pixel).data;
    const int64_t stride = logits.pixel_stride == 1 ? logits.class_stride : kWidth;
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { __builtin_prefetch(next + l * stride); });
  }
};

// One or two classes, whose logits go from memory to registers at once.
template <int Static>
constexpr bool kFew = Static == 1 || Static == 2;

// Of more than two exclusive classes, the part's exponentials are made first, in x; the rest is read as it is
// needed.
template <int Static>
LSR_HD bool is_staged(bool exclusive, int classes) {
  return !kFew<Static> && exclusive && classes > 2;
}

template <class S, int Static, Shape kShape, class V>
LSR_HD void part_exponentials(const Part<S, Static, kShape>& part, int classes, V* x) {
  for (int i = 0; i < part.vectors(); ++i, x += Static ? Static : classes) {
    part.load(i, classes, x);
    softmax_exponentials<Static, V>(classes, x);
  }
}

template <class S, int Static, Shape kShape, class V>
LSR_HD void part_moments(const Part<S, Static, kShape>& part, bool exclusive, int classes, V* x,
                         LaneSums<Compute<S>, Static>& sums) {
  // The part's own sums: in registers, where Static gives their number.
  V local[2 * (Static ? Static : 1)] = {};
  V* sum_p = Static ? local : sums.p;
  V* sum_q = Static ? local + Static : sums.q;
  const auto take = [&](int l, V p, V q) LSR_LAMBDA {
    sum_p[l] += p;
    sum_q[l] += q;
  };
  const bool staged = is_staged<Static>(exclusive, classes);
  if (staged) part_exponentials(part, classes, x);
  for (int i = 0; i < part.vectors(); ++i, x += staged ? classes : 0) {
    part.prefetch_next(i, classes);
    V few[2] = {};
    V* at = kFew<Static> ? few : x;
    if (!staged) part.load(i, classes, at);
    const auto valid = part.valid(i);
    if (!exclusive) {
      for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
        const Logistic<V> one = logistic<V>(at[l]);
        const V inverse = valid(one.inverse);
        take(l, one.p * inverse, one.q * (inverse * inverse));
      });
    } else if (!staged) {
      const Logistic<V> one = logistic<V>(at[1] - at[0]);
      const V inverse = valid(one.inverse), q = one.q * (inverse * inverse);
      take(0, one.complement * inverse, q);
      take(1, one.p * inverse, q);
    } else {
      softmax_moments<Static, V>(classes, at, valid, take);
    }
  }
  if constexpr (Static > 0) {
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
      sums.p[l] += sum_p[l];
      sums.q[l] += sum_q[l];
    });
  }
}

// Calls visit(part) part by part, the whole ones in the given shape.
template <int Static, class S, class Visit>
void for_each_part(Pointer<const S> logits, int64_t count, const uint8_t* mask, int classes, Shape shape,
                   Visit visit) {
  constexpr int kWidth = kLanes<Compute<S>>;
  constexpr Shape kPixels = Static > 1 ? Shape::kPixels : Shape::kMixed;  // one class alone is rows
  const int64_t most = part_vectors(classes) * kWidth;
  for (int64_t first = 0; first < count; first += most) {
    const int some = static_cast<int>(count - first < most ? count - first : most);
    const bool whole = !mask && some % kWidth == 0;
    if (whole && shape == Shape::kRows) {
      visit(Part<S, Static, Shape::kRows>{logits, mask, first, count, some});
    } else if (whole && shape == Shape::kPixels) {
      visit(Part<S, Static, kPixels>{logits, mask, first, count, some});
    } else {
      visit(Part<S, Static, Shape::kMixed>{logits, mask, first, count, some});
    }
  }
}

// Adds the sums of p and p (1 - p) over a run to sums_p and sums_q; `scratch` holds scratch_bytes.
template <int Static, class S>
void moments_run(Pointer<const S> logits, int64_t count, const uint8_t* mask, Activation activation,
                 int classes, double* sums_p, double* sums_q, void* scratch) {
  using T = Compute<S>;
  using V = Lanes<T>;
  constexpr int kSlots = Static ? Static : 1;
  V* x = static_cast<V*>(scratch);
  V local[2 * kSlots] = {};
  double local_wide[2 * kSlots * kLanes<T>] = {};
  V* lanes = Static ? local : x + part_vectors(classes) * classes;
  double* wide = Static ? local_wide : reinterpret_cast<double*>(lanes + 2 * classes);
  if (!Static) {
    std::memset(lanes, 0, 2 * classes * sizeof(V));
    std::memset(wide, 0, 2 * classes * kLanes<T> * sizeof(double));
  }
  const bool exclusive = Static != 1 && activation == Activation::kSoftmax;
  LaneSums<T, Static> sums{lanes, lanes + (Static ? Static : classes), wide};
  int unflushed = 0;
  for_each_part<Static, S>(logits, count, mask, classes, shape_of<Static>(logits), [&](const auto& part) {
    part_moments(part, exclusive, classes, x, sums);
    unflushed += part.vectors();
    if (unflushed + part_vectors(classes) <= kFlush && part.first + part.count < part.end) return;
    sums.flush(classes);
    unflushed = 0;
  });
  sums.add_to(classes, sums_p, sums_q);
}

// Whether all vectors of whole rows, or of whole interleaved pixels, start at multiples of their size.
template <int Static, class S>
bool is_aligned(Pointer<S> out, int classes) {
  constexpr uintptr_t kBytes = kLanes<Compute<S>> * sizeof(S);
  if (reinterpret_cast<uintptr_t>(out.data) % kBytes) return false;
  if (out.template interleaved<Static>()) return true;
  return out.pixel_stride == 1 && (classes == 1 || out.class_stride * sizeof(S) % kBytes == 0);
}

template <class S, int Static, Shape kShape, class T, class V>
LSR_HD void part_gradient(const Part<S, Static, kShape>& part, bool exclusive, int classes, const T* a,
                          const T* b, Pointer<S> out, bool stream, V* x) {
  const int count = Static ? Static : classes;
  V local[2 * (Static ? Static : 1)] = {};
  V* p = Static ? local : x + part_vectors(classes) * classes;
  V* g = p + count;
  const bool staged = is_staged<Static>(exclusive, classes);
  if (staged) part_exponentials(part, classes, x);
  for (int i = 0; i < part.vectors(); ++i, x += staged ? classes : 0) {
    part.prefetch_next(i, classes);
    V few[2] = {};
    V* at = kFew<Static> ? few : x;
    if (!staged) part.load(i, classes, at);
    if (!exclusive) {
      for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
        const Logistic<V> one = logistic<V>(at[l]);
        g[l] = (a[l] + b[l] * (one.p * one.inverse)) * (one.q * one.inverse * one.inverse);
      });
    } else if (!staged) {
      const Logistic<V> one = logistic<V>(at[1] - at[0]);
      const V difference = a[1] - a[0] + (b[1] * one.p - b[0] * one.complement) * one.inverse;
      g[1] = difference * (one.q * one.inverse * one.inverse);
      g[0] = -g[1];
    } else {
      softmax_gradient<Static, T, V>(classes, at, p, g, a, b);
    }
    const auto valid = part.valid(i);
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { g[l] = valid(g[l]); });
    store_pixels<Static, kShape, S>(out.at(part.first + i * part.kWidth), classes, part.some(i), g, stream);
  }
}

// Writes the gradient over a run; 0 where a pixel is not valid. `out` may be the logits, but not if `stream`:
// then it bypasses the caches.
template <int Static, class S>
void gradient_run(Pointer<const S> logits, int64_t count, const uint8_t* mask, Activation activation,
                  int classes, const Compute<S>* a, const Compute<S>* b, Pointer<S> out, bool stream,
                  void* scratch) {
  auto* x = static_cast<Lanes<Compute<S>>*>(scratch);
  const bool exclusive = Static != 1 && activation == Activation::kSoftmax;
  const Shape shape = shape_of<Static>(logits);
  const Shape both = shape == shape_of<Static>(out) ? shape : Shape::kMixed;
  const bool streams = stream && is_aligned<Static>(out, classes);
  for_each_part<Static, S>(logits, count, mask, classes, both, [&](const auto& part) {
    part_gradient(part, exclusive, classes, a, b, out, streams && part.kWhole, x);
  });
  if (streams) end_streaming();
}

}  // namespace
}  // namespace lsr
