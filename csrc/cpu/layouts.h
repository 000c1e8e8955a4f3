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

// Types of which two vectors are taken from memory together, as even_of and odd_of.
template <class S>
constexpr bool kJoined = false;
template <>
constexpr bool kJoined<BFloat16> = true;

// What says whether a pixel counts: as wide as a lane, or as a joined value, so that the two go to lanes
// alike.
template <class S>
struct CountedType {
  using Type = typename Vec<Compute<S>>::Bits;
};
template <>
struct CountedType<BFloat16> {
  using Type = int16_t;
};
template <class S>
using Counted = typename CountedType<S>::Type;

// Vectors of pixels that go together: the even pixels and the odd ones of a row.
template <class S, Shape kShape>
constexpr int kGroup = kJoined<S> && kShape != Shape::kPixels ? 2 : 1;

// Vector k of a group that begins at `group`.
template <Shape kShape, class S>
LSR_HD auto load_vector(const S* group, int k) {
  if constexpr (kGroup<S, kShape> == 2) {
    const FloatBits both = load_bits<FloatBits>(group);
    return k ? odd_of(both) : even_of(both);
  } else {
    return load_lanes(group);
  }
}

// All classes of the pixels of a group's vector k, one vector each.
template <int Static, Shape kShape, class S, class V>
LSR_HD void load_pixels(Pointer<const S> group, int k, int classes, V* x) {
  using T = Compute<S>;
  if constexpr (kShape != Shape::kPixels) {
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { x[l] = load_vector<kShape>(group.of_class(l), k); });
  } else if constexpr (kJoined<S> && Static % 2 == 0) {
    FloatBits both[Static / 2];
    V half[Static / 2];
    for_classes<Static / 2>(
        0, [&](int j) LSR_LAMBDA { both[j] = load_bits<FloatBits>(group.data + 2 * j * kLanes<T>); });
    for_classes<Static / 2>(0, [&](int j) LSR_LAMBDA { half[j] = even_of(both[j]); });
    half_to_rows<T, Static, 0>(half, x);
    for_classes<Static / 2>(0, [&](int j) LSR_LAMBDA { half[j] = odd_of(both[j]); });
    half_to_rows<T, Static, 1>(half, x);
  } else {
    V in[Static];
    for_classes<Static>(0, [&](int j) LSR_LAMBDA { in[j] = load_lanes(group.data + j * kLanes<T>); });
    to_rows<T, Static>(in, x);
  }
}

// One vector; `stream` bypasses the caches and needs an aligned address.
template <class S, class V>
LSR_HD void store_vector(S* to, V lanes, bool stream) {
  return stream ? stream_lanes(to, lanes) : store_lanes(to, lanes);
}

// Two vectors, as even_of and odd_of take them.
template <class S, class V>
LSR_HD void store_joined(S* to, V even, V odd, bool stream) {
  const FloatBits both = joined(even, odd);
  return stream ? stream_bits(to, both) : store_bits(to, both);
}

// A group's vectors, `apart` from each other in x.
template <Shape kShape, class S, class V>
LSR_HD void store_group(S* to, const V* x, int apart, bool stream) {
  if constexpr (kGroup<S, kShape> == 2) {
    store_joined(to, x[0], x[apart], stream);
  } else {
    store_vector(to, x[0], stream);
  }
}

// All classes of a group's pixels: x is (vectors of a group, classes).
template <int Static, Shape kShape, class S, class V>
LSR_HD void store_pixels(Pointer<S> to, int classes, const V* x, bool stream) {
  using T = Compute<S>;
  if constexpr (kShape != Shape::kPixels) {
    const int apart = Static ? Static : classes;
    for_classes<Static>(classes,
                        [&](int l) LSR_LAMBDA { store_group<kShape>(to.of_class(l), x + l, apart, stream); });
  } else if constexpr (kJoined<S> && Static % 2 == 0) {
    V even[Static / 2], odd[Static / 2];
    half_from_rows<T, Static, 0>(x, even);
    half_from_rows<T, Static, 1>(x, odd);
    for_classes<Static / 2>(
        0, [&](int j) LSR_LAMBDA { store_joined(to.data + 2 * j * kLanes<T>, even[j], odd[j], stream); });
  } else {
    V out[Static];
    from_rows<T, Static>(x, out);
    for_classes<Static>(0, [&](int j) LSR_LAMBDA { store_vector(to.data + j * kLanes<T>, out[j], stream); });
  }
}

// Whether all that is stored at once of whole rows, or of whole pixels side by side, starts at multiples of
// its size.
template <class S>
bool is_aligned(Pointer<S> out, int classes) {
  constexpr uintptr_t kBytes = (kJoined<S> ? 2 : 1) * kLanes<Compute<S>> * sizeof(S);
  if (reinterpret_cast<uintptr_t>(out.data) % kBytes) return false;
  if (shape_of(out, classes, true) == Shape::kPixels) return true;
  return out.pixel_stride == 1 && (classes == 1 || out.class_stride * sizeof(S) % kBytes == 0);
}

// Which pixels of a part count: all ones for the first `count`, but for what the mask leaves out.
template <class Bits>
__attribute__((noinline)) void note_counted(const uint8_t* mask, int count, int pixels, Bits* counted) {
  for (int i = 0; i < count; ++i) counted[i] = !mask || mask[i] ? -1 : 0;
  for (int i = count; i < pixels; ++i) counted[i] = 0;
}

// The same of the lanes of a group's vector k; `group` says it of the group's pixels.
template <class S>
LSR_HD auto counted_lanes(const Counted<S>* group, int k) {
  if constexpr (kJoined<S>) {
    const FloatMask both = load_bits<FloatMask>(group);
    return (k ? both : both << 16) >> 16;
  } else {
    return load_bits<typename Vec<Compute<S>>::Mask>(group);
  }
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
