// A run: consecutive pixels of one block at one stride, taken part by part.
#pragma once

#include "scratch.h"

namespace lsr {
namespace {

template <class S>
struct Run {
  Pointer<const S> logits;
  int64_t count;
  const uint8_t* mask;  // null: all pixels count
  int classes;
};

// Zero for lanes that do not count, whatever they hold.
template <class T, bool kWhole>
struct Valid {
  typename Vec<T>::Mask mask;
  LSR_HD Lanes<T> operator()(Lanes<T> lanes) const { return select(mask, lanes, Lanes<T>{}); }
};
template <class T>
struct Valid<T, true> {
  LSR_HD Lanes<T> operator()(Lanes<T> lanes) const { return lanes; }
};

// Part of a run: `count` pixels, with `rest` more after them.
template <class S, int Static, Shape kShape>
struct Part {
  using T = Compute<S>;
  static constexpr int kWidth = kLanes<T>;
  static constexpr bool kWhole = kShape != Shape::kMasked;

  // An array of this shape, its pixel stride known to the compiler where the shape says it.
  template <class E>
  static LSR_HD Pointer<E> shaped(Pointer<E> array) {
    if (kShape != Shape::kPixels) return {array.data, array.class_stride, 1};
    return {array.data, 1, Static ? Static : array.pixel_stride};
  }

  Pointer<const S> logits;
  int count;
  int64_t rest;
  const Counted<S>* counted;  // of masked parts: all ones for pixels that count

  int vectors() const {
    constexpr int kPixels = kGroup<S, kShape> * kWidth;
    return (count + kPixels - 1) / kPixels * kGroup<S, kShape>;
  }
  // Calls visit(i, k) for each vector i, the k-th of its group.
  template <class Visit>
  LSR_HD void for_each_vector(Visit visit) const {
    for (int i = 0; i < vectors(); i += kGroup<S, kShape>) {
      for_classes<kGroup<S, kShape>>(0, [&](int k) LSR_LAMBDA { visit(i + k, k); });
    }
  }
  LSR_HD Valid<T, kWhole> valid(int vector, int k) const {
    if constexpr (kWhole) {
      return {};
    } else {
      return {counted_lanes<S>(counted + (vector - k) * kWidth, k)};
    }
  }
  // The logits of all classes of a vector, the k-th of its group; zeros in lanes that do not count.
  LSR_HD void load(int vector, int k, int classes, Lanes<T>* x) const {
    load_pixels<Static, kShape, S>(shaped(logits).at((vector - k) * kWidth), k, classes, x);
    const auto counts = valid(vector, k);
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { x[l] = counts(x[l]); });
  }
  // Asks for what the next part will read at this vector, if the run goes on that far.
  LSR_HD void prefetch_next(int vector, int classes) const {
    if (vector * kWidth >= rest) return;
    const S* next = shaped(logits).at(count + vector * kWidth).data;
    const int64_t stride = kShape == Shape::kPixels ? kWidth : logits.class_stride;
    for_classes<Static>(classes, [&](int l) LSR_LAMBDA { __builtin_prefetch(next + l * stride); });
  }
};

// Calls visit(part, first, copied) part by part, the whole ones in the given shape; `first` is the part's
// first pixel, `copied` says that the part is a copy in the scratch's rows. kPixels: whether the visitor
// takes classes that lie side by side.
template <int Static, bool kPixels, class S, class Visit>
void for_each_part(const Run<S>& run, Shape shape, const Scratch<S>& scratch, Visit visit) {
  constexpr int kWidth = kLanes<Compute<S>>, kRowWidth = kGroup<S, Shape::kRows> * kWidth;
  const int64_t most = part_vectors(run.classes) * kWidth;
  for (int64_t first = 0; first < run.count; first += most) {
    const int some = static_cast<int>(run.count - first < most ? run.count - first : most);
    const int64_t rest = run.count - first - some;
    const Pointer<const S> at = run.logits.at(first);
    const bool full = some % kRowWidth == 0;
    if (!run.mask && full && shape == Shape::kRows) {
      visit(Part<S, Static, Shape::kRows>{at, some, rest, nullptr}, first, false);
      continue;
    }
    if constexpr (kPixels) {
      if (!run.mask && some % kWidth == 0 && shape == Shape::kPixels) {
        visit(Part<S, Static, Shape::kPixels>{at, some, rest, nullptr}, first, false);
        continue;
      }
    }
    const int pixels = (some + kRowWidth - 1) / kRowWidth * kRowWidth;
    note_counted(run.mask ? run.mask + first : nullptr, some, pixels, scratch.counted());
    const bool copied = !full || shape != Shape::kRows;
    const Pointer<S> rows = scratch.rows();
    if (copied) copy_pixels<S>(at, rows, run.classes, some);
    const Pointer<const S> from = copied ? Pointer<const S>{rows.data, rows.class_stride, 1} : at;
    visit(Part<S, Static, Shape::kMasked>{from, some, copied ? 0 : rest, scratch.counted()}, first, copied);
  }
}

// Sums of p and of p (1 - p) of each class, lane by lane.
template <class V>
struct LaneSums {
  V *p, *q;
};

// Adds `count` lanes to double ones, and empties them.
template <class T>
__attribute__((noinline)) void flush_lanes(int64_t count, T* __restrict lanes, double* __restrict wide) {
  for (int64_t i = 0; i < count; ++i) {
    wide[i] += lanes[i];
    lanes[i] = 0;
  }
}

// Which class a lane's sum is of: that of its vector, or the next lane's the next class, as side by side.
enum class LaneClasses { kOne, kInTurn };

template <class T>
__attribute__((noinline)) void add_lanes(int classes, LaneClasses lane_classes, const double* wide,
                                         double* sums) {
  if (lane_classes == LaneClasses::kInTurn) {
    for (int e = 0, l = 0; e < classes * kLanes<T>; ++e, l = l + 1 < classes ? l + 1 : 0) sums[l] += wide[e];
    return;
  }
  for (int l = 0; l < classes; ++l) {
    double sum = 0;
    for (int j = 0; j < kLanes<T>; ++j) sum += wide[l * kLanes<T> + j];
    sums[l] += sum;
  }
}

constexpr int kFlush = 32;  // single-precision additions a lane takes before it is widened

// Adds a run's sums of p and p (1 - p) to sums_p and sums_q; add_part(part, sums) adds a part's.
template <int Static, bool kPixels, class S, class AddPart>
void sum_run(const Run<S>& run, const Scratch<S>& scratch, double* sums_p, double* sums_q,
             LaneClasses lane_classes, AddPart add_part) {
  using T = Compute<S>;
  const int classes = run.classes;
  const LaneSums<Lanes<T>> sums{scratch.sums(), scratch.sums() + classes};
  scratch.clear_sums();
  int unflushed = 0;
  const auto visit = [&](const auto& part, int64_t first, bool) {
    add_part(part, sums);
    unflushed += part.vectors();
    if (unflushed + part_vectors(classes) <= kFlush && first + part.count < run.count) return;
    flush_lanes(2 * classes * kLanes<T>, reinterpret_cast<T*>(sums.p), scratch.wide_sums());
    unflushed = 0;
  };
  for_each_part<Static, kPixels>(run, shape_of(run.logits, classes, kPixels), scratch, visit);
  add_lanes<T>(classes, lane_classes, scratch.wide_sums(), sums_p);
  add_lanes<T>(classes, lane_classes, scratch.wide_sums() + classes * kLanes<T>, sums_q);
}

// Writes the gradient over a run; write_part(part, out, stream) writes a part's. `out` may be the logits, but
// not if `stream`: then it bypasses the caches.
template <int Static, bool kPixels, class S, class WritePart>
void write_run(const Run<S>& run, const Scratch<S>& scratch, Pointer<S> out, bool stream,
               WritePart write_part) {
  const int classes = run.classes;
  const Shape shape = shape_of(run.logits, classes, kPixels);
  const Shape both = shape == shape_of(out, classes, kPixels) ? shape : Shape::kMasked;
  const bool streams = stream && is_aligned(out, classes);
  const auto visit = [&](const auto& part, int64_t first, bool copied) {
    const Pointer<S> to = copied ? scratch.rows() : out.at(first);
    write_part(part, part.shaped(to), streams && part.kWhole);
    if (copied) copy_pixels<S>({to.data, to.class_stride, 1}, out.at(first), classes, part.count);
  };
  for_each_part<Static, kPixels>(run, both, scratch, visit);
  if (streams) end_streaming();
}

}  // namespace
}  // namespace lsr
