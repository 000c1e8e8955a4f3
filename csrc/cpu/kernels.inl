// The kernels of one build for one type of logits: included once by each translation unit, after its target
// pragma.
//
// A range of pixels is cut into runs: consecutive pixels that lie at one stride and belong to one block. No
// header of the standard library that holds templates with code may be used here: the linker keeps one copy
// of each, and it could be this build's.

#include "exclusive.h"  // before anything that includes lsr/activation.h
#include "independent.h"

#include "kernels.h"

namespace lsr {
namespace {

using cpu::GradientSource;
using cpu::MomentSink;
using cpu::Range;

// How many of `count` pixels lie at one stride: all where rows join, else those to the end of the row.
int64_t straight_pixels(const Array& array, int64_t width, int64_t pixel, int64_t count) {
  const int64_t in_row = width - pixel % width;
  return array.row_stride == width * array.pixel_stride || count < in_row ? count : in_row;
}

// Pixels from the first on that belong to its block, looked at some at a time.
int64_t same_block(const int32_t* ids, int64_t count) {
  constexpr int kSome = 32;
  int64_t i = 0;
  for (int32_t others = 0; i + kSome <= count; i += kSome) {
    for (int j = 0; j < kSome; ++j) others |= ids[i + j] ^ ids[0];
    if (others) break;
  }
  while (i < count && ids[i] == ids[0]) ++i;
  return i;
}

// Pixels that a mask lets count: in bytes, of which many go into a vector, for as long as no byte runs over.
int64_t count_pixels(const uint8_t* mask, int64_t count) {
  constexpr int64_t kSome = 128;
  int64_t all = 0;
  for (int64_t first = 0; first < count; first += kSome) {
    const int64_t past = first + kSome < count ? first + kSome : count;
    uint8_t some = 0;
    for (int64_t i = first; i < past; ++i) some += mask[i] != 0;
    all += some;
  }
  return all;
}

// Up to so many exclusive classes of a pixel stay in registers, in code of their own.
#if !defined(LSR_MAX_STATIC)
#define LSR_MAX_STATIC 8
#endif

template <class S>
using MomentsOfRun = void (*)(const Run<S>& run, const Scratch<S>& scratch, double* sums_p, double* sums_q);

template <class S, int N = LSR_MAX_STATIC>
MomentsOfRun<S> exclusive_moments_of(int classes) {
  if constexpr (N < 2) {
    return exclusive_moments<0, S>;
  } else {
    return classes == N ? exclusive_moments<N, S> : exclusive_moments_of<S, N - 1>(classes);
  }
}

template <class S>
using GradientOfRun = void (*)(const Run<S>& run, const Scratch<S>& scratch, const Compute<S>* a,
                               const Compute<S>* b, Pointer<S> out, bool stream);

template <class S, int N = LSR_MAX_STATIC>
GradientOfRun<S> exclusive_gradient_of(int classes) {
  if constexpr (N < 2) {
    return exclusive_gradient<0, S>;
  } else {
    return classes == N ? exclusive_gradient<N, S> : exclusive_gradient_of<S, N - 1>(classes);
  }
}

template <class S>
Pointer<S> pointer_at(const Array& array, int64_t width, int64_t image, int64_t pixel) {
  const int64_t offset =
      image * array.image_stride + pixel / width * array.row_stride + pixel % width * array.pixel_stride;
  return {static_cast<S*>(array.data) + offset, array.class_stride, array.pixel_stride};
}

// Walks a range run by run: visit(pixel, count, block), every run at one stride in each of the arrays.
template <class Visit>
void for_each_run(const Pixels& pixels, const Range& range, const Array& other, Visit visit) {
  const int64_t plane = range.image * pixels.height * pixels.width;
  for (int64_t pixel = range.begin; pixel < range.end;) {
    int64_t count = straight_pixels(pixels.logits, pixels.width, pixel, range.end - pixel);
    count = straight_pixels(other, pixels.width, pixel, count);
    int64_t block = range.image;
    if (pixels.block_ids) {
      block = pixels.block_ids[plane + pixel];
      count = same_block(pixels.block_ids + plane + pixel, count);
    }
    visit(pixel, count, block);
    pixel += count;
  }
}

const uint8_t* mask_of(const Pixels& pixels, int64_t image, int64_t pixel) {
  return pixels.mask ? pixels.mask + image * pixels.height * pixels.width + pixel : nullptr;
}

template <class S>
void moments_of(const Pixels& pixels, const Range& range, MomentSink& sink) {
  const int classes = static_cast<int>(pixels.classes);
  const Scratch<S> scratch(classes);
  const bool exclusive = pixels.activation == Activation::kSoftmax;
  const MomentsOfRun<S> moments_of_run =
      exclusive ? exclusive_moments_of<S>(classes) : independent_moments<S>;
  for_each_run(pixels, range, pixels.logits, [&](int64_t pixel, int64_t count, int64_t block) {
    if (block < 0) return;
    double* record = sink.record(block);
    const uint8_t* mask = mask_of(pixels, range.image, pixel);
    record[0] += static_cast<double>(mask ? count_pixels(mask, count) : count);
    const Pointer<const S> logits = pointer_at<const S>(pixels.logits, pixels.width, range.image, pixel);
    moments_of_run({logits, count, mask, classes}, scratch, record + 1, record + 1 + classes);
  });
}

// NaN as arithmetic makes it, whatever bits it came with: rounding to bfloat16 relies on it.
template <class T>
T as_coefficient(double x) {
  return static_cast<T>(x == x ? x : __builtin_nan(""));
}

// a and b of one block, times the scale, in the computation's type.
template <class T>
void load_coefficients(const GradientSource& source, int64_t block, int classes, T* a, T* b) {
  for (int l = 0; l < classes; ++l) {
    a[l] = as_coefficient<T>(source.scale * source.a[block * classes + l]);
    b[l] = as_coefficient<T>(source.scale * source.b[block * classes + l]);
  }
}

template <class S>
void store_zeros(Pointer<S> to, int classes, int64_t count) {
  for (int l = 0; l < classes; ++l) {
    for (int64_t i = 0; i < count; ++i) to.data[l * to.class_stride + i * to.pixel_stride] = S{};
  }
}

template <class S>
void gradient_of(const Pixels& pixels, const Range& range, const GradientSource& source, const Array& out,
                 bool stream) {
  using T = Compute<S>;
  const int classes = static_cast<int>(pixels.classes);
  const Scratch<S> scratch(classes);
  const Buffer<(4 << 10)> coefficients(2 * classes * sizeof(T));
  T* a = reinterpret_cast<T*>(coefficients.data());
  T* b = a + classes;
  int64_t loaded = -1;
  const bool exclusive = pixels.activation == Activation::kSoftmax;
  const GradientOfRun<S> gradient_of_run =
      exclusive ? exclusive_gradient_of<S>(classes) : independent_gradient<S>;
  for_each_run(pixels, range, out, [&](int64_t pixel, int64_t count, int64_t block) {
    const Pointer<S> to = pointer_at<S>(out, pixels.width, range.image, pixel);
    if (block < 0) return store_zeros(to, classes, count);
    if (block != loaded) load_coefficients(source, loaded = block, classes, a, b);
    const Pointer<const S> logits = pointer_at<const S>(pixels.logits, pixels.width, range.image, pixel);
    const uint8_t* mask = mask_of(pixels, range.image, pixel);
    gradient_of_run({logits, count, mask, classes}, scratch, a, b, to, stream);
  });
}

}  // namespace
}  // namespace lsr

// Defines a cpu::Kernels, and ends the translation unit.
#define LSR_KERNELS(name, S)                         \
  namespace lsr::cpu {                               \
  extern const Kernels name;                         \
  const Kernels name{moments_of<S>, gradient_of<S>}; \
  }                                                  \
  LSR_END_TARGET
