// Begins a translation unit of kernels for x86-64 with AVX-512; on other processors it stays empty.
#pragma once

#if defined(__x86_64__)

#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), \
                             apply_to = function)
#define LSR_END_TARGET _Pragma("clang attribute pop")
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#define LSR_END_TARGET
#endif
#define LSR_VECTOR_BYTES 64

#include "kernels.inl"

#else
#define LSR_KERNELS(name, S)
#endif
