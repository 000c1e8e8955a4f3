// One build of the kernels: included once by each translation unit, after its target pragma.
//
// A range of pixels is cut into runs: consecutive pixels that lie at one stride and belong to one block. Rows
// of float32 or float64 are read where they are; anything else passes through a tile in the first-level
// cache. No header of the standard library that holds templates may be used here: the linker keeps one copy
// of each, and it could be this build's.

#include <type_traits>

#include "runs.h"  // before anything that includes lsr/activation.h

#include "kernels.h"
#include "tile.h"

namespace lsr {
namespace {

using cpu::Array;
using cpu::GradientSource;
using cpu::MomentSink;
using cpu::Pixels;
using cpu::Range;

int64_t element_offset(const Array& array, int64_t width, int64_t image, int64_t pixel) {
  return image * array.image_stride + pixel / width * array.row_stride + pixel % width * array.pixel_stride;
}

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

// The number of classes where it is known to the compiler, 0 where it is not.
template <int N>
struct Classes {
  static constexpr int value = N;
};

template <class Call>
void with_classes(int classes, Call call) {
  switch (classes) {
    case 1:
      return call(Classes<1>{});
    case 2:
      return call(Classes<2>{});
    case 3:
      return call(Classes<3>{});
    case 4:
      return call(Classes<4>{});
    case 5:
      return call(Classes<5>{});
    case 6:
      return call(Classes<6>{});
    case 7:
      return call(Classes<7>{});
    case 8:
      return call(Classes<8>{});
    default:
      return call(Classes<0>{});
  }
}

// Walks a range run by run: visit(rows, pixel, count, block), rows in place where `direct`, else as a tile.
template <int Static, class S, class Visit>
void for_each_run(const Pixels& pixels, const Range& range, bool direct, Visit visit) {
  const Array& logits = pixels.logits;
  const int classes = static_cast<int>(pixels.classes);
  const Tile<Compute<S>> tile(direct ? 0 : classes);
  const int64_t plane = range.image * pixels.height * pixels.width;

  for (int64_t pixel = range.begin; pixel < range.end;) {
    int64_t count = straight_pixels(logits, pixels.width, pixel, range.end - pixel);
    int64_t block = range.image;
    if (pixels.block_ids) {
      block = pixels.block_ids[plane + pixel];
      count = same_block(pixels.block_ids + plane + pixel, count);
    }
    const S* from =
        static_cast<const S*>(logits.data) + element_offset(logits, pixels.width, range.image, pixel);
    if (direct) {
      visit(Rows<const S>{from, logits.class_stride}, pixel, count, block);
    } else {
      count = count < tile.pixels ? count : tile.pixels;
      load_tile<Static>(from, logits, classes, count, tile);
      visit(Rows<const Compute<S>>{tile.rows().data, tile.pixels}, pixel, count, block);
    }
    pixel += count;
  }
}

template <class S>
void moments_of(const Pixels& pixels, const Range& range, MomentSink& sink) {
  const int classes = static_cast<int>(pixels.classes);
  const uint8_t* mask = pixels.mask ? pixels.mask + range.image * pixels.height * pixels.width : nullptr;
  Buffer scratch(scratch_bytes<Compute<S>>(classes));
  with_classes(classes, [&](auto instance) {
    constexpr int kStatic = decltype(instance)::value;
    const bool direct = pixels.logits.pixel_stride == 1;
    for_each_run<kStatic, S>(pixels, range, direct,
                             [&](auto rows, int64_t pixel, int64_t count, int64_t block) {
                               if (block < 0) return;
                               double* record = sink.record(block);
                               const uint8_t* valid = mask ? mask + pixel : nullptr;
                               int64_t pixels_valid = valid ? 0 : count;
                               for (int64_t i = 0; valid && i < count; ++i) pixels_valid += valid[i] != 0;
                               record[0] += static_cast<double>(pixels_valid);
                               moments_run<kStatic>(rows, count, valid, pixels.activation, classes,
                                                    record + 1, record + 1 + classes, scratch.data());
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
void gradient_of(const Pixels& pixels, const Range& range, const GradientSource& source, const Array& out,
                 bool stream) {
  using T = Compute<S>;
  const int classes = static_cast<int>(pixels.classes);
  const uint8_t* mask = pixels.mask ? pixels.mask + range.image * pixels.height * pixels.width : nullptr;
  const bool direct = pixels.logits.pixel_stride == 1 && out.pixel_stride == 1;
  const Tile<T> tile(direct ? 0 : classes);
  const Buffer scratch(scratch_bytes<T>(classes)), coefficients(2 * classes * sizeof(T));
  T* a = reinterpret_cast<T*>(coefficients.data());
  T* b = a + classes;
  int64_t loaded = -1;

  with_classes(classes, [&](auto instance) {
    constexpr int kStatic = decltype(instance)::value;
    for_each_run<kStatic, S>(
        pixels, range, direct, [&](auto rows, int64_t first, int64_t total, int64_t block) {
          using R = std::remove_const_t<std::remove_pointer_t<decltype(rows.data)>>;
          if (block >= 0 && block != loaded) load_coefficients(source, loaded = block, classes, a, b);
          // The gradient of part of the run, as rows; zeros where there is no block.
          const auto write = [&](Rows<R> to, int64_t done, int64_t count) {
            if (block < 0) {
              for (int l = 0; l < classes; ++l) std::memset(to.data + l * to.stride, 0, count * sizeof(R));
              return;
            }
            const uint8_t* valid = mask ? mask + first + done : nullptr;
            gradient_run<kStatic>(Rows<const R>{rows.data + done, rows.stride}, count, valid,
                                  pixels.activation, classes, a, b, to, direct && stream, scratch.data());
          };
          for (int64_t done = 0; done < total;) {
            int64_t count = straight_pixels(out, pixels.width, first + done, total - done);
            S* to = static_cast<S*>(out.data) + element_offset(out, pixels.width, range.image, first + done);
            if constexpr (std::is_same_v<R, S>) {
              if (direct) write({to, out.class_stride}, done, count);
            }
            if constexpr (std::is_same_v<R, T>) {
              if (!direct) {
                count = count < tile.pixels ? count : tile.pixels;
                write(tile.rows(), done, count);
                store_tile<kStatic>(tile, classes, count, to, out);
              }
            }
            done += count;
          }
        });
  });
}

template <class Call>
void with_scalar(cpu::Scalar scalar, Call call) {
  switch (scalar) {
    case cpu::Scalar::kFloat32:
      return call(float{});
    case cpu::Scalar::kFloat64:
      return call(double{});
    case cpu::Scalar::kBFloat16:
      return call(BFloat16{});
    case cpu::Scalar::kFloat16:
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
