// One build of the kernels: included once by each translation unit, after its target pragma.
//
// A range of pixels is cut into runs: consecutive pixels that lie at one stride and belong to one block. They
// are read and written where they are, whatever the strides. No header of the standard library that holds
// templates with code may be used here: the linker keeps one copy of each, and it could be this build's.

#include <new>

#include "runs.h"  // before anything that includes lsr/activation.h

#include "kernels.h"

namespace lsr {
namespace {

using cpu::GradientSource;
using cpu::MomentSink;
using cpu::Range;

class Buffer {
 public:
  explicit Buffer(int64_t bytes) : data_(::operator new(static_cast<size_t>(bytes), kAlignment)) {}
  ~Buffer() { ::operator delete(data_, kAlignment); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  void* data_;
};

// How many of `count` pixels lie at one stride: all where rows join, else those to the end of the row.
int64_t straight_pixels(const Array& array, int64_t width, int64_t pixel, int64_t count) {
  const int64_t in_row = width - pixel % width;
  return array.row_stride == width * array.pixel_stride || count < in_row ? count : in_row;
}

// Pixels from the first on that belong to its block.
int64_t same_block(const int32_t* ids, int64_t count) {
  int64_t i = 1;
  while (i < count && ids[i] == ids[0]) ++i;
  return i;
}

// Up to so many classes of a pixel stay in registers, in code of their own.
#if !defined(LSR_MAX_STATIC)
#define LSR_MAX_STATIC 8
#endif

// The number of classes where it is known to the compiler, 0 where it is not.
template <int N>
struct Classes {
  static constexpr int value = N;
};

template <int N = LSR_MAX_STATIC, class Call>
void with_classes(int classes, Call call) {
  if constexpr (N == 0) {
    call(Classes<0>{});
  } else {
    classes == N ? call(Classes<N>{}) : with_classes<N - 1>(classes, call);
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
  const Buffer scratch(scratch_bytes<Compute<S>>(classes));
  with_classes(classes, [&](auto instance) {
    for_each_run(pixels, range, pixels.logits, [&](int64_t pixel, int64_t count, int64_t block) {
      if (block < 0) return;
      double* record = sink.record(block);
      const uint8_t* mask = mask_of(pixels, range.image, pixel);
      int64_t valid = mask ? 0 : count;
      for (int64_t i = 0; mask && i < count; ++i) valid += mask[i] != 0;
      record[0] += static_cast<double>(valid);
      moments_run<decltype(instance)::value, S>(
          pointer_at<const S>(pixels.logits, pixels.width, range.image, pixel), count, mask,
          pixels.activation, classes, record + 1, record + 1 + classes, scratch.data());
    });
  });
}

// a and b of one block, times the scale, in the computation's type.
template <class T>
void load_coefficients(const GradientSource& source, int64_t block, int classes, T* a, T* b) {
  for (int l = 0; l < classes; ++l) {
    a[l] = static_cast<T>(source.scale * source.a[block * classes + l]);
    b[l] = static_cast<T>(source.scale * source.b[block * classes + l]);
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
  const Buffer scratch(scratch_bytes<T>(classes)), coefficients(2 * classes * sizeof(T));
  T* a = reinterpret_cast<T*>(coefficients.data());
  T* b = a + classes;
  int64_t loaded = -1;
  with_classes(classes, [&](auto instance) {
    for_each_run(pixels, range, out, [&](int64_t pixel, int64_t count, int64_t block) {
      const Pointer<S> to = pointer_at<S>(out, pixels.width, range.image, pixel);
      if (block < 0) return store_zeros(to, classes, count);
      if (block != loaded) load_coefficients(source, loaded = block, classes, a, b);
      gradient_run<decltype(instance)::value, S>(
          pointer_at<const S>(pixels.logits, pixels.width, range.image, pixel), count,
          mask_of(pixels, range.image, pixel), pixels.activation, classes, a, b, to, stream, scratch.data());
    });
  });
}

template <class Call>
void with_scalar(Scalar scalar, Call call) {
  switch (scalar) {
    case Scalar::kFloat32:
      return call(float{});
    case Scalar::kFloat64:
      return call(double{});
    case Scalar::kBFloat16:
      return call(BFloat16{});
    case Scalar::kFloat16:
      return call(Float16{});
  }
}

void moments(const Pixels& pixels, const Range& range, MomentSink& sink) {
  with_scalar(pixels.logits.scalar, [&](auto s) { moments_of<decltype(s)>(pixels, range, sink); });
}

void gradient(const Pixels& pixels, const Range& range, const GradientSource& source, const Array& out,
              bool stream) {
  with_scalar(pixels.logits.scalar,
              [&](auto s) { gradient_of<decltype(s)>(pixels, range, source, out, stream); });
}

}  // namespace
}  // namespace lsr
