// What the kernels compute of one pixel, in long double, and how far off they may be.
#pragma once

#include <cmath>
#include <vector>

#include "lsr/pixels.h"

namespace lsr {

// Relative errors, and the smallest numbers beside 0, in which a type is computed and stored.
struct Precision {
  long double computed, computed_smallest, stored, stored_smallest;
};

struct ExactPixel {
  std::vector<long double> p, q, gradient;  // one a class; q = p (1 - p)
  std::vector<long double> slope;           // how much of p's error the gradient has at most

  // Probabilities are off by more the further a logit lies from the largest, where the distance is rounded.
  long double allowed_error(size_t l, const Precision& type) const {
    const long double p_error = type.computed * p[l] * (1 - logl(p[l]) / 32) + type.computed_smallest;
    return p_error * slope[l] + type.stored * fabsl(gradient[l]) + type.stored_smallest;
  }
};

// From the pixel's logits and its block's coefficients, one a class.
inline ExactPixel exact_pixel(const std::vector<long double>& x, const double* a, const double* b,
                              long double scale, Activation activation) {
  const bool softmax = activation == Activation::kSoftmax;
  ExactPixel pixel{x, x, x, x};
  long double dot = 0, dot_terms = 0;
  for (size_t l = 0; l < x.size(); ++l) {
    long double others = softmax ? 0 : expl(-x[l]);  // 1 / p - 1, without a difference that cancels
    for (size_t m = 0; softmax && m < x.size(); ++m) others += m == l ? 0 : expl(x[m] - x[l]);
    const long double p = pixel.p[l] = 1 / (1 + others);
    pixel.q[l] = p * (others / (1 + others));
    dot += p * (a[l] + b[l] * p);
    dot_terms += p * (fabsl(a[l]) + fabsl(b[l]) * p);
  }
  for (size_t l = 0; l < x.size(); ++l) {
    const long double p = pixel.p[l], u = a[l] + b[l] * p;
    pixel.gradient[l] = scale * (softmax ? p * (u - dot) : pixel.q[l] * u);
    pixel.slope[l] = scale * (fabsl(a[l]) + fabsl(b[l]) * p + (softmax ? dot_terms : 0));
  }
  return pixel;
}

}  // namespace lsr
