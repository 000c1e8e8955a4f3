// What the kernels keep of a part of a run while they work on it.
#pragma once

#include <cstdint>
#include <new>

#include "exp.h"  // before anything that includes lsr/activation.h
#include "layouts.h"

namespace lsr {
namespace {

// Vectors of pixels in a part of a run, an even number: their exponentials stay in the first-level cache.
constexpr int kPartVectors = 16;  // at most
constexpr int part_vectors(int classes) {
  return classes <= 16 ? kPartVectors : classes <= 64 ? 128 / classes * 2 : 2;
}

// Memory, on the stack where it is enough: from the heap, taken and given back at every call, it would have
// malloc tidy up each time, and the system clear pages.
template <int64_t kOwnBytes>
class Buffer {
 public:
  explicit Buffer(int64_t bytes)
      : data_(bytes <= kOwnBytes ? own_ : ::operator new(static_cast<size_t>(bytes), kAlignment)) {}
  ~Buffer() {
    if (data_ != own_) ::operator delete(data_, kAlignment);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  void* data_;
  alignas(64) char own_[kOwnBytes];
};

// Room for a part's exponentials; for the sums, or a group's gradient of a number of classes that is not
// Static; for the copy of a part, and which of its pixels count.
template <class S>
class Scratch {
  using T = Compute<S>;
  using V = Lanes<T>;

 public:
  explicit Scratch(int classes)
      : classes_(classes), pixels_(part_vectors(classes) * kLanes<T>), buffer_(offset(kEnd)) {}

  V* lanes() const { return at<V>(kExponentials); }
  V* sums() const { return at<V>(kSums); }  // (2, classes)
  double* wide_sums() const { return at<double>(kWideSums); }
  Pointer<S> rows() const { return {at<S>(kRows), pixels_, 1}; }
  Counted<S>* counted() const { return at<Counted<S>>(kCounted); }
  void clear_sums() const { std::memset(sums(), 0, offset(kRows) - offset(kSums)); }

 private:
  enum Piece { kExponentials, kSums, kWideSums, kRows, kCounted, kEnd };
  int64_t offset(Piece piece) const {
    const int64_t sizes[] = {pixels_ * classes_ * int64_t{sizeof(T)}, 2 * classes_ * int64_t{sizeof(V)},
                             2 * classes_ * kLanes<T> * int64_t{sizeof(double)},
                             pixels_ * classes_ * int64_t{sizeof(S)}, pixels_ * int64_t{sizeof(Counted<S>)}};
    int64_t bytes = 0;
    for (int i = 0; i < piece; ++i) bytes += sizes[i];
    return bytes;
  }
  template <class E>
  E* at(Piece piece) const {
    return reinterpret_cast<E*>(buffer_.data() + offset(piece));
  }

  int64_t classes_, pixels_;
  Buffer<(24 << 10)> buffer_;  // enough for eight classes, and small enough for any thread's stack
};

}  // namespace
}  // namespace lsr
