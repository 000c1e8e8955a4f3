// The reader of JPEG tiles over a real libjpeg-turbo, for the sanitizers: every window and reduction into
// exactly as much memory as it needs, damaged streams, several threads at once. Exits with the number of
// failures.
//   slides_test LIBJPEG TILE           all of it; TILE: a JPEG file of 192 x 128 px
//   slides_test LIBJPEG TILE overrun   room for one row too few: AddressSanitizer must report it
#include "slides/tiles.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

using lsr::slides::Coding;
using lsr::slides::Part;
using Bytes = std::vector<uint8_t>;

namespace {

constexpr int64_t kWidth = 192, kHeight = 128, kChannels = 3;
constexpr uint8_t kStartOfImage[] = {0xFF, 0xD8};

int failures = 0;

void expect(bool holds, const char* what, const char* message) {
  if (holds) return;
  ++failures;
  std::printf("FAILED %s: %s\n", what, message);
}

struct Window {
  int64_t top, bottom, left, right;
  int64_t bytes() const { return (bottom - top) * (right - left) * kChannels; }
};

// A file that lasts as long as the object, without a name.
struct File {
  explicit File(const Bytes& content) : stream(std::tmpfile()) {
    if (!stream || std::fwrite(content.data(), 1, content.size(), stream) != content.size()) std::abort();
    std::fflush(stream);
  }
  ~File() { std::fclose(stream); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  std::FILE* stream;
};

struct Reader {
  const void* libjpeg;
  Bytes tile;

  // Whether the window came to `out`, by way of `whole` where that is given; if not, why.
  bool place(const Bytes& stream, int64_t reduction, Window window, uint8_t* out, uint8_t* whole,
             std::string& reason) const {
    const File file(stream);
    const auto [top, bottom, left, right] = window;
    const Coding coding{kWidth, kHeight, reduction, sizeof kStartOfImage, kStartOfImage};
    const Part part{0,    int64_t(stream.size()), whole, out, (right - left) * kChannels, top, bottom, left,
                    right};
    char message[256] = "";
    const int64_t placed = lsr_place_jpeg_tiles(libjpeg, fileno(file.stream), &coding, &part, 1, message);
    reason = message;
    return placed == 1;
  }

  // The window's pixels; empty with a reason if there are none.
  Bytes read(const Bytes& stream, int64_t reduction, Window window, bool keeps, std::string& reason) const {
    Bytes out(window.bytes()), whole(keeps ? kWidth / reduction * (kHeight / reduction) * kChannels : 0);
    const bool placed = place(stream, reduction, window, out.data(), keeps ? whole.data() : nullptr, reason);
    return placed ? out : Bytes();
  }

  Bytes read_whole(int64_t reduction) const {
    std::string reason;
    const Window all{0, kHeight / reduction, 0, kWidth / reduction};
    Bytes pixels = read(tile, reduction, all, true, reason);
    expect(!pixels.empty(), "a whole tile", reason.c_str());
    return pixels;
  }
};

// 1. Windows of any place and size are cut out of the whole tile.
void check_windows(const Reader& reader) {
  std::mt19937 random(0);
  for (const int64_t reduction : {1, 2, 4, 8}) {
    const int64_t width = kWidth / reduction, height = kHeight / reduction;
    const Bytes whole = reader.read_whole(reduction);
    if (whole.empty()) return;
    for (int i = 0; i < 60; ++i) {
      Window window;
      window.top = random() % height, window.bottom = window.top + 1 + random() % (height - window.top);
      window.left = random() % width, window.right = window.left + 1 + random() % (width - window.left);
      Bytes expected;
      for (int64_t row = window.top; row < window.bottom; ++row) {
        const auto begin = whole.begin() + (row * width + window.left) * kChannels;
        expected.insert(expected.end(), begin, begin + (window.right - window.left) * kChannels);
      }
      std::string reason;
      expect(reader.read(reader.tile, reduction, window, i % 2, reason) == expected, "a window",
             reason.c_str());
    }
  }
}

// 2. What was cut off or overwritten gives pixels or a reason, and touches nothing else.
void check_damage(const Reader& reader) {
  std::mt19937 random(1);
  const Window windows[] = {{0, kHeight, 0, kWidth}, {17, kHeight, 33, 90}, {5, 60, 0, kWidth}};
  for (int i = 0; i < 400; ++i) {
    Bytes stream = reader.tile;
    if (i % 2) {
      stream.resize(1 + random() % (stream.size() - 1));
    } else {
      for (int flips = 1 + random() % 8; flips > 0; --flips)
        stream[random() % stream.size()] ^= 1 << random() % 8;
    }
    std::string reason;
    const Bytes pixels = reader.read(stream, 1, windows[i % 3], i % 5 == 0, reason);
    expect(!pixels.empty() || !reason.empty(), "a damaged tile", "neither pixels nor a reason");
  }
}

// 3. Threads share the library and nothing else.
void check_threads(const Reader& reader) {
  const Bytes whole = reader.read_whole(1);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int& others : wrong) {
    threads.emplace_back([&reader, &whole, &others] {
      std::string reason;
      for (int i = 0; i < 20; ++i) {
        others += reader.read(reader.tile, 1, {0, kHeight, 0, kWidth}, i % 2, reason) != whole;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int others : wrong) expect(others == 0, "threads", "other pixels than alone");
}

void overrun(const Reader& reader) {
  const Window window{0, kHeight, 0, 64}, room{0, kHeight - 1, 0, 64};
  Bytes out(room.bytes());
  std::string reason;
  reader.place(reader.tile, 1, window, out.data(), nullptr, reason);
}

Bytes content(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::printf("usage: slides_test LIBJPEG TILE [overrun]\n");
    return 1;
  }
  // The library is never closed: where it is static, that is no leak.
  static const Reader reader{lsr_open_libjpeg(arguments[1]), content(arguments[2])};
  expect(reader.libjpeg != nullptr, "libjpeg-turbo", arguments[1]);
  expect(!reader.tile.empty(), "a tile", arguments[2]);
  if (failures > 0) return failures;
  if (count > 3 && std::strcmp(arguments[3], "overrun") == 0) {
    overrun(reader);
    return 0;
  }
  check_windows(reader);
  check_damage(reader);
  check_threads(reader);
  std::printf("%d failures\n", failures);
  return failures;
}
