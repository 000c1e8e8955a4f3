// What the kernels compute of one pixel, in long double.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "lsr/pixels.h"

namespace lsr {

struct ExactPixel {
  std::vector<long double> p;
  // d loss / d logit, and the sum of its terms without their signs: what rounding errors are relative to, for
  // the terms may cancel.
  std::vector<long double> gradient, terms;
};

// From the pixel's logits and its block's coefficients, one a class.
inline ExactPixel exact_pixel(const std::vector<long double>& x, const double* a, const double* b,
                              long double scale, Activation activation) {
  const bool softmax = activation == Activation::kSoftmax;
  ExactPixel pixel{x, x, x};
  long double dot = 0, dot_terms = 0;
  for (size_t l = 0; l < x.size(); ++l) {
    long double sum = softmax ? 0 : 1 + expl(-x[l]);
    for (size_t m = 0; softmax && m < x.size(); ++m) sum += expl(x[m] - x[l]);
    const long double p = pixel.p[l] = 1 / sum;
    dot += p * (a[l] + b[l] * p);
    dot_terms += p * (fabsl(a[l]) + fabsl(b[l]) * p);
  }
  for (size_t l = 0; l < x.size(); ++l) {
    const long double p = pixel.p[l], u = a[l] + b[l] * p;
    pixel.gradient[l] = scale * p * (softmax ? u - dot : u * (1 - p));
    pixel.terms[l] = scale * p * (fabsl(a[l]) + fabsl(b[l]) * p + (softmax ? dot_terms : 0));
  }
  return pixel;
}

}  // namespace lsr
