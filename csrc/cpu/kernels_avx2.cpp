// The kernels for x86-64 with AVX2 and FMA.
#if defined(__x86_64__)
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define LSR_VECTOR_BYTES 32

#include "kernels.inl"

namespace lsr::cpu {
extern const Kernels kAvx2{"avx2", moments, gradient};
}
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
