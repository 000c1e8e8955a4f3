// What the kernels use of CUDA, on the device and emulated on the host.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define LSR_DEVICE __device__ __forceinline__
#define LSR_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define LSR_SHARED(type, name, count) __shared__ type name[count]
#else
#include "emulation.h"
#define LSR_DEVICE inline
#define LSR_KERNEL(threads, blocks) void
#define LSR_SHARED(type, name, count) \
  type* name = static_cast<type*>(::lsr::emulation::shared(#name, sizeof(type) * (count)))
#endif

namespace lsr::cuda {

constexpr int kWarp = 32;

#if defined(__CUDACC__)

// Threads of a block.
constexpr int kThreads = 256;
constexpr int kTableThreads = 512;

LSR_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
LSR_DEVICE int64_t block_index() { return blockIdx.x; }
LSR_DEVICE void sync_threads() { __syncthreads(); }
LSR_DEVICE void sync_warp() { __syncwarp(); }

template <class T>
LSR_DEVICE T shuffle_xor(T value, int lane_xor) {
  return __shfl_xor_sync(0xffffffffu, value, lane_xor);
}

LSR_DEVICE void add_integer(uint64_t* to, uint64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

LSR_DEVICE void raise_integer(uint64_t* to, uint64_t value) {
  atomicMax(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

// Writes `value` where `to` holds `expected`; what it held.
LSR_DEVICE uint64_t swap_integer(uint64_t* to, uint64_t expected, uint64_t value) {
  return atomicCAS(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(expected),
                   static_cast<unsigned long long>(value));
}

LSR_DEVICE uint32_t high_product(uint32_t a, uint32_t b) { return __umulhi(a, b); }
LSR_DEVICE int count_bits(uint32_t bits) { return __popc(bits); }

// 2^x and 1 / x, each in one instruction, to 2 and 1 ulp; subnormal numbers are 0.
LSR_DEVICE float quick_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
LSR_DEVICE float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// The larger of both; what is no number stays so.
LSR_DEVICE float bounded_below(float x, float least) {
  float y;
  asm("max.NaN.ftz.f32 %0, %1, %2;" : "=f"(y) : "f"(x), "f"(least));
  return y;
}

// The smaller of both, or no number where one is none.
LSR_DEVICE float smaller(float a, float b) {
  float y;
  asm("min.NaN.ftz.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(b));
  return y;
}

LSR_DEVICE float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
LSR_DEVICE uint16_t float_to_half(float x) { return __half_as_ushort(__float2half_rn(x)); }
LSR_DEVICE uint16_t float_to_bfloat(float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); }

#else

// Small blocks: every boundary is crossed at small sizes.
constexpr int kThreads = 64;
constexpr int kTableThreads = 64;

inline int thread_index() { return emulation::self().thread; }
inline int64_t block_index() { return emulation::self().block_index; }
inline void sync_threads() { emulation::sync_threads(); }
inline void sync_warp() { emulation::sync_warp(); }

template <class T>
T shuffle_xor(T value, int lane_xor) {
  return emulation::shuffle_xor(value, lane_xor);
}

inline void add_integer(uint64_t* to, uint64_t value) { __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }

inline uint64_t swap_integer(uint64_t* to, uint64_t expected, uint64_t value) {
  __atomic_compare_exchange_n(to, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline void raise_integer(uint64_t* to, uint64_t value) {
  uint64_t held = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (held < value &&
         !__atomic_compare_exchange_n(to, &held, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

inline uint32_t high_product(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
}
inline int count_bits(uint32_t bits) { return __builtin_popcount(bits); }

// As far off as the device's may be, by an error that its argument chooses, and without subnormal numbers.
inline float approximate(double exact, float argument, double error) {
  uint32_t bits;
  std::memcpy(&bits, &argument, 4);
  const double share = static_cast<double>(bits * 2654435769u) * 0x1p-31 - 1;  // in [-1, 1)
  const float y = static_cast<float>(exact * (1 + share * error));
  return std::fabs(y) < 0x1p-126f ? 0.0f : y;
}
inline float quick_exp2(float x) {
  if (std::fabs(x) < 0x1p-126f) return 1;  // exactly, as the device
  return approximate(std::exp2(static_cast<double>(x)), x, 0x1p-22);
}
inline float reciprocal(float x) { return approximate(1 / static_cast<double>(x), x, 0x1p-23); }
inline float bounded_below(float x, float least) { return x < least ? least : x; }
inline float smaller(float a, float b) { return b < a || b != b ? b : a; }

inline float half_to_float(uint16_t half) {
  const uint32_t digits = half & 0x3ffu, exponent = half >> 10 & 31u;
  const uint32_t shift = exponent == 31 ? 224 : 112;  // infinity and NaN have the largest exponent of both
  const uint32_t bits = (exponent + shift) << 23 | digits << 13;
  float x;
  std::memcpy(&x, &bits, 4);
  if (exponent == 0) x = static_cast<float>(digits) * 0x1p-24f;
  return half & 0x8000u ? -x : x;
}

inline uint16_t float_to_bfloat(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline uint16_t float_to_half(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 113u << 23) {  // subnormal: adding 0.5 aligns its last bit, and rounds
    const float aligned = std::fabs(x) + 0.5f;
    std::memcpy(&bits, &aligned, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13);
}

#endif

LSR_DEVICE double reciprocal(double x) { return 1 / x; }
LSR_DEVICE double smaller(double a, double b) { return b < a || b != b ? b : a; }

LSR_DEVICE int lane_index() { return thread_index() % kWarp; }
LSR_DEVICE int warp_index() { return thread_index() / kWarp; }

// The sum of all lanes' values, in an order that is always the same.
template <class T>
LSR_DEVICE T warp_sum(T value) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) value += shuffle_xor(value, lanes);
  return value;
}

// Quotients by a divisor that is known before the launch, of numbers below 2^31.
struct Divider {
  uint32_t divisor, multiplier, shift;

  static Divider by(uint32_t divisor) {
    uint32_t shift = 0;
    while (uint64_t{1} << shift < divisor) ++shift;
    const uint64_t rest = (uint64_t{1} << shift) - divisor;
    return {divisor, static_cast<uint32_t>((rest << 32) / divisor + 1), shift};
  }
  LSR_DEVICE uint32_t quotient(uint32_t n) const { return (high_product(n, multiplier) + n) >> shift; }
};

}  // namespace lsr::cuda
