// One build of the kernels: included once by each translation unit, after its target pragma.
//
// A range of pixels is cut into runs: consecutive pixels that lie at one stride and belong to one block. Rows
// of float32 or float64 are read where they are; anything else passes through a tile in the first-level
// cache. No header of the standard library that holds templates may be used here: the linker keeps one copy
// of each, and it could be this build's.

#include <new>

#include "vec.h"  // before anything that includes lsr/activation.h

#include "half.h"
#include "kernels.h"
#include "runs.h"

namespace lsr {
namespace {

using cpu::Array;
using cpu::GradientSource;
using cpu::MomentSink;
using cpu::Pixels;
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

template <class T>
struct Compute {
  using Type = float;
};
template <>
struct Compute<double> {
  using Type = double;
};

// Pixels of a tile: enough to amortise a run's ends, few enough to stay in the cache.
constexpr int64_t tile_pixels(int64_t classes) { return classes <= 8 ? 512 : classes <= 32 ? 128 : 64; }

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

// Copies `count` pixels from `from` on into the tile, one row a class.
template <class S, class T>
void load_tile(const S* from, const Array& array, int classes, int64_t count, Rows<T> tile) {
  for (int l = 0; l < classes; ++l) {
    const S* source = from + l * array.class_stride;
    T* row = tile.data + l * tile.stride;
    if (array.pixel_stride == 1) {
      for (int64_t i = 0; i < count; ++i) row[i] = widen(source[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) row[i] = widen(source[i * array.pixel_stride]);
    }
  }
}

template <class S, class T>
void store_tile(Rows<const T> tile, int classes, int64_t count, S* to, const Array& array) {
  for (int l = 0; l < classes; ++l) {
    S* target = to + l * array.class_stride;
    const T* row = tile.data + l * tile.stride;
    if (array.pixel_stride == 1) {
      for (int64_t i = 0; i < count; ++i) narrow(row[i], &target[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) narrow(row[i], &target[i * array.pixel_stride]);
    }
  }
}

// Whether rows of S can be computed on where they lie.
template <class S>
constexpr bool kDirect = sizeof(S) == sizeof(typename Compute<S>::Type);

// Walks a range run by run: visit(rows, pixel, count, block), rows as the computation's type.
template <class S, class Visit>
void for_each_run(const Pixels& pixels, const Range& range, Visit visit) {
  using T = typename Compute<S>::Type;
  const Array& logits = pixels.logits;
  const int classes = static_cast<int>(pixels.classes);
  const bool direct = kDirect<S> && logits.pixel_stride == 1;
  const int64_t tile_size = tile_pixels(classes);
  Buffer buffer(direct ? 1 : tile_size * classes * sizeof(T));
  const Rows<T> tile{reinterpret_cast<T*>(buffer.data()), tile_size};
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
      visit(Rows<const T>{reinterpret_cast<const T*>(from), logits.class_stride}, pixel, count, block);
    } else {
      if (count > tile_size) count = tile_size;
      load_tile(from, logits, classes, count, tile);
      visit(Rows<const T>{tile.data, tile.stride}, pixel, count, block);
    }
    pixel += count;
  }
}

template <class S>
void moments_of(const Pixels& pixels, const Range& range, MomentSink& sink) {
  using T = typename Compute<S>::Type;
  const int classes = static_cast<int>(pixels.classes);
  const uint8_t* mask = pixels.mask ? pixels.mask + range.image * pixels.height * pixels.width : nullptr;
  Buffer scratch(scratch_bytes<T>(classes));
  with_classes(classes, [&](auto instance) {
    for_each_run<S>(pixels, range, [&](Rows<const T> rows, int64_t pixel, int64_t count, int64_t block) {
      if (block < 0) return;
      double* record = sink.record(block);
      const uint8_t* valid = mask ? mask + pixel : nullptr;
      int64_t pixels_valid = valid ? 0 : count;
      for (int64_t i = 0; valid && i < count; ++i) pixels_valid += valid[i] != 0;
      record[0] += static_cast<double>(pixels_valid);
      moments_run<decltype(instance)::value, T>(rows, count, valid, pixels.activation, classes, record + 1,
                                                record + 1 + classes, scratch.data());
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
void gradient_of(const Pixels& pixels, const Range& range, const GradientSource& source, const Array& out) {
  using T = typename Compute<S>::Type;
  const int classes = static_cast<int>(pixels.classes);
  const uint8_t* mask = pixels.mask ? pixels.mask + range.image * pixels.height * pixels.width : nullptr;
  const bool direct = kDirect<S> && out.pixel_stride == 1;
  const int64_t tile_size = tile_pixels(classes);
  Buffer scratch(scratch_bytes<T>(classes));
  Buffer coefficients(2 * classes * sizeof(T));
  Buffer buffer(direct ? 1 : tile_size * classes * sizeof(T));
  T* a = reinterpret_cast<T*>(coefficients.data());
  T* b = a + classes;
  const Rows<T> tile{reinterpret_cast<T*>(buffer.data()), tile_size};
  int64_t loaded = -1;

  with_classes(classes, [&](auto instance) {
    for_each_run<S>(pixels, range, [&](Rows<const T> rows, int64_t first, int64_t total, int64_t block) {
      if (block >= 0 && block != loaded) load_coefficients(source, loaded = block, classes, a, b);
      for (int64_t done = 0; done < total;) {
        const int64_t pixel = first + done;
        int64_t count = straight_pixels(out, pixels.width, pixel, total - done);
        if (!direct && count > tile_size) count = tile_size;
        S* to = static_cast<S*>(out.data) + element_offset(out, pixels.width, range.image, pixel);
        const Rows<T> target = direct ? Rows<T>{reinterpret_cast<T*>(to), out.class_stride} : tile;
        if (block < 0) {
          for (int l = 0; l < classes; ++l)
            std::memset(target.data + l * target.stride, 0, count * sizeof(T));
        } else {
          gradient_run<decltype(instance)::value, T>({rows.data + done, rows.stride}, count,
                                                     mask ? mask + pixel : nullptr, pixels.activation,
                                                     classes, a, b, target, scratch.data());
        }
        if (!direct) store_tile<S, T>({tile.data, tile.stride}, classes, count, to, out);
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

void gradient(const Pixels& pixels, const Range& range, const GradientSource& source, const Array& out) {
  with_scalar(pixels.logits.scalar, [&](auto s) { gradient_of<decltype(s)>(pixels, range, source, out); });
}

}  // namespace
}  // namespace lsr
