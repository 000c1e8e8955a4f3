// Up to 16 bytes of consecutive elements of any of the four types, in registers, and their way to memory.
#pragma once

#include "platform.h"

namespace lsr::cuda {

struct BFloat16 {
  uint16_t bits;
  static LSR_DEVICE float decode(uint16_t bits) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float x;
    memcpy(&x, &wide, 4);
    return x;
  }
  static LSR_DEVICE uint16_t encode(float x) { return float_to_bfloat(x); }
};
struct Float16 {
  uint16_t bits;
  static LSR_DEVICE float decode(uint16_t bits) { return half_to_float(bits); }
  static LSR_DEVICE uint16_t encode(float x) { return float_to_half(x); }
};

template <class T>
LSR_DEVICE T from_bits(const uint32_t* bits) {
  T x;
  memcpy(&x, bits, sizeof(T));
  return x;
}

// How a stored type is computed with, and where element j of some words is; j is known to the compiler
// wherever the words are to stay in registers.
template <class S>
struct Codec {  // float and double
  using Type = S;
  static constexpr int kWords = sizeof(S) / 4;
  static LSR_DEVICE S get(const uint32_t* words, int j) { return from_bits<S>(words + j * kWords); }
  static LSR_DEVICE void set(uint32_t* words, int j, S x) { memcpy(words + j * kWords, &x, sizeof(S)); }
};

template <class S>
struct HalfCodec {
  using Type = float;
  static LSR_DEVICE float get(const uint32_t* words, int j) {
    return S::decode(static_cast<uint16_t>(j % 2 ? words[j / 2] >> 16 : words[j / 2]));
  }
  static LSR_DEVICE void set(uint32_t* words, int j, float x) {
    const uint32_t bits = S::encode(x);
    uint32_t& word = words[j / 2];
    word = j % 2 ? (word & 0xffffu) | bits << 16 : (word & 0xffff0000u) | bits;
  }
};
template <>
struct Codec<BFloat16> : HalfCodec<BFloat16> {};
template <>
struct Codec<Float16> : HalfCodec<Float16> {};

template <class S>
using Compute = typename Codec<S>::Type;

// One aligned access of so many bytes.
template <int Bytes>
struct alignas(Bytes < 4 ? 4 : Bytes) Words {
  static constexpr int kCount = Bytes < 4 ? 1 : Bytes / 4;
  uint32_t at[kCount];
};

#if defined(__CUDACC__)

// Reads of what this launch does not write: through the read-only path, and not kept in the first-level
// cache, since nobody reads it again.
LSR_DEVICE void read_once(const void* from, Words<16>& to) {
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(to.at[0]), "=r"(to.at[1]), "=r"(to.at[2]), "=r"(to.at[3])
      : "l"(from));
}
LSR_DEVICE void read_once(const void* from, Words<8>& to) {
  asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(to.at[0]), "=r"(to.at[1]) : "l"(from));
}
LSR_DEVICE void read_once(const void* from, Words<4>& to) {
  asm("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(to.at[0]) : "l"(from));
}
LSR_DEVICE void read_once(const void* from, Words<2>& to) {
  uint16_t bits;
  asm("ld.global.nc.L1::no_allocate.u16 %0, [%1];" : "=h"(bits) : "l"(from));
  to.at[0] = bits;
}

// Reads of what this launch may overwrite, each element by the thread that read it: not the read-only path.
LSR_DEVICE void read_own(const void* from, Words<16>& to) {
  asm("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(to.at[0]), "=r"(to.at[1]), "=r"(to.at[2]), "=r"(to.at[3])
      : "l"(from));
}
LSR_DEVICE void read_own(const void* from, Words<8>& to) {
  asm("ld.global.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(to.at[0]), "=r"(to.at[1]) : "l"(from));
}
LSR_DEVICE void read_own(const void* from, Words<4>& to) {
  asm("ld.global.L1::no_allocate.u32 %0, [%1];" : "=r"(to.at[0]) : "l"(from));
}
LSR_DEVICE void read_own(const void* from, Words<2>& to) {
  uint16_t bits;
  asm("ld.global.L1::no_allocate.u16 %0, [%1];" : "=h"(bits) : "l"(from));
  to.at[0] = bits;
}

#else

template <int Bytes>
void read_once(const void* from, Words<Bytes>& to) {
  to = {};
  std::memcpy(to.at, __builtin_assume_aligned(from, Bytes), Bytes);
}
template <int Bytes>
void read_own(const void* from, Words<Bytes>& to) {
  read_once(from, to);
}

#endif

// Gradients are stored by the ordinary policy: the network's backward pass reads them next, from the
// second-level cache where they fit.
template <int Bytes>
LSR_DEVICE void write_words(void* to, const Words<Bytes>& words) {
  *static_cast<Words<Bytes>*>(to) = words;
}
LSR_DEVICE void write_words(void* to, const Words<2>& words) {
  *static_cast<uint16_t*>(to) = static_cast<uint16_t>(words.at[0]);
}

#if defined(__CUDACC__)

// By hand: left to itself the compiler splits stores of several words where it computes them one by one.
LSR_DEVICE void write_words(void* to, const Words<16>& words) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words.at[0]), "r"(words.at[1]),
               "r"(words.at[2]), "r"(words.at[3])
               : "memory");
}
LSR_DEVICE void write_words(void* to, const Words<8>& words) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(words.at[0]), "r"(words.at[1]) : "memory");
}

#endif

// One element by itself, wherever it lies; cached, for passes that come back to it.
template <class S>
LSR_DEVICE Compute<S> read_element(const S* from) {
  if constexpr (sizeof(S) == 2) {
    return S::decode(from->bits);
  } else {
    return *from;
  }
}
template <class S>
LSR_DEVICE void write_element(S* to, Compute<S> x) {
  if constexpr (sizeof(S) == 2) {
    to->bits = S::encode(x);
  } else {
    *to = x;
  }
}

}  // namespace lsr::cuda
