// Marks for functions that host and device share.
#pragma once

#if defined(__CUDACC__)
#define LSR_HD __host__ __device__ __forceinline__
#else
// Always inline: a translation unit built for AVX-512 must leave no shared copy for the linker to pick.
#define LSR_HD inline __attribute__((always_inline))
#endif
