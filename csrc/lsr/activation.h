// Probabilities of one pixel, their Bernoulli variances and the gradient back through them.
//
// V is a scalar or a vector of lanes, one pixel a lane; exp_of(V) and select(mask, V, V) are found by the
// type. p (1 - p) is never formed by subtracting from one: for a decided pixel that would cancel.
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

// The logistic function of x and of -x, and the product of the two.
template <class V>
struct Logistic {
  V p, complement, q;
};

template <class V>
LSR_HD Logistic<V> logistic(V x) {
  const V e = exp_of(select(x > V{}, -x, x));
  const V larger = 1.0f / (1.0f + e);
  const V smaller = e * larger;
  const auto positive = x > V{};
  return {select(positive, larger, smaller), select(positive, smaller, larger), smaller * larger};
}

// What follows from e_l = exp(x_l - max) of all classes.
template <class V>
struct SoftmaxSum {
  V sum, inverse;
  V others;  // sum - 1, added up without the top class, so that it keeps its digits as it vanishes
};

// Fills e with exp(x_l - max); `load(l)` gives x_l. Static is the number of classes where it is known.
template <int Static, class V, class Load>
LSR_HD SoftmaxSum<V> softmax_terms(int classes, Load load, V* e) {
  const int count = Static ? Static : classes;
  // 1. The largest logit.
  V top = load(0);
  e[0] = top;
  for (int l = 1; l < count; ++l) {
    e[l] = load(l);
    top = select(e[l] > top, e[l], top);
  }
  // 2. Exponentials. Each class at the top counts 1; all of them but one belong to the others.
  V rest{}, at_top{};
  const V one = V{} + 1.0f;
  for (int l = 0; l < count; ++l) {
    e[l] = exp_of(e[l] - top);
    rest += select(e[l] == one, V{}, e[l]);
    at_top += select(e[l] == one, one, V{});
  }
  const V others = rest + (at_top - one);
  const V sum = one + others;
  return {sum, one / sum, others};
}

// p (1 - p) of a class with exponential e.
template <class V>
LSR_HD V softmax_q(const SoftmaxSum<V>& terms, V e) {
  const V complement = select(e == V{} + 1.0f, terms.others, terms.sum - e);
  return e * terms.inverse * (complement * terms.inverse);
}

// d loss / d x_l = p_l (u_l - sum_m p_m u_m) with u = a + b p, handed to `store(l, value)`.
// All u are taken relative to the top class's, whose own term then vanishes instead of cancelling.
template <int Static, class T, class V, class Store>
LSR_HD void softmax_gradient(int classes, const SoftmaxSum<V>& terms, V* e, const T* a, const T* b,
                             Store store) {
  const int count = Static ? Static : classes;
  V pivot{};
  for (int l = 0; l < count; ++l) {
    pivot = select(e[l] == V{} + 1.0f, a[l] + b[l] * terms.inverse, pivot);
  }
  V dot{};
  for (int l = 0; l < count; ++l) {
    e[l] = e[l] * terms.inverse;
    dot += e[l] * (a[l] + b[l] * e[l] - pivot);
  }
  for (int l = 0; l < count; ++l) {
    store(l, e[l] * (a[l] + b[l] * e[l] - pivot - dot));
  }
}

}  // namespace lsr
