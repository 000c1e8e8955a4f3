// Marks for functions that host and device share, and their loop over classes.
#pragma once

#include <utility>

#if defined(__CUDACC__)
#define LSR_HD __host__ __device__ __forceinline__
#define LSR_LAMBDA
#else
// Always inline: a translation unit built for AVX-512 must leave no shared copy for the linker to pick.
#define LSR_HD inline __attribute__((always_inline))
#define LSR_LAMBDA __attribute__((always_inline))
#endif

namespace lsr {

template <class Body, int... L>
LSR_HD void for_each_of(Body&& body, std::integer_sequence<int, L...>) {
  (body(L), ...);
}

// body(l) for each class; unrolled where Static gives their number, so that arrays over classes stay in
// registers.
template <int Static, class Body>
LSR_HD void for_classes(int classes, Body&& body) {
  if constexpr (Static > 0) {
    for_each_of(body, std::make_integer_sequence<int, Static>{});
  } else {
    for (int l = 0; l < classes; ++l) body(l);
  }
}

}  // namespace lsr
