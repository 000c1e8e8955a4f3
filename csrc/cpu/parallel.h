// Stages A and C over whole tensors: cutting them into ranges, and putting the sums together again.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace lsr::cpu {

// Calls body(context, i) for every i in [0, count), in any order, on any number of threads, each of which is
// worth starting for `grain` calls.
using Body = void (*)(void* context, int64_t index);
using ParallelFor = void (*)(int64_t count, int64_t grain, Body body, void* context);

// Sums per block, n (K), S and Q (K, L). Ranges and the order in which they are added
// depend on the shape alone, so the result is the same, bit for bit, for any number of threads.
void block_moments(const Pixels& pixels, double* n, double* S, double* Q, ParallelFor parallel);

// The gradient by the logits, written to every pixel of out, which may be the logits themselves.
void pixel_gradient(const Pixels& pixels, const GradientSource& source, const Array& out,
                    ParallelFor parallel);

}  // namespace lsr::cpu
