#include "kernels.h"

#include <cstdlib>
#include <cstring>

namespace lsr::cpu {

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2, kAvx512;
#endif

namespace {

const Kernels& choose() {
  const char* wish = std::getenv("LSR_CPU");
  const auto allowed = [wish](const Kernels& build) { return !wish || !std::strcmp(wish, build.name); };
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

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace lsr::cpu
