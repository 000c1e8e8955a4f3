// Reads the JPEG tiles of a TIFF file, decodes them and puts them where they belong, all in one call:
// Python's lock is let go of once for a whole read instead of several times for each tile.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "libjpeg.h"
#include "tiles.h"

namespace lsr::slides {
namespace {

constexpr int64_t kRunGapBytes = 16 * 1024;
constexpr int kChannels = 3;
// Columns beside a cropped window: at the crop's edge chroma is upsampled without its neighbour.
constexpr int64_t kMargin = 8;

struct Buffers {
  std::vector<uint8_t> stream, line;
};

void copy_window(const Part& part, const Coding& coding) {
  const int64_t stride = coding.width / coding.reduction * kChannels;
  const size_t bytes = static_cast<size_t>((part.right - part.left) * kChannels);
  const uint8_t* from = part.tile + part.top * stride + part.left * kChannels;
  for (int64_t row = 0; row < part.bottom - part.top; ++row) {
    std::memcpy(part.out + row * part.out_stride, from + row * stride, bytes);
  }
}

// Tiles that follow each other in the file are asked for together.
void read_ahead(int descriptor, const Part* parts, int64_t count) {
  int64_t start = 0, end = 0, tiles = 0;
  for (int64_t i = 0; i < count; ++i) tiles += parts[i].bytes > 0;
  if (tiles < 2) return;
  for (int64_t i = 0; i < count; ++i) {
    const auto& part = parts[i];
    if (part.bytes == 0) continue;
    if (part.offset < end || part.offset - end > kRunGapBytes) {
      if (end > start) posix_fadvise(descriptor, start, end - start, POSIX_FADV_WILLNEED);
      start = part.offset;
    }
    end = part.offset + part.bytes;
  }
  if (end > start) posix_fadvise(descriptor, start, end - start, POSIX_FADV_WILLNEED);
}

bool read_stream(int descriptor, const Part& part, const Coding& coding, Buffers& buffers, char* message) {
  // The tile's own start of image lies where the prefix ends, and is overwritten by it once it was seen.
  const size_t begin = static_cast<size_t>(coding.prefix_bytes) - 2;
  buffers.stream.resize(begin + static_cast<size_t>(part.bytes));
  uint8_t* tile = buffers.stream.data() + begin;
  int64_t done = 0;
  while (done < part.bytes) {
    const ssize_t got =
        pread(descriptor, tile + done, static_cast<size_t>(part.bytes - done), part.offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += got;
  }
  if (done != part.bytes) {
    std::snprintf(message, kMessageBytes, "expected %lld bytes at %lld, got %lld", (long long)part.bytes,
                  (long long)part.offset, (long long)done);
    return false;
  }
  if (part.bytes < 4 || tile[0] != 0xFF || tile[1] != 0xD8) {
    std::snprintf(message, kMessageBytes, "expected a JPEG stream");
    return false;
  }
  std::memcpy(buffers.stream.data(), coding.prefix, static_cast<size_t>(coding.prefix_bytes));
  return true;
}

struct Window {
  int64_t top, bottom, left, right;
  uint8_t* out;
  int64_t stride;
};

// Up to the window's last row: what lies below is not looked at.
void decode_rows(const Library& library, Decompressor& decompressor, const Window& window) {
  constexpr int64_t kRows = 8;
  for (int64_t row = window.top; row < window.bottom;) {
    uint8_t* rows[kRows];
    const int64_t count = std::min(kRows, window.bottom - row);
    for (int64_t i = 0; i < count; ++i) rows[i] = window.out + (row - window.top + i) * window.stride;
    row += library.read_scanlines(&decompressor, rows, static_cast<unsigned>(count));
  }
}

void decode_columns(const Library& library, Decompressor& decompressor, const Window& window, unsigned first,
                    uint8_t* line) {
  const uint8_t* from = line + (window.left - first) * kChannels;
  const size_t bytes = static_cast<size_t>(window.right - window.left) * kChannels;
  for (int64_t row = window.top; row < window.bottom;) {
    if (library.read_scanlines(&decompressor, &line, 1) == 0) continue;
    std::memcpy(window.out + (row - window.top) * window.stride, from, bytes);
    ++row;
  }
}

void decode_window(const Library& library, Decompressor& decompressor, const Window& window, uint8_t* line) {
  unsigned first = 0, columns = decompressor.output_width;
  const bool cropped = window.right - window.left < columns;
  if (cropped) {
    first = static_cast<unsigned>(std::max<int64_t>(window.left - kMargin, 0));
    columns = static_cast<unsigned>(std::min<int64_t>(window.right + kMargin, columns)) - first;
    library.crop_scanline(&decompressor, &first, &columns);
  }
  if (window.top > 0) library.skip_scanlines(&decompressor, static_cast<unsigned>(window.top));
  if (cropped) {
    decode_columns(library, decompressor, window, first, line);
  } else {
    decode_rows(library, decompressor, window);
  }
}

bool decode(const Library& library, Session& session, const Part& part, const Coding& coding,
            Buffers& buffers) {
  auto& decompressor = session.decompressor;
  if (setjmp(session.failed) != 0) {
    if (session.is_created) library.abort(&decompressor);
    return false;
  }
  if (!session.is_created) session.create();
  session.errors.num_warnings = 0;
  library.mem_src(&decompressor, buffers.stream.data(), buffers.stream.size());
  library.read_header(&decompressor, 1);
  if (decompressor.image_width != coding.width || decompressor.image_height != coding.height) {
    std::snprintf(session.message, kMessageBytes, "expected a tile of %lld x %lld px, got %u x %u",
                  (long long)coding.width, (long long)coding.height, decompressor.image_width,
                  decompressor.image_height);
    library.abort(&decompressor);
    return false;
  }
  decompressor.out_color_space = kRgb;
  decompressor.dct_method = kIslow;
  decompressor.scale_num = 1;
  decompressor.scale_denom = static_cast<unsigned>(coding.reduction);
  library.start(&decompressor);
  const int64_t width = coding.width / coding.reduction, height = coding.height / coding.reduction;
  if (decompressor.output_width != width || decompressor.output_height != height ||
      decompressor.output_components != kChannels) {
    std::snprintf(session.message, kMessageBytes,
                  "expected %lld x %lld px in RGB, got %u x %u px in %d components", (long long)width,
                  (long long)height, decompressor.output_width, decompressor.output_height,
                  decompressor.output_components);
    library.abort(&decompressor);
    return false;
  }
  const Window window = part.tile
                            ? Window{0, height, 0, width, part.tile, width * kChannels}
                            : Window{part.top, part.bottom, part.left, part.right, part.out, part.out_stride};
  decode_window(library, decompressor, window, buffers.line.data());
  // To the stream's end where all rows were read, since that may show damage too.
  if (window.bottom == height) library.finish(&decompressor);
  library.abort(&decompressor);
  return true;
}

bool place(const Library& library, Session& session, int descriptor, const Part& part, const Coding& coding,
           Buffers& buffers) {
  if (part.bytes > 0) {
    if (!read_stream(descriptor, part, coding, buffers, session.message)) return false;
    // Wider than any crop, which is widened to whole blocks.
    buffers.line.resize(static_cast<size_t>(coding.width + 64) * kChannels);
    if (!decode(library, session, part, coding, buffers)) return false;
  }
  if (part.tile && part.out) copy_window(part, coding);
  return true;
}

}  // namespace
}  // namespace lsr::slides

using namespace lsr::slides;

const void* lsr_open_libjpeg(const char* path) {
  auto library = std::make_unique<Library>();
  return open(path, *library) ? library.release() : nullptr;
}

int64_t lsr_place_jpeg_tiles(const void* libjpeg, int descriptor, const Coding* coding, const Part* parts,
                             int64_t count, char* message) try {
  const auto& library = *static_cast<const Library*>(libjpeg);
  read_ahead(descriptor, parts, count);
  Buffers buffers;
  Session session(library);
  session.message = message;
  int64_t placed = 0;
  while (placed < count && place(library, session, descriptor, parts[placed], *coding, buffers)) ++placed;
  return placed;
} catch (const std::bad_alloc&) {
  std::snprintf(message, kMessageBytes, "not enough memory");
  return 0;
}
