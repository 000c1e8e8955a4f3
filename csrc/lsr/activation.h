// Probabilities of one pixel, their Bernoulli variances and the gradient back through them.
//
// V is a scalar or a vector of lanes, one pixel a lane; exp_of(V) and select(mask, V, V) are found by the
// type. 1 - p is never formed by subtracting from one: for a decided pixel that would cancel.
#pragma once

#include <cmath>
#include <cstdint>

#include "macros.h"

namespace lsr {

enum class Activation : int32_t { kSoftmax, kSigmoid };

LSR_HD float select(bool mask, float a, float b) { return mask ? a : b; }
LSR_HD double select(bool mask, double a, double b) { return mask ? a : b; }
LSR_HD float exp_of(float x) { return ::expf(x); }
LSR_HD double exp_of(double x) { return ::exp(x); }

// p and p (1 - p) of a class are kept as numerators over what all classes of a pixel share:
// p = e / sum, p (1 - p) = e (sum - e) / sum^2.
template <class V>
struct Weights {
  V p, q;  // 1 / sum and 1 / sum^2; 0 where a pixel does not count
};

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
  return {select(positive, one, e), select(positive, e, one), e, one / (one + e)};
}

template <class V>
LSR_HD Logistic<V> logistic(V x) {
  return logistic(x, exp_of(select(x > V{}, -x, x)));
}

// Turns the logits x of all classes into exp(x_l - max). Static is the number of classes where it is known.
template <int Static, class V>
LSR_HD void softmax_exponentials(int classes, V* x) {
  V top = x[0];
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA { top = select(x[l] > top, x[l], top); });
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA { x[l] = exp_of(x[l] - top); });
}

// From the exponentials, numerators of p and of p (1 - p): take(l, e_l, e_l (sum - e_l), weights).
template <int Static, class V, class Take>
LSR_HD void softmax_moments(int classes, const V* e, Take take) {
  const V one = V{} + 1.0f;
  V sum{}, rest{};
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
    sum += e[l];
    rest = select(e[l] == one, rest, rest + e[l]);
  });
  // The sum without one class at the top. Where several tie for it, nothing cancels in sum - 1.
  const V others = select(sum - rest > one + 0.5f, sum - one, rest);
  const V inverse = one / (one + others);
  const Weights<V> weights{inverse, inverse * inverse};
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA {
    take(l, e[l], e[l] * select(e[l] == one, others, sum - e[l]), weights);
  });
}

// From the exponentials, d loss / d x_l = p_l (u_l - sum_m p_m u_m) with u = a + b p, written to g.
// All u are taken relative to the top class's, whose own term then vanishes instead of cancelling. p is room
// for a value per class.
template <int Static, class T, class V>
LSR_HD void softmax_gradient(int classes, const V* e, V* p, V* g, const T* a, const T* b) {
  const V one = V{} + 1.0f;
  V sum{}, pivot{}, dot{};
  for_classes<Static>(classes, [&](int l) LSR_LAMBDA { sum += e[l]; });
  const V inverse = one / sum;
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
