// The two pixel kernels over a run: consecutive pixels of one block, class by class in rows of lanes.
#pragma once

#include <cstdint>

#include "transpose.h"
#include "vec.h"  // before anything that includes lsr/activation.h

#include "../lsr/activation.h"

namespace lsr {
namespace {  // each build of the kernels keeps its own code

constexpr int kFlush = 32;  // single-precision additions a lane takes before it is widened

// The type that a stored type is computed in.
template <class S>
struct ComputeType {
  using Type = float;
};
template <>
struct ComputeType<double> {
  using Type = double;
};
template <class S>
using Compute = typename ComputeType<S>::Type;

// Pixels 0 .. count of each class l at data + l * stride.
template <class T>
struct Rows {
  T* data;
  int64_t stride;
};

// Which of the `count` lanes at a pixel are valid.
template <class T>
LSR_HD typename Vec<T>::Mask valid_lanes(const uint8_t* mask, int count) {
  typename Vec<T>::Bits valid[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) valid[i] = i < count && (!mask || mask[i]) ? -1 : 0;
  return load_bits<typename Vec<T>::Mask>(valid);
}

// A row's next lanes; of the last ones only `count`, and zeros.
template <class S>
LSR_HD auto load_some(const S* from, int count) {
  constexpr int lanes = kLanes<Compute<S>>;
  if (count >= lanes) return load_lanes(from);
  S some[lanes] = {};
  for (int i = 0; i < count; ++i) some[i] = from[i];
  return load_lanes(some);
}

template <class S, class V>
LSR_HD void store_some(S* to, V lanes, int count) {
  constexpr int most = kLanes<Compute<S>>;
  if (count >= most) return store_lanes(to, lanes);
  S some[most];
  store_lanes(some, lanes);
  for (int i = 0; i < count; ++i) to[i] = some[i];
}

// Sums of p and q per class: single-precision lanes, emptied into double ones before they lose digits.
template <class T, int Static>
struct LaneSums {
  Lanes<T>* p;
  Lanes<T>* q;
  double* wide;  // (2, classes, lanes)

  LSR_HD void flush(int classes) {
    const int count = Static ? Static : classes;
    for (int l = 0; l < count; ++l) {
      for (int i = 0; i < kLanes<T>; ++i) {
        wide[l * kLanes<T> + i] += p[l][i];
        wide[(count + l) * kLanes<T> + i] += q[l][i];
      }
      p[l] = q[l] = Lanes<T>{};
    }
  }

  LSR_HD void add_to(int classes, double* S, double* Q) const {
    const int count = Static ? Static : classes;
    for (int l = 0; l < count; ++l) {
      for (int i = 0; i < kLanes<T>; ++i) {
        S[l] += wide[l * kLanes<T> + i];
        Q[l] += wide[(count + l) * kLanes<T> + i];
      }
    }
  }
};

// Numerators and weights of every class at one vector of pixels, handed to `take(l, p, q, weights)`.
template <int Static, class V, class Load, class Take>
LSR_HD void moments_at(Activation activation, int classes, Load load, V* e, Take take) {
  const int count = Static ? Static : classes;
  if (activation == Activation::kSigmoid) {
    for (int l = 0; l < count; ++l) {
      const Logistic<V> one = logistic<V>(load(l));
      take(l, one.p, one.q, Weights<V>{one.inverse, one.inverse * one.inverse});
    }
  } else if (count == 2) {
    const Logistic<V> one = logistic<V>(load(1) - load(0));
    const Weights<V> weights{one.inverse, one.inverse * one.inverse};
    take(0, one.complement, one.q, weights);
    take(1, one.p, one.q, weights);
  } else {
    softmax_moments<Static, V>(classes, load, e, take);
  }
}

// d loss / d x of every class at one vector of pixels, handed to `store(l, value)`.
template <int Static, class T, class V, class Load, class Store>
LSR_HD void gradient_at(Activation activation, int classes, Load load, V* e, V* v, const T* a, const T* b,
                        Store store) {
  const int count = Static ? Static : classes;
  if (activation == Activation::kSigmoid) {
    for (int l = 0; l < count; ++l) {
      const Logistic<V> one = logistic<V>(load(l));
      store(l, (a[l] + b[l] * (one.p * one.inverse)) * (one.q * one.inverse * one.inverse));
    }
  } else if (count == 2) {
    const Logistic<V> one = logistic<V>(load(1) - load(0));
    const V difference = a[1] - a[0] + (b[1] * one.p - b[0] * one.complement) * one.inverse;
    const V slope = difference * (one.q * one.inverse * one.inverse);
    store(0, -slope);
    store(1, slope);
  } else {
    softmax_gradient<Static, T, V>(classes, load, e, v, a, b, store);
  }
}

// Adds the sums of p and p (1 - p) over a run to sums_p and sums_q. `scratch` is scratch_bytes<T>(classes)
// long.
template <int Static, class S>
void moments_run(Rows<const S> rows, int64_t count, const uint8_t* mask, Activation activation, int classes,
                 double* sums_p, double* sums_q, void* scratch) {
  using T = Compute<S>;
  using V = Lanes<T>;
  V local[3 * (Static ? Static : 1)] = {};
  double local_wide[2 * (Static ? Static : 1) * kLanes<T>] = {};
  V* lanes = Static ? local : static_cast<V*>(scratch);
  double* wide = Static ? local_wide : reinterpret_cast<double*>(lanes + 3 * classes);
  if (!Static) std::memset(scratch, 0, 3 * classes * sizeof(V) + 2 * classes * kLanes<T> * sizeof(double));
  V* e = lanes;
  LaneSums<T, Static> sums{lanes + (Static ? Static : classes), lanes + 2 * (Static ? Static : classes),
                           wide};

  const int64_t full = mask ? 0 : count / kLanes<T> * kLanes<T>;
  for (int64_t i = 0; i < full;) {
    const int64_t stop = i + kFlush * kLanes<T> < full ? i + kFlush * kLanes<T> : full;
    for (; i < stop; i += kLanes<T>) {
      moments_at<Static, V>(
          activation, classes, [&](int l) LSR_LAMBDA { return load_lanes(rows.data + l * rows.stride + i); },
          e,
          [&](int l, V p, V q, Weights<V> weights) LSR_LAMBDA {
            sums.p[l] += p * weights.p;
            sums.q[l] += q * weights.q;
          });
    }
    sums.flush(classes);
  }
  for (int64_t i = full; i < count;) {
    const int64_t stop = i + kFlush * kLanes<T> < count ? i + kFlush * kLanes<T> : count;
    for (; i < stop; i += kLanes<T>) {
      const int some = static_cast<int>(count - i < kLanes<T> ? count - i : kLanes<T>);
      const auto valid = valid_lanes<T>(mask ? mask + i : nullptr, some);
      moments_at<Static, V>(
          activation, classes,
          [&](int l)
              LSR_LAMBDA { return select(valid, load_some(rows.data + l * rows.stride + i, some), V{}); },
          e,
          [&](int l, V p, V q, Weights<V> weights) LSR_LAMBDA {
            sums.p[l] += p * select(valid, weights.p, V{});
            sums.q[l] += q * select(valid, weights.q, V{});
          });
    }
    sums.flush(classes);
  }
  sums.add_to(classes, sums_p, sums_q);
}

// Writes the gradient over a run; 0 where a pixel is not valid. `out` may be `rows`.
template <int Static, class S>
void gradient_run(Rows<const S> rows, int64_t count, const uint8_t* mask, Activation activation, int classes,
                  const Compute<S>* a, const Compute<S>* b, Rows<S> out, void* scratch) {
  using T = Compute<S>;
  using V = Lanes<T>;
  V local[2 * (Static ? Static : 1)];
  V* e = Static ? local : static_cast<V*>(scratch);
  V* v = e + (Static ? Static : classes);
  const int64_t full = mask ? 0 : count / kLanes<T> * kLanes<T>;
  int64_t i = 0;
  for (; i < full; i += kLanes<T>) {
    gradient_at<Static, T, V>(
        activation, classes, [&](int l) LSR_LAMBDA { return load_lanes(rows.data + l * rows.stride + i); }, e,
        v, a, b, [&](int l, V value) LSR_LAMBDA { store_lanes(out.data + l * out.stride + i, value); });
  }
  for (; i < count; i += kLanes<T>) {
    const int some = static_cast<int>(count - i < kLanes<T> ? count - i : kLanes<T>);
    const auto valid = valid_lanes<T>(mask ? mask + i : nullptr, some);
    gradient_at<Static, T, V>(
        activation, classes,
        [&](int l) LSR_LAMBDA { return load_some(rows.data + l * rows.stride + i, some); }, e, v, a, b,
        [&](int l, V value)
            LSR_LAMBDA { store_some(out.data + l * out.stride + i, select(valid, value, V{}), some); });
  }
}

template <class T>
constexpr int64_t scratch_bytes(int classes) {
  return 3 * classes * sizeof(Lanes<T>) + 2 * classes * kLanes<T> * sizeof(double);
}

}  // namespace
}  // namespace lsr
