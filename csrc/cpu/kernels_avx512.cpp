// The kernels for x86-64 with AVX-512.
#if defined(__x86_64__)
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif
#define LSR_VECTOR_BYTES 64

#include "kernels.inl"

namespace lsr::cpu {
extern const Kernels kAvx512{"avx512", moments, gradient};
}
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
