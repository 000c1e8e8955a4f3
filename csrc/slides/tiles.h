// What the slide reader calls, by ctypes: its lsr_ext/wsi/native.py repeats the structures.
#pragma once

#include <cstdint>

namespace lsr::slides {

// How a level's tiles are coded, and by how much decoding reduces them.
struct Coding {
  int64_t width, height, reduction, prefix_bytes;
  const uint8_t* prefix;  // a JPEG stream's beginning, with the tables that the tiles share
};

// A window of a tile, in the reduced tile's pixels, and where it goes.
struct Part {
  int64_t offset, bytes;  // in the file; 0 bytes: the tile is decoded already
  uint8_t* tile;          // the whole tile: room for it, or its pixels; null: only the window is wanted
  uint8_t* out;           // the window's first pixel; null: it goes nowhere
  int64_t out_stride;     // bytes from row to row
  int64_t top, bottom, left, right;
};

}  // namespace lsr::slides

#define LSR_EXPORT extern "C" __attribute__((visibility("default")))

// The libjpeg-turbo behind the module at `path`, or null.
LSR_EXPORT const void* lsr_open_libjpeg(const char* path);

// Places `count` parts; the index of the first that could not be, with the reason in `message` (256 bytes),
// or `count`. Safe under threads.
LSR_EXPORT int64_t lsr_place_jpeg_tiles(const void* libjpeg, int descriptor,
                                        const lsr::slides::Coding* coding, const lsr::slides::Part* parts,
                                        int64_t count, char* message);
