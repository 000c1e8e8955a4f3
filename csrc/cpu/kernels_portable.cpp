// The kernels for any processor: 16-byte vectors, which every 64-bit one has.
#define LSR_VECTOR_BYTES 16

#include "kernels.inl"

namespace lsr::cpu {
extern const Kernels kPortable{"portable", moments, gradient};
}
