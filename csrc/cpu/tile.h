// A tile: some pixels as rows in the first-level cache, for arrays whose pixels are not neighbours in memory.
#pragma once

#include <new>

#include "runs.h"  // before anything that includes lsr/activation.h

#include "kernels.h"

namespace lsr {
namespace {

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

// Pixels of a tile: enough to amortise a run's ends, few enough to stay in the cache.
constexpr int64_t tile_pixels(int64_t classes) { return classes <= 8 ? 512 : classes <= 32 ? 128 : 64; }

template <class T>
struct Tile {
  explicit Tile(int classes) : pixels(tile_pixels(classes)), buffer(pixels * classes * sizeof(T)) {}
  Rows<T> rows() const { return {reinterpret_cast<T*>(buffer.data()), pixels}; }
  int64_t pixels;
  Buffer buffer;
};

template <int Static>
bool is_channels_last(const cpu::Array& array) {
  return Static > 1 && array.class_stride == 1 && array.pixel_stride == Static;
}

// Copies `count` pixels from `from` on into the tile.
template <int Static, class S, class T>
void load_tile(const S* from, const cpu::Array& array, int classes, int64_t count, const Tile<T>& tile) {
  const Rows<T> rows = tile.rows();
  int64_t done = 0;
  if constexpr (Static > 1) {
    for (; is_channels_last<Static>(array) && done + kLanes<T> <= count; done += kLanes<T>) {
      Lanes<T> in[Static], out[Static];
      for (int j = 0; j < Static; ++j) in[j] = load_lanes(from + done * Static + j * kLanes<T>);
      to_rows<T, Static>(in, out, std::make_integer_sequence<int, Static>{});
      for (int l = 0; l < Static; ++l) store_lanes(rows.data + l * rows.stride + done, out[l]);
    }
  }
  for (; done < count; done += kLanes<T>) {
    const int64_t some = count - done < kLanes<T> ? count - done : kLanes<T>;
    for (int l = 0; l < classes; ++l) {
      S lanes[kLanes<T>] = {};
      for (int64_t i = 0; i < some; ++i) {
        lanes[i] = from[l * array.class_stride + (done + i) * array.pixel_stride];
      }
      store_lanes(rows.data + l * rows.stride + done, load_lanes(lanes));
    }
  }
}

// Copies `count` pixels of the tile to `to` on.
template <int Static, class S, class T>
void store_tile(const Tile<T>& tile, int classes, int64_t count, S* to, const cpu::Array& array) {
  const Rows<T> rows = tile.rows();
  int64_t done = 0;
  if constexpr (Static > 1) {
    for (; is_channels_last<Static>(array) && done + kLanes<T> <= count; done += kLanes<T>) {
      Lanes<T> in[Static], out[Static];
      for (int l = 0; l < Static; ++l) in[l] = load_lanes(rows.data + l * rows.stride + done);
      from_rows<T, Static>(in, out, std::make_integer_sequence<int, Static>{});
      for (int j = 0; j < Static; ++j) store_lanes(to + done * Static + j * kLanes<T>, out[j]);
    }
  }
  for (; done < count; done += kLanes<T>) {
    const int64_t some = count - done < kLanes<T> ? count - done : kLanes<T>;
    for (int l = 0; l < classes; ++l) {
      S lanes[kLanes<T>];
      store_lanes(lanes, load_lanes(rows.data + l * rows.stride + done));
      for (int64_t i = 0; i < some; ++i) {
        to[l * array.class_stride + (done + i) * array.pixel_stride] = lanes[i];
      }
    }
  }
}

}  // namespace
}  // namespace lsr
