// From pixels of one type to the kernels that serve them: included by one source file a type, so that they
// compile side by side.
#pragma once

#include "elements.h"
#include "grid.h"
#include "interleaved.h"
#include "launch.h"
#include "launcher.h"
#include "packed.h"
#include "strided.h"

namespace lsr::cuda {

// A number of classes known to the compiler; exact, or the most that a build serves.
template <int L, bool Exact>
struct Build {
  static constexpr int classes = L;
  static constexpr bool exact = Exact;
};

// The most exclusive classes that are kept in registers. Double precision is there to check, not to hurry.
template <class S>
constexpr int kMostClasses = sizeof(S) == 8 ? 8 : 32;

// Calls call(Build) for the smallest build that serves so many exclusive classes.
template <class S, class Call>
void with_classes(int64_t classes, Call call) {
#if defined(LSR_FEW_BUILDS)  // under the sanitizers, whose code compiles slowly
  constexpr bool kFew = true;
#else
  constexpr bool kFew = sizeof(S) == 8;
#endif
  if constexpr (kFew) {
    if (sizeof(S) < 8 && classes > 8) return call(Build<kMostClasses<S>, false>{});
    if (classes <= 2) return call(Build<2, true>{});
    if (classes <= 4) return call(Build<4, false>{});
    return call(Build<8, false>{});
  } else {
    switch (classes) {
      case 2:
        return call(Build<2, true>{});
      case 3:
        return call(Build<3, true>{});
      case 4:
        return call(Build<4, true>{});
      case 5:
        return call(Build<5, true>{});
      case 6:
        return call(Build<6, true>{});
      case 7:
      case 8:
        return call(Build<8, false>{});
    }
    if (classes <= 12) return call(Build<12, false>{});
    if (classes <= 16) return call(Build<16, false>{});
    if (classes <= 24) return call(Build<24, false>{});
    return call(Build<32, false>{});
  }
}

constexpr int64_t kMostDivided = int64_t{1} << 31;  // what a Divider takes is below

template <class S>
class Dispatch {
 public:
  explicit Dispatch(const Pixels& pixels) : pixels_(pixels), in_(pixels.logits, pixels), out_(in_) {}
  Dispatch(const Pixels& pixels, const Array& out)
      : pixels_(pixels), in_(pixels.logits, pixels), out_(out, pixels) {
    if (in_.height > out_.height) out_.split(in_);
    if (out_.height > in_.height) in_.split(out_);
  }

  Plan plan(bool gradient) const {
    Plan plan{path(), false, 1, 1};
    if (plan.path == Path::kPlanar) {
      plan.wide = is_wide();
      for_planar(plan.wide, [&](auto build, auto bytes) {
        constexpr int kBytes = decltype(bytes)::value, L = decltype(build)::classes;
        constexpr int V = kBytes / static_cast<int>(sizeof(S));
        const int64_t planes = L > 1 ? pixels_.images : pixels_.images * pixels_.classes;
        const int64_t resident =
            gradient ? resident_blocks<&planar_gradient<S, L, decltype(build)::exact, kBytes>>()
                     : resident_blocks<&planar_moments<S, L, decltype(build)::exact, kBytes>>();
        set(plan, cut(planes, area() / V, kThreads, 1, resident));
      });
    } else if (plan.path == Path::kInterleaved) {
      for_interleaved([&](auto build) {
        constexpr int L = decltype(build)::classes;
        const int64_t resident = gradient
                                     ? resident_blocks<&interleaved_gradient<S, L, decltype(build)::exact>>()
                                     : resident_blocks<&interleaved_moments<S, L, decltype(build)::exact>>();
        set(plan, cut(pixels_.images, tiles(tile_pixels<L>()), kWarps, 1, resident));
      });
    } else if (plan.path == Path::kPacked) {
      for_packed([&](auto build) {
        constexpr int L = decltype(build)::classes;
        const int64_t resident =
            gradient ? resident_blocks<&packed_gradient<S, L>>() : resident_blocks<&packed_moments<S, L>>();
        set(plan, cut(pixels_.images, area() / packed_pixels<S>(L), kThreads, 1, resident));
      });
    } else if (plan.path == Path::kElements) {
      const int64_t resident =
          gradient ? resident_blocks<&element_gradient<S>>() : resident_blocks<&element_moments<S>>();
      set(plan, cut(pixels_.images, (area() * pixels_.classes + kVector - 1) / kVector, kThreads, period(),
                    resident));
    } else {
      const int64_t resident =
          gradient ? resident_blocks<&strided_gradient<S>>() : resident_blocks<&strided_moments<S>>();
      set(plan, cut(pixels_.images, (area() + kTile - 1) / kTile, gradient ? 2 : kWarps, 1, resident));
    }
    return plan;
  }

  void moments(const Plan& plan, const MomentSums& sums, LsrStream stream) const {
    const int64_t blocks = pixels_.images * plan.parts;
    if (area() == 0 || blocks == 0 || pixels_.classes == 0) return;
    if (plan.path == Path::kPlanar) {
      for_planar(plan.wide, [&](auto build, auto bytes) {
        constexpr int kBytes = decltype(bytes)::value, L = decltype(build)::classes;
        constexpr int V = kBytes / static_cast<int>(sizeof(S));
        launch(planar_moments<S, L, decltype(build)::exact, kBytes>,
               L > 1 ? blocks : blocks * pixels_.classes, kThreads, stream, planes<V>(plan), sums.records);
      });
    } else if (plan.path == Path::kInterleaved) {
      for_interleaved([&](auto build) {
        constexpr int L = decltype(build)::classes;
        launch(interleaved_moments<S, L, decltype(build)::exact>, blocks, kThreads, stream, tiles_of<L>(plan),
               sums.records);
      });
    } else if (plan.path == Path::kPacked) {
      for_packed([&](auto build) {
        constexpr int L = decltype(build)::classes;
        launch(packed_moments<S, L>, blocks, kThreads, stream, planes<packed_pixels<S>(L)>(plan),
               sums.records);
      });
    } else if (plan.path == Path::kElements) {
      launch(element_moments<S>, blocks, kThreads, stream, elements(plan), sums.records);
    } else {
      launch(strided_moments<S>, blocks, kThreads, stream, strided(plan), sums.records, sums.fixed);
    }
  }

  void gradient(const GradientSource& source, LsrStream stream) const {
    if (area() == 0 || pixels_.images == 0 || pixels_.classes == 0) return;
    const Plan cut = plan(true);
    const int64_t blocks = pixels_.images * cut.parts;
    if (cut.path == Path::kPlanar) {
      for_planar(cut.wide, [&](auto build, auto bytes) {
        constexpr int kBytes = decltype(bytes)::value, L = decltype(build)::classes;
        constexpr int V = kBytes / static_cast<int>(sizeof(S));
        launch(planar_gradient<S, L, decltype(build)::exact, kBytes>,
               L > 1 ? blocks : blocks * pixels_.classes, kThreads, stream, planes<V>(cut), source, out_.data,
               out_.image_stride, out_.class_stride, out_.row_stride);
      });
    } else if (cut.path == Path::kInterleaved) {
      for_interleaved([&](auto build) {
        constexpr int L = decltype(build)::classes;
        launch(interleaved_gradient<S, L, decltype(build)::exact>, blocks, kThreads, stream, tiles_of<L>(cut),
               source, out_.data, out_.image_stride, out_.row_stride);
      });
    } else if (cut.path == Path::kPacked) {
      for_packed([&](auto build) {
        constexpr int L = decltype(build)::classes;
        launch(packed_gradient<S, L>, blocks, kThreads, stream, planes<packed_pixels<S>(L)>(cut), source,
               out_.data, out_.image_stride, out_.row_stride);
      });
    } else if (cut.path == Path::kElements) {
      launch(element_gradient<S>, blocks, kThreads, stream, elements(cut), source, out_.data,
             out_.image_stride);
    } else {
      launch(strided_gradient<S>, blocks, kThreads, stream, strided(cut), source, out_.data,
             Strides{out_.image_stride, out_.class_stride, out_.row_stride, out_.pixel_stride});
    }
  }

 private:
  static constexpr int kVector = 16 / static_cast<int>(sizeof(S));
  template <int Bytes>
  struct Width {
    static constexpr int value = Bytes;
  };

  static void set(Plan& plan, const Cut& cut) {
    plan.parts = cut.parts;
    plan.part_units = cut.part_units;
  }

  bool exclusive() const { return pixels_.activation == Activation::kSoftmax; }
  int64_t area() const { return in_.height * in_.width; }
  template <int L>
  static constexpr int tile_pixels() {
    return Staging<S, L>::kPixels;
  }
  int64_t tiles(int pixels) const { return in_.height * ((in_.width + pixels - 1) / pixels); }
  // Vectors after which the classes of their elements repeat.
  int64_t period() const {
    int64_t a = pixels_.classes, b = kVector;
    while (b > 0) {
      a %= b;
      std::swap(a, b);
    }
    return pixels_.classes / a;
  }

  Path path() const {
    if (pixels_.block_ids) return Path::kStrided;
    if (exclusive() && pixels_.classes > kMostClasses<S>) return Path::kStrided;
    const bool divided = in_.height == 1 || area() < kMostDivided;
    const bool planar = in_.pixel_stride == 1 && out_.pixel_stride == 1 && divided;
    if (planar && (sizeof(S) < 8 || is_wide())) return Path::kPlanar;
    const auto side_by_side = [&](const Grid& grid) {
      return grid.class_stride == 1 && grid.pixel_stride == pixels_.classes &&
             grid.divides(kVector, sizeof(S));
    };
    if (!side_by_side(in_) || !side_by_side(out_) || !divided) return Path::kStrided;
    if (exclusive() && is_packed()) return Path::kPacked;
    if (exclusive()) return sizeof(S) < 8 ? Path::kInterleaved : Path::kStrided;
    const bool fits = in_.height == 1 && area() * pixels_.classes < kMostDivided && period() <= kThreads;
    return fits ? Path::kElements : Path::kStrided;
  }

  // Whether the planes consist of whole vectors.
  bool is_wide() const {
    const int V = planar_bytes<S>(vector_classes()) / static_cast<int>(sizeof(S));
    const auto whole = [&](const Grid& grid) {
      return grid.width % V == 0 && grid.class_stride % V == 0 && grid.divides(V, sizeof(S));
    };
    return whole(in_) && whole(out_);
  }
  int vector_classes() const {
    int most = 1;
    if (exclusive()) with_classes<S>(pixels_.classes, [&](auto build) { most = decltype(build)::classes; });
    return most;
  }

  template <class Call>
  void for_planar(bool wide, Call call) const {
    const auto sized = [&](auto build) {
      if constexpr (sizeof(S) < 8) {
        if (!wide) return call(build, Width<static_cast<int>(sizeof(S))>{});
      }
      call(build, Width<planar_bytes<S>(decltype(build)::classes)>{});
    };
    if (!exclusive()) return sized(Build<1, true>{});
    with_classes<S>(pixels_.classes, sized);
  }

  // Whether vectors hold whole pixels, and rows whole vectors.
  bool is_packed() const {
    const int classes = static_cast<int>(pixels_.classes);
    if (classes > kVector || packed_pixels<S>(classes) == 0) return false;
    const int V = packed_pixels<S>(classes);
    return in_.width % V == 0 && out_.width % V == 0;
  }

  template <class Call>
  void for_packed(Call call) const {
    if constexpr (sizeof(S) < 8) {
      if (pixels_.classes == 2) return call(Build<2, true>{});
      if (pixels_.classes == 4) return call(Build<4, true>{});
    }
    if constexpr (sizeof(S) == 2) call(Build<8, true>{});
  }

  template <class Call>
  void for_interleaved(Call call) const {
    if constexpr (sizeof(S) < 8) with_classes<S>(pixels_.classes, call);
  }

  // The planes of one class, or the pixels of all, in vectors of V pixels.
  template <int V>
  Planes planes(const Plan& plan) const {
    const bool one_row = in_.height == 1;
    const bool wide_mask = reinterpret_cast<uintptr_t>(pixels_.mask) % V == 0 && area() % V == 0;
    return {in_.data,         in_.image_stride,
            in_.class_stride, in_.row_stride,
            area() / V,       plan.parts,
            area(),           Divider::by(one_row ? 1 : static_cast<uint32_t>(in_.width / V)),
            one_row,          pixels_.mask,
            wide_mask,        static_cast<int>(pixels_.classes)};
  }

  template <int L>
  Tiles tiles_of(const Plan& plan) const {
    const int64_t per_row = (in_.width + tile_pixels<L>() - 1) / tile_pixels<L>();
    const bool one_row = in_.height == 1;
    return {in_.data,
            in_.image_stride,
            in_.row_stride,
            tiles(tile_pixels<L>()),
            plan.parts,
            area(),
            in_.width,
            Divider::by(one_row ? 1 : static_cast<uint32_t>(per_row)),
            one_row,
            pixels_.mask,
            static_cast<int>(pixels_.classes)};
  }

  Elements elements(const Plan& plan) const {
    const int64_t count = area() * pixels_.classes;
    return {in_.data,
            in_.image_stride,
            count,
            (count + kVector - 1) / kVector,
            plan.part_units,
            plan.parts,
            area(),
            static_cast<int>(kThreads - kThreads % period()),
            Divider::by(static_cast<uint32_t>(pixels_.classes)),
            pixels_.mask};
  }

  Strided strided(const Plan& plan) const {
    const bool narrow = area() < kMostDivided;
    return {in_.data,
            {in_.image_stride, in_.class_stride, in_.row_stride, in_.pixel_stride},
            in_.width,
            area(),
            (area() + kTile - 1) / kTile,
            plan.part_units,
            plan.parts,
            Divider::by(narrow ? static_cast<uint32_t>(in_.width) : 1),
            narrow,
            static_cast<int>(pixels_.classes),
            exclusive(),
            pixels_.mask,
            pixels_.block_ids,
            pixels_.blocks};
  }

  const Pixels& pixels_;
  Grid in_, out_;
};

template <class S>
Plan Launcher<S>::plan(const Pixels& pixels) {
  return Dispatch<S>(pixels).plan(false);
}

template <class S>
void Launcher<S>::moments(const Pixels& pixels, const Plan& plan, const MomentSums& sums, LsrStream stream) {
  Dispatch<S>(pixels).moments(plan, sums, stream);
}

template <class S>
void Launcher<S>::gradient(const Pixels& pixels, const GradientSource& source, const Array& out,
                           LsrStream stream) {
  Dispatch<S>(pixels, out).gradient(source, stream);
}

}  // namespace lsr::cuda
