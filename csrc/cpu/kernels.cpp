#include "kernels.h"

#include <cstdlib>
#include <cstring>

namespace lsr::cpu {

// A build's kernels, each type's in a translation unit of its own.
#define LSR_BUILD(name, text)                                                       \
  extern const Kernels name##Float32, name##Float64, name##BFloat16, name##Float16; \
  static constexpr Build name{text, &name##Float32, &name##Float64, &name##BFloat16, &name##Float16};

LSR_BUILD(kPortable, "portable")
#if defined(__x86_64__)
LSR_BUILD(kAvx2, "avx2")
LSR_BUILD(kAvx512, "avx512")
#endif

namespace {

const Build& choose() {
  const char* wish = std::getenv("LSR_CPU");
  const auto allowed = [wish](const Build& build) {
    return !wish || !*wish || !std::strcmp(wish, build.name);
  };
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && allowed(kAvx512)) return kAvx512;
  if (avx2 && allowed(kAvx2)) return kAvx2;
#endif
  static_cast<void>(allowed);
  return kPortable;
}

}  // namespace

const Build& build() {
  static const Build& chosen = choose();
  return chosen;
}

const Kernels& Build::kernels(Scalar scalar) const {
  switch (scalar) {
    case Scalar::kFloat64:
      return *float64;
    case Scalar::kBFloat16:
      return *bfloat16;
    case Scalar::kFloat16:
      return *float16;
    default:
      return *float32;
  }
}

}  // namespace lsr::cpu
