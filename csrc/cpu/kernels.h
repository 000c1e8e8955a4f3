// Stages A and C on the CPU: the kernels, and the builds of them to choose from.
#pragma once

#include <cstdint>

#include "../lsr/pixels.h"

namespace lsr::cpu {

// Pixels [begin, end) of one image, in row-major order.
struct Range {
  int64_t image, begin, end;
};

// Where the sums of a range go: one record of n, S[L], Q[L] per block.
struct MomentSink {
  virtual double* record(int64_t block) = 0;

 protected:
  ~MomentSink() = default;
};

// d loss / d p = scale (a + b p), a and b (K, L).
struct GradientSource {
  const double *a, *b;
  double scale;
};

// For one type of logits.
struct Kernels {
  void (*moments)(const Pixels& pixels, const Range& range, MomentSink& sink);
  // `stream`: out is not the logits and too large to stay in the caches, so it may pass them by.
  void (*gradient)(const Pixels& pixels, const Range& range, const GradientSource& source, const Array& out,
                   bool stream);
};

// The kernels for one kind of processor, by the type of the logits.
struct Build {
  const char* name;
  const Kernels *float32, *float64, *bfloat16, *float16;

  const Kernels& kernels(Scalar scalar) const;
};

// The best build for this processor; the environment variable LSR_CPU names a lesser one.
const Build& build();

}  // namespace lsr::cpu
