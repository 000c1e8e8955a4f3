// Pixels in memory, whatever their strides and their type: to lanes and back.
#pragma once

#include <cstdint>
#include <cstring>

#include "stream.h"
#include "transpose.h"

namespace lsr {
namespace {  // each build of the kernels keeps its own code

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

// Where pixels lie: pixel i of class l at data + l * class_stride + i * pixel_stride.
template <class S>
struct Pointer {
  S* data;
  int64_t class_stride, pixel_stride;

  LSR_HD Pointer at(int64_t pixel) const { return {data + pixel * pixel_stride, class_stride, pixel_stride}; }
  LSR_HD S* of_class(int l) const { return data + l * class_stride; }
};

// What vectors are filled with: consecutive pixels' values of one class, or consecutive values of pixels
// whose classes lie side by side; both of pixels that all count. Masked ones are rows with pixels that do not
// count, in place or copied from pixels that lie otherwise.
enum class Shape { kRows, kPixels, kMasked };

// `pixels`: whether the caller can sort out classes that lie side by side.
template <class S>
Shape shape_of(Pointer<S> array, int classes, bool pixels) {
  if (array.pixel_stride == 1) return Shape::kRows;
  return pixels && array.class_stride == 1 && array.pixel_stride == classes ? Shape::kPixels : Shape::kMasked;
}

// All classes of a vector's pixels, one vector each.
template <int Static, Shape kShape, class S, class V>
LSR_HD void load_pixels(Pointer<const S> from, int classes, V* x) {
  if constexpr (kShape == Shape::kPixels) {
    constexpr int kWidth = kLanes<Compute<S>>;
    V in[Static];
    for_classes<Static>(classes, [&](int j) LSR_LAMBDA { in[j] = load_lanes(from.data + j * kWidth); });
    to_rows<Compute<S>, Static>(in, x);
  } else {
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { x[l] = load_lanes(from.of_class(l)); });
  }
}

// One vector; `stream` bypasses the caches and needs an aligned address.
template <class S, class V>
LSR_HD void store_vector(S* to, V lanes, bool stream) {
  return stream ? stream_lanes(to, lanes) : store_lanes(to, lanes);
}

// All classes of a vector's pixels.
template <int Static, Shape kShape, class S, class V>
LSR_HD void store_pixels(Pointer<S> to, int classes, const V* x, bool stream) {
  if constexpr (kShape == Shape::kPixels) {
    constexpr int kWidth = kLanes<Compute<S>>;
    V out[Static];
    from_rows<Compute<S>, Static>(x, out);
    for_classes<Static>(classes,
                        [&](int j) LSR_LAMBDA { store_vector(to.data + j * kWidth, out[j], stream); });
  } else {
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { store_vector(to.of_class(l), x[l], stream); });
  }
}

// Whether all vectors of whole rows, or of whole pixels side by side, start at multiples of their size.
template <class S>
bool is_aligned(Pointer<S> out, int classes) {
  constexpr uintptr_t kBytes = kLanes<Compute<S>> * sizeof(S);
  if (reinterpret_cast<uintptr_t>(out.data) % kBytes) return false;
  if (shape_of(out, classes, true) == Shape::kPixels) return true;
  return out.pixel_stride == 1 && (classes == 1 || out.class_stride * sizeof(S) % kBytes == 0);
}

// Which lanes of a part are pixels that count: all ones in the first `count`, but for what the mask leaves
// out.
template <class Bits>
__attribute__((noinline)) void note_counted(const uint8_t* mask, int count, int lanes, Bits* counted) {
  for (int i = 0; i < count; ++i) counted[i] = !mask || mask[i] ? -1 : 0;
  for (int i = count; i < lanes; ++i) counted[i] = 0;
}

// Copies pixels to where others lie.
template <class S>
__attribute__((noinline)) void copy_pixels(Pointer<const S> from, Pointer<S> to, int classes, int count) {
  for (int l = 0; l < classes; ++l) {
    const S* in = from.data + l * from.class_stride;
    S* out = to.data + l * to.class_stride;
    if (from.pixel_stride == 1 && to.pixel_stride == 1) {
      std::memcpy(out, in, count * sizeof(S));
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < count; ++i) out[i * to.pixel_stride] = in[i * from.pixel_stride];
    }
  }
}

}  // namespace
}  // namespace lsr
