// The kernels of one type of logits, each type in a source file of its own.
#pragma once

#include "kernels.h"
#include "sums.h"
#include "vector.h"

namespace lsr::cuda {

template <class S>
struct Launcher {
  static Plan plan(const Pixels& pixels);
  static void moments(const Pixels& pixels, const Plan& plan, const MomentSums& sums, LsrStream stream);
  static void gradient(const Pixels& pixels, const GradientSource& source, const Array& out,
                       LsrStream stream);
};

}  // namespace lsr::cuda
