// Probabilities of one pixel, their Bernoulli variances and the gradient back through them.
//
// V is a scalar or a vector of lanes, one pixel a lane; exp_of(V), select(mask, V, V) and the like are found
// by the type. 1 - p is never formed by subtracting from one: for a decided pixel that would cancel.
#pragma once

#include <cmath>
#include <cstdint>

#include "macros.h"

namespace lsr {

enum class Activation : int32_t { kSoftmax, kSigmoid };

LSR_HD float select(bool mask, float a, float b) { return mask ? a : b; }
LSR_HD double select(bool mask, double a, double b) { return mask ? a : b; }
LSR_HD float at_least(float least, float x) { return least > x ? least : x; }
LSR_HD double at_least(double least, double x) { return least > x ? least : x; }
LSR_HD float minus_abs(float x) { return x > 0 ? -x : x; }
LSR_HD double minus_abs(double x) { return x > 0 ? -x : x; }
LSR_HD float exp_of(float x) { return ::expf(x); }
LSR_HD double exp_of(double x) { return ::exp(x); }
LSR_HD float inverse_of(float x) { return 1.0f / x; }
LSR_HD double inverse_of(double x) { return 1.0 / x; }

// Of two logits, how far the second lies above the first, given the larger; no number where that is infinity,
// as with more classes.
template <class V>
LSR_HD V lead_of(V first, V second, V larger) {
  return second - first + 0.0f * larger;
}

// The logistic function as numerators: of p, of 1 - p, and of their product.
template <class V>
struct Logistic {
  V p, complement, q;
  V inverse;
};

template <class V>
LSR_HD Logistic<V> logistic(V x, V e) {  // e = exp(-|x|)
  const V one = V{} + 1.0f;
  const auto positive = x > V{};
  return {select(positive, one, e), select(positive, e, one), e, inverse_of(one + e)};
}

template <class V>
LSR_HD Logistic<V> logistic(V x) {
  return logistic(x, exp_of(minus_abs(x)));
}

// From the exponentials, d loss / d x_l = p_l (u_l - sum_m p_m u_m) with u = a + b p, written to g.
// All u are taken relative to the top class's, whose own term then vanishes instead of cancelling. p is room
// for a value per class, and may be e.
template <int Static, class T, class V>
LSR_HD void softmax_gradient(int classes, const V* e, V* p, V* g, const T* a, const T* b) {
  const V one = V{} + 1.0f;
  V sum{}, pivot{}, dot{};
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA { sum += e[l]; });
  const V inverse = inverse_of(sum);
  for_classes<Static>(classes,
                      [&](int l) LSR_LAMBDA { pivot = select(e[l] == one, a[l] + b[l] * inverse, pivot); });
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
    p[l] = e[l] * inverse;
    g[l] = a[l] + b[l] * p[l] - pivot;
    dot += p[l] * g[l];
  });
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA { g[l] = p[l] * (g[l] - dot); });
}

}  // namespace lsr
