// The two pixel kernels over a run: consecutive pixels of one block, class by class in rows of lanes.
#pragma once

#include <cstdint>

#include "vec.h"  // before anything that includes lsr/activation.h

#include "../lsr/activation.h"

namespace lsr {
namespace {  // each build of the kernels keeps its own code

constexpr int kFlush = 32;  // single-precision additions a lane takes before it is widened

// Pixels 0 .. count of each class l at data + l * stride.
template <class T>
struct Rows {
  T* data;
  int64_t stride;
};

template <class T>
using Lanes = typename Vec<T>::Lanes;

// Which of the `count` lanes at a pixel are valid.
template <class T>
LSR_HD typename Vec<T>::Mask valid_lanes(const uint8_t* mask, int count) {
  typename Vec<T>::Bits valid[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) valid[i] = i < count && (!mask || mask[i]) ? -1 : 0;
  return load_lanes<typename Vec<T>::Mask>(valid);
}

// A row's next lanes; of the last ones only `count`, and zeros.
template <class T>
LSR_HD Lanes<T> load_some(const T* from, int count) {
  if (count >= kLanes<T>) return load_lanes<Lanes<T>>(from);
  T some[kLanes<T>] = {};
  for (int i = 0; i < count; ++i) some[i] = from[i];
  return load_lanes<Lanes<T>>(some);
}

template <class T>
LSR_HD void store_some(T* to, Lanes<T> lanes, int count) {
  if (count >= kLanes<T>) return store_lanes(to, lanes);
  T some[kLanes<T>];
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

// p and q of every class at one vector of pixels, handed to `take(l, p, q)`.
template <int Static, class V, class Load, class Take>
LSR_HD void probabilities(Activation activation, int classes, Load load, V* e, Take take) {
  const int count = Static ? Static : classes;
  if (activation == Activation::kSigmoid) {
    for (int l = 0; l < count; ++l) {
      const Logistic<V> one = logistic<V>(load(l));
      take(l, one.p, one.q);
    }
  } else if (count == 2) {
    const Logistic<V> one = logistic<V>(load(1) - load(0));
    take(0, one.complement, one.q);
    take(1, one.p, one.q);
  } else {
    const SoftmaxSum<V> terms = softmax_terms<Static, V>(classes, load, e);
    for (int l = 0; l < count; ++l) take(l, e[l] * terms.inverse, softmax_q(terms, e[l]));
  }
}

// d loss / d x of every class at one vector of pixels, handed to `store(l, value)`.
template <int Static, class T, class V, class Load, class Store>
LSR_HD void gradients(Activation activation, int classes, Load load, V* e, const T* a, const T* b,
                      Store store) {
  const int count = Static ? Static : classes;
  if (activation == Activation::kSigmoid) {
    for (int l = 0; l < count; ++l) {
      const Logistic<V> one = logistic<V>(load(l));
      store(l, (a[l] + b[l] * one.p) * one.q);
    }
  } else if (count == 2) {
    const Logistic<V> one = logistic<V>(load(1) - load(0));
    const V slope = (a[1] - a[0] + b[1] * one.p - b[0] * one.complement) * one.q;
    store(0, -slope);
    store(1, slope);
  } else {
    const SoftmaxSum<V> terms = softmax_terms<Static, V>(classes, load, e);
    softmax_gradient<Static>(classes, terms, e, a, b, store);
  }
}

// Adds the sums of p and p (1 - p) over a run to S and Q. `scratch` is scratch_bytes<T>(classes) long.
template <int Static, class T>
void moments_run(Rows<const T> rows, int64_t count, const uint8_t* mask, Activation activation, int classes,
                 double* S, double* Q, void* scratch) {
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
      probabilities<Static, V>(
          activation, classes,
          [&](int l) LSR_LAMBDA { return load_lanes<V>(rows.data + l * rows.stride + i); }, e,
          [&](int l, V p, V q) LSR_LAMBDA {
            sums.p[l] += p;
            sums.q[l] += q;
          });
    }
    sums.flush(classes);
  }
  for (int64_t i = full; i < count;) {
    const int64_t stop = i + kFlush * kLanes<T> < count ? i + kFlush * kLanes<T> : count;
    for (; i < stop; i += kLanes<T>) {
      const int some = static_cast<int>(count - i < kLanes<T> ? count - i : kLanes<T>);
      const auto valid = valid_lanes<T>(mask ? mask + i : nullptr, some);
      probabilities<Static, V>(
          activation, classes,
          [&](int l) LSR_LAMBDA { return load_some<T>(rows.data + l * rows.stride + i, some); }, e,
          [&](int l, V p, V q) LSR_LAMBDA {
            sums.p[l] += select(valid, p, V{});
            sums.q[l] += select(valid, q, V{});
          });
    }
    sums.flush(classes);
  }
  sums.add_to(classes, S, Q);
}

// Writes the gradient over a run; 0 where a pixel is not valid. `out` may be `rows`.
template <int Static, class T>
void gradient_run(Rows<const T> rows, int64_t count, const uint8_t* mask, Activation activation, int classes,
                  const T* a, const T* b, Rows<T> out, void* scratch) {
  using V = Lanes<T>;
  V local[Static ? Static : 1];
  V* e = Static ? local : static_cast<V*>(scratch);
  const int64_t full = mask ? 0 : count / kLanes<T> * kLanes<T>;
  int64_t i = 0;
  for (; i < full; i += kLanes<T>) {
    gradients<Static, T, V>(
        activation, classes, [&](int l) LSR_LAMBDA { return load_lanes<V>(rows.data + l * rows.stride + i); },
        e, a, b, [&](int l, V value) LSR_LAMBDA { store_lanes(out.data + l * out.stride + i, value); });
  }
  for (; i < count; i += kLanes<T>) {
    const int some = static_cast<int>(count - i < kLanes<T> ? count - i : kLanes<T>);
    const auto valid = valid_lanes<T>(mask ? mask + i : nullptr, some);
    gradients<Static, T, V>(
        activation, classes,
        [&](int l) LSR_LAMBDA { return load_some<T>(rows.data + l * rows.stride + i, some); }, e, a, b,
        [&](int l, V value)
            LSR_LAMBDA { store_some<T>(out.data + l * out.stride + i, select(valid, value, V{}), some); });
  }
}

template <class T>
constexpr int64_t scratch_bytes(int classes) {
  return 3 * classes * sizeof(Lanes<T>) + 2 * classes * kLanes<T> * sizeof(double);
}

}  // namespace
}  // namespace lsr
