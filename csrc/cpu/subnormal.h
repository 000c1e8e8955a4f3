// Numbers below the smallest normal one as 0: processors for x86 take ten times as long with them, and the
// probabilities of classes that a network has ruled out are such numbers.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace lsr::cpu {

// While one lives, its thread's arithmetic takes subnormal operands as 0, and gives 0 for subnormal results.
class FlushSubnormal {
 public:
  FlushSubnormal() { write(before_ | kFlush); }
  ~FlushSubnormal() { write(before_); }
  FlushSubnormal(const FlushSubnormal&) = delete;
  FlushSubnormal& operator=(const FlushSubnormal&) = delete;

 private:
  // The register that controls floating-point arithmetic.
#if defined(__x86_64__)
  using Control = uint32_t;
  static constexpr Control kFlush = 1 << 15 | 1 << 6;  // of results, of operands
  static Control read() { return _mm_getcsr(); }
  static void write(Control control) { _mm_setcsr(control); }
#elif defined(__aarch64__)
  using Control = uint64_t;
  static constexpr Control kFlush = 1 << 24;  // of both
  static Control read() {
    Control control;
    asm volatile("mrs %0, fpcr" : "=r"(control));
    return control;
  }
  static void write(Control control) { asm volatile("msr fpcr, %0" : : "r"(control) : "memory"); }
#else
  using Control = uint32_t;  // elsewhere they stay: only slower
  static constexpr Control kFlush = 0;
  static Control read() { return 0; }
  static void write(Control) {}
#endif

  const Control before_ = read();
};

}  // namespace lsr::cpu
