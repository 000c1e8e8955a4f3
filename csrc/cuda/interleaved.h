// Kernels for exclusive classes side by side, as channels-last has them. A warp reads a tile of consecutive
// pixels in whole vectors, side by side too, and sorts it out through its own piece of shared memory: read
// straight from global memory a thread's pixels would lie so far apart that the first-level cache's tags
// become the limit. The next tile is on its way while this one is computed. One read; the gradient one read
// and one write.
#pragma once

#include "pixel.h"
#include "sums.h"

namespace lsr::cuda {

// Pixels of a tile that a thread takes: fewer for more classes, so that a tile is 4 KiB at most.
template <class S>
LSR_HD constexpr int tile_pixels_per_thread(int classes) {
  const int vector = 16 / static_cast<int>(sizeof(S));
  return classes <= 8 ? vector : classes <= 16 ? vector / 2 : 1;
}

// Thread blocks that a multiprocessor is to hold at a time: as many as the registers allow without a spill.
LSR_HD constexpr int tile_residents(int classes) {
  return classes <= 3 ? 4 : classes <= 6 ? 3 : classes <= 8 ? 2 : 1;
}

constexpr int kWarps = kThreads / kWarp;

struct Tiles {
  const void* data;
  int64_t image_stride, row_stride;
  int64_t tiles, parts, pixels;  // of an image; the parts take turns, as planes' do
  int64_t width;
  Divider row;   // tiles of a row
  bool one_row;  // no divisions
  const uint8_t* mask;
  int classes;
};

// Where a tile lies.
struct Tile {
  int64_t row, column;
  int pixels;
};

template <class S, int L>
struct Staging {
  static constexpr int kPerThread = tile_pixels_per_thread<S>(L);
  static constexpr int kPixels = kPerThread * kWarp;
  static constexpr int kElements = 16 / static_cast<int>(sizeof(S));  // of a vector
  static constexpr int kVectors = kPixels * L / kElements;
  static constexpr int kVectorsPerThread = (kVectors + kWarp - 1) / kWarp;

  static LSR_DEVICE Tile at(const Tiles& tiles, int64_t index) {
    const int64_t row = tiles.one_row ? 0 : tiles.row.quotient(static_cast<uint32_t>(index));
    const int64_t column = (index - (tiles.one_row ? 0 : row * tiles.row.divisor)) * kPixels;
    const int64_t left = tiles.width - column;
    return {row, column, static_cast<int>(left < kPixels ? left : kPixels)};
  }

  // Calls move(k, vector) for this lane's whole vectors of a tile, k counting them.
  template <class Move>
  static LSR_DEVICE void for_vectors(const Tile& tile, int classes, Move move) {
    const int whole_vectors = tile.pixels * classes / kElements;
#pragma unroll
    for (int k = 0; k < kVectorsPerThread; ++k) {
      const int vector = k * kWarp + lane_index();
      if (vector < whole_vectors) move(k, vector);
    }
  }

  // Calls move(element, staged) for this lane's element of a last vector that is not whole.
  template <class Move>
  static LSR_DEVICE void for_rest(const Tile& tile, int classes, Words<16>* staged, Move move) {
    const int elements = tile.pixels * classes, first = elements / kElements * kElements;
    if (lane_index() >= elements - first) return;
    S* rest = reinterpret_cast<S*>(staged + place(first / kElements, classes));
    move(first + lane_index(), rest + lane_index());
  }

  static LSR_DEVICE const S* address(const Tiles& tiles, const S* image, const Tile& tile, int classes) {
    return image + tile.row * tiles.row_stride + tile.column * classes;
  }

  // Sends for the vectors of a tile; Once: nobody writes them in this launch.
  template <bool Once>
  static LSR_DEVICE void fetch(const Tiles& tiles, const S* image, int64_t index, int classes,
                               Words<16>* vectors) {
    const Tile tile = at(tiles, index);
    const S* from = address(tiles, image, tile, classes);
    for_vectors(tile, classes, [&](int k, int vector) {
      if (Once) {
        read_once(from + vector * kElements, vectors[k]);
      } else {
        read_own(from + vector * kElements, vectors[k]);
      }
    });
  }

  // Pixels of whole vectors are read as such; there a rotation spreads a quarter warp's over the banks.
  // Others are read by words, which hardly meet.
  static LSR_DEVICE bool whole(int classes) { return classes % kElements == 0; }
  static LSR_DEVICE int place(int vector, int classes) {
    return whole(classes) ? vector ^ (vector >> 3 & 7) : vector;
  }

  static LSR_DEVICE void stage(const Tiles& tiles, const S* image, const Tile& tile, int classes,
                               const Words<16>* vectors, Words<16>* staged) {
    sync_warp();  // all are through with the tile before
    for_vectors(tile, classes, [&](int k, int vector) { staged[place(vector, classes)] = vectors[k]; });
    const S* from = address(tiles, image, tile, classes);
    for_rest(tile, classes, staged, [&](int element, S* rest) { *rest = from[element]; });
    sync_warp();
  }

  // Calls visit(l, words, j) for each class of a pixel: element j of some words of shared memory, in copies
  // of one access each. What visit leaves there is written back if Write.
  template <bool Write, class Visit>
  static LSR_DEVICE void for_pixel(Words<16>* staged, int pixel, int classes, Visit visit) {
    if (whole(classes)) {
      const int first = pixel * (classes / kElements);
#pragma unroll
      for (int v = 0; v < (L + kElements - 1) / kElements; ++v) {
        if (v * kElements >= classes) break;
        Words<16>& from = staged[place(first + v, classes)];
        Words<16> words;
        if (!Write) words = from;
#pragma unroll
        for (int j = 0; j < kElements; ++j) {
          if (v * kElements + j < L) visit(v * kElements + j, words.at, j);
        }
        if (Write) from = words;
      }
      return;
    }
    constexpr int kPerWord = 4 / static_cast<int>(sizeof(S));
    if (classes % kPerWord == 0) {
      uint32_t* from = staged->at + pixel * (classes / kPerWord);
#pragma unroll
      for (int w = 0; w < (L + kPerWord - 1) / kPerWord; ++w) {
        if (w * kPerWord >= classes) break;
        uint32_t word = 0;
        if (!Write) word = from[w];
#pragma unroll
        for (int j = 0; j < kPerWord; ++j) {
          if (w * kPerWord + j < L) visit(w * kPerWord + j, &word, j);
        }
        if (Write) from[w] = word;
      }
      return;
    }
    if constexpr (sizeof(S) == 2) {
      uint16_t* from = reinterpret_cast<uint16_t*>(staged) + pixel * classes;
#pragma unroll
      for (int l = 0; l < L; ++l) {
        if (l >= classes) break;
        uint32_t word = 0;
        if (!Write) word = from[l];
        visit(l, &word, 0);
        if (Write) from[l] = static_cast<uint16_t>(word);
      }
    }
  }

  // The logits of a pixel; minus infinity for classes that a build for more has too many.
  template <class T>
  static LSR_DEVICE void read_pixel(Words<16>* staged, int pixel, int classes, T* x) {
#pragma unroll
    for (int l = 0; l < L; ++l) x[l] = static_cast<T>(-INFINITY);
    for_pixel<false>(staged, pixel, classes,
                     [&](int l, const uint32_t* words, int j) { x[l] = Codec<S>::get(words, j); });
  }

  template <class T>
  static LSR_DEVICE void write_pixel(Words<16>* staged, int pixel, int classes, const T* x) {
    for_pixel<true>(staged, pixel, classes,
                    [&](int l, uint32_t* words, int j) { Codec<S>::set(words, j, x[l]); });
  }

  static LSR_DEVICE bool is_counted(const Tiles& tiles, int64_t image, const Tile& tile, int pixel) {
    if (pixel >= tile.pixels) return false;
    return !tiles.mask ||
           tiles.mask[image * tiles.pixels + tile.row * tiles.width + tile.column + pixel] != 0;
  }
};

template <class S, int L, bool Exact>
LSR_KERNEL(kThreads, tile_residents(L))
interleaved_moments(Tiles tiles, Records records) {
  using T = Compute<S>;
  using Stage = Staging<S, L>;
  LSR_SHARED(Words<16>, staged_all, kWarps * Stage::kVectors);
  LSR_SHARED(double, rows, kWarps* BlockSums<L>::kWidth);
  Words<16>* staged = staged_all + warp_index() * Stage::kVectors;
  const BlockSums<L> sums{rows};
  const int classes = Exact ? L : tiles.classes;
  const int64_t image = block_index() / tiles.parts, part = block_index() % tiles.parts;
  const int64_t step = tiles.parts * kWarps;
  const S* data = static_cast<const S*>(tiles.data) + image * tiles.image_stride;
  T p_sums[L] = {}, q_sums[L] = {};
  int64_t counted_sum = 0;
  sums.clear();
  Words<16> vectors[Stage::kVectorsPerThread];
  int64_t index = part * kWarps + warp_index();
  if (index < tiles.tiles) Stage::template fetch<true>(tiles, data, index, classes, vectors);
  for (int round = 1; index < tiles.tiles; index += step, ++round) {
    const Tile tile = Stage::at(tiles, index);
    Stage::stage(tiles, data, tile, classes, vectors, staged);
    if (index + step < tiles.tiles) Stage::template fetch<true>(tiles, data, index + step, classes, vectors);
    const bool all = !tiles.mask && tile.pixels == Stage::kPixels;
    if (all) counted_sum += Stage::kPerThread;
#pragma unroll 1
    for (int v = 0; v < Stage::kPerThread; ++v) {
      const int pixel = v * kWarp + lane_index();
      T x[L];
      Stage::read_pixel(staged, pixel, classes, x);
      if (all) {
        add_moments<S, L>(x, T{1}, p_sums, q_sums);
        continue;
      }
      const bool counted = Stage::is_counted(tiles, image, tile, pixel);
#pragma unroll
      for (int l = 0; l < L; ++l) x[l] = counted || l >= classes ? x[l] : T{};
      counted_sum += counted;
      add_moments<S, L>(x, static_cast<T>(counted), p_sums, q_sums);
    }
    if (round % (kNarrowPixels / Stage::kPerThread) == 0) sums.take(p_sums, q_sums);
  }
  sums.take(p_sums, q_sums);
  sums.finish(counted_sum, records, image, part, classes, 0);
}

template <class S, int L, bool Exact>
LSR_KERNEL(kThreads, tile_residents(L))
interleaved_gradient(Tiles tiles, GradientSource source, void* out, int64_t out_image_stride,
                     int64_t out_row_stride) {
  using T = Compute<S>;
  using Stage = Staging<S, L>;
  LSR_SHARED(Words<16>, staged_all, kWarps * Stage::kVectors);
  Words<16>* staged = staged_all + warp_index() * Stage::kVectors;
  const int classes = Exact ? L : tiles.classes;
  const int64_t image = block_index() / tiles.parts, part = block_index() % tiles.parts;
  const int64_t step = tiles.parts * kWarps;
  const S* data = static_cast<const S*>(tiles.data) + image * tiles.image_stride;
  S* to_image = static_cast<S*>(out) + image * out_image_stride;
  const double scale = scale_of(source);
  T a[L], b[L];
#pragma unroll
  for (int l = 0; l < L; ++l) {
    a[l] = l < classes ? static_cast<T>(scale * source.a[image * classes + l]) : T{};
    b[l] = l < classes ? static_cast<T>(scale * source.b[image * classes + l]) : T{};
  }
  Words<16> vectors[Stage::kVectorsPerThread];
  int64_t index = part * kWarps + warp_index();
  if (index < tiles.tiles) Stage::template fetch<false>(tiles, data, index, classes, vectors);
  for (; index < tiles.tiles; index += step) {
    const Tile tile = Stage::at(tiles, index);
    Stage::stage(tiles, data, tile, classes, vectors, staged);
    if (index + step < tiles.tiles) Stage::template fetch<false>(tiles, data, index + step, classes, vectors);
#pragma unroll 1
    for (int v = 0; v < Stage::kPerThread; ++v) {
      const int pixel = v * kWarp + lane_index();
      T x[L];
      Stage::read_pixel(staged, pixel, classes, x);
      to_gradient<S, L>(x, a, b);
      if (tiles.mask && !Stage::is_counted(tiles, image, tile, pixel)) {
#pragma unroll
        for (int l = 0; l < L; ++l) x[l] = T{};
      }
      Stage::write_pixel(staged, pixel, classes, x);
    }
    sync_warp();
    S* to = to_image + tile.row * out_row_stride + tile.column * classes;
    Stage::for_vectors(tile, classes, [&](int, int vector) {
      write_words(to + vector * Stage::kElements, staged[Stage::place(vector, classes)]);
    });
    Stage::for_rest(tile, classes, staged, [&](int element, const S* rest) { to[element] = *rest; });
  }
}

}  // namespace lsr::cuda
