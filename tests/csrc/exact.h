// What the kernels compute of one pixel, in long double, and how far off they may be.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "lsr/pixels.h"

namespace lsr {

// Of a type: the relative error of a probability, the smallest number beside 0 that is computed, and the
// errors of storing a gradient, relative to it and beside that.
struct Precision {
  long double computed, smallest, stored, stored_beside;
};

// A value a class: p, p (1 - p), d loss / d logit, and the error that is allowed of it.
struct ExactPixel {
  std::vector<long double> p, q, gradient, allowed;
};

// From the pixel's logits and its block's coefficients, one a class. Nothing is subtracted that would cancel,
// and the error that is allowed has no part that cancels: the gradient of a pixel whose class is decided is
// held to its own size.
inline ExactPixel exact_pixel(const std::vector<long double>& x, const double* a, const double* b,
                              long double scale, Activation activation, const Precision& type) {
  const bool softmax = activation == Activation::kSoftmax;
  const size_t classes = x.size(), top = std::max_element(x.begin(), x.end()) - x.begin();
  const std::vector<long double> zeros(classes);
  ExactPixel pixel{zeros, zeros, zeros, zeros};
  std::vector<long double> u = zeros, terms = zeros, error = zeros;
  // 1. Probabilities, u = a + b p, and the sum of its terms without their signs. A probability is off by more
  // the
  //    further its logit lies from the largest: that distance is rounded.
  for (size_t l = 0; l < classes; ++l) {
    long double others = softmax ? 0 : expl(-x[l]);  // 1 / p - 1
    for (size_t m = 0; softmax && m < classes; ++m) others += m == l ? 0 : expl(x[m] - x[l]);
    const long double p = pixel.p[l] = 1 / (1 + others), q = pixel.q[l] = p * (others / (1 + others));
    u[l] = a[l] + b[l] * p;
    terms[l] = fabsl(a[l]) + fabsl(b[l]) * p;
    const long double factor = softmax ? p : q;
    error[l] = type.computed * factor * (1 - logl(factor) / 32) + type.smallest;
  }
  // 2. Of exclusive classes, u relative to that of the top class.
  long double dot = 0, dot_terms = 0;
  for (size_t l = 0; softmax && l < classes; ++l) {
    if (l == top) continue;
    u[l] = (static_cast<long double>(a[l]) - a[top]) + b[l] * pixel.p[l] - b[top] * pixel.p[top];
    terms[l] += terms[top];
    dot += pixel.p[l] * u[l];
    dot_terms += error[l] / type.computed * terms[l];
  }
  if (softmax) u[top] = terms[top] = 0;
  // 3. The gradient.
  for (size_t l = 0; l < classes; ++l) {
    pixel.gradient[l] = scale * (softmax ? pixel.p[l] * (u[l] - dot) : pixel.q[l] * u[l]);
    pixel.allowed[l] = scale * error[l] * (terms[l] + dot_terms) + type.stored * fabsl(pixel.gradient[l]) +
                       type.stored_beside;
  }
  return pixel;
}

}  // namespace lsr
