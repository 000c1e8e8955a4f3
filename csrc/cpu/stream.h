// Stores that pass the caches by, for memory that nobody reads soon; `to` is aligned to the bytes written.
// They save the read of the line that an ordinary store begins with. Fenced by end_streaming.
#pragma once

#include "halves.h"

namespace lsr {

LSR_HD void stream_bits(void* to, FloatBits bits) {
#if LSR_VECTOR_BYTES == 64
  _mm512_stream_si512(static_cast<__m512i*>(to), (__m512i)bits);
#elif LSR_VECTOR_BYTES == 32
  _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)bits);
#else
  store_bits(to, bits);
#endif
}

template <class S, class V>
LSR_HD void stream_lanes(S* to, V lanes) {
  store_lanes(to, lanes);
}
LSR_HD void stream_lanes(float* to, Floats lanes) { stream_bits(to, (FloatBits)lanes); }
#if LSR_VECTOR_BYTES == 64
LSR_HD void stream_lanes(BFloat16* to, Floats lanes) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)to_bfloat16(lanes));
}
#endif

LSR_HD void end_streaming() {
#if LSR_VECTOR_BYTES >= 32
  _mm_sfence();
#endif
}

}  // namespace lsr
