// One pixel on the device: its share of the sums, and its gradient.
#pragma once

#include "../lsr/activation.h"
#include "kernels.h"
#include "vector.h"

namespace lsr::cuda {

constexpr float kLog2E = 1.44269504f;

// exp(x) of a type's logits, x at most 0, by 2^x of the device. For float32 times 1 + what rounding the
// exponent left out: 3 ulp, as expf, which takes twice the instructions. The half types go without, off by at
// most 1e-6 where the result matters beside 1: at two bytes a logit instructions are what the time goes to.
template <class S>
LSR_DEVICE Compute<S> exponential(Compute<S> x) {
  if constexpr (sizeof(S) == 2) {
    return quick_exp2(x * kLog2E);
  } else if constexpr (sizeof(S) == 4) {
    const float bounded = bounded_below(x, -104.0f);  // of minus infinity what is left out would be no number
    const float exponent = bounded * kLog2E, e = quick_exp2(exponent);
    return fmaf(e, fmaf(exponent, -0.69314718f, bounded), e);
  } else {
    return exp_of(x);
  }
}

// The larger of both; of a number and none, the number.
LSR_DEVICE float larger(float a, float b) { return fmaxf(a, b); }
LSR_DEVICE double larger(double a, double b) { return fmax(a, b); }

// Turns the logits of all classes into exp(x_l - max).
template <class S, int L, class T>
LSR_DEVICE void exponentials(T* x) {
  T top = x[0];
#pragma unroll
  for (int l = 1; l < L; ++l) top = larger(top, x[l]);
#pragma unroll
  for (int l = 0; l < L; ++l) x[l] = exponential<S>(x[l] - top);
}

template <class S, class T>
LSR_DEVICE Logistic<T> quick_logistic(T x) {
  return logistic(x, exponential<S>(x > T{} ? -x : x));
}

// Adds a pixel's p and p (1 - p) to p_sums and q_sums; `counted` is 1, or 0 for a pixel that does not count.
// x holds the logits, and is used up. L classes that exclude each other, or one by itself. Of two classes p
// (1 - p) is the same: q_sums[0] alone has it.
//
// With e the exponentials, r = sum e - 1 and w = 1 / (1 + r): p = e w and p (1 - p) = e r w^2 + (e - e^2)
// w^2, where the last term vanishes for the top class instead of cancelling. r is the sum of all but one top
// class: of the lesser of each e and the largest before it. The device has min and max in one instruction,
// but no masks.
template <class S, int L, class T>
LSR_DEVICE void add_moments(T* x, T counted, T* p_sums, T* q_sums) {
  if constexpr (L == 1) {
    const Logistic<T> one = quick_logistic<S>(x[0]);
    const T w = one.inverse * counted;
    p_sums[0] += one.p * w;
    q_sums[0] += one.q * one.inverse * w;
  } else if constexpr (L == 2) {
    const Logistic<T> one = quick_logistic<S>(lead_of(x[0], x[1], larger(x[0], x[1])));
    const T w = one.inverse * counted;
    p_sums[0] += one.complement * w;
    p_sums[1] += one.p * w;
    q_sums[0] += one.q * one.inverse * w;
  } else {
    exponentials<S, L>(x);
    T rest{}, most = x[0];
#pragma unroll
    for (int l = 1; l < L; ++l) {
      rest += smaller(most, x[l]);
      most = larger(most, x[l]);
    }
    const T inverse = reciprocal(T{1} + rest), w = inverse * counted;
    const T squared = inverse * w, crossed = squared * rest;
#pragma unroll
    for (int l = 0; l < L; ++l) {
      p_sums[l] += x[l] * w;
      q_sums[l] += x[l] * crossed;
      q_sums[l] += (x[l] - x[l] * x[l]) * squared;
    }
  }
}

// Adds those of a vector's V pixels that count, by the bits of `counted`; read(j, x) gives the logits of
// pixel j, zeros where it does not count. Without a mask all of them do, or none beyond the image's end: a
// loop of its own that looks at no pixel.
template <class S, int L, int V, class T, class Read>
LSR_DEVICE void add_vector(bool masked, uint32_t counted, Read read, T* p_sums, T* q_sums) {
  T x[L];
  if (!masked) {
    if (counted == 0) return;
#pragma unroll
    for (int j = 0; j < V; ++j) {
      read(j, x);
      add_moments<S, L>(x, T{1}, p_sums, q_sums);
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const int is_counted = counted >> j & 1;
    read(j, x);
    add_moments<S, L>(x, static_cast<T>(is_counted), p_sums, q_sums);
  }
}

// Turns the logits x into d loss / d x_l, given d loss / d p = a + b p.
template <class S, int L, class T>
LSR_DEVICE void to_gradient(T* x, const T* a, const T* b) {
  if constexpr (L == 1) {
    const Logistic<T> one = quick_logistic<S>(x[0]);
    x[0] = (a[0] + b[0] * (one.p * one.inverse)) * (one.q * one.inverse * one.inverse);
  } else if constexpr (L == 2) {
    const Logistic<T> one = quick_logistic<S>(lead_of(x[0], x[1], larger(x[0], x[1])));
    const T difference = a[1] - a[0] + (b[1] * one.p - b[0] * one.complement) * one.inverse;
    x[1] = difference * (one.q * one.inverse * one.inverse);
    x[0] = -x[1];
  } else {
    T p[L];
    exponentials<S, L>(x);
    softmax_gradient<L, T, T>(L, x, p, x, a, b);
  }
}

LSR_DEVICE double scale_of(const GradientSource& source) {
  if (!source.scale) return 1;
  return source.wide_scale ? *static_cast<const double*>(source.scale)
                           : *static_cast<const float*>(source.scale);
}

}  // namespace lsr::cuda
