// What the kernels are given, on the CPU and on a CUDA device.
#pragma once

#include <cstdint>

#include "activation.h"

namespace lsr {

enum class Scalar : int32_t { kFloat32, kFloat64, kBFloat16, kFloat16 };

// A (N, L, H, W) array in place, whatever its strides (in elements).
struct Array {
  void* data;
  Scalar scalar;
  int64_t image_stride, class_stride, row_stride, pixel_stride;
};

// The logits, and which block each pixel belongs to: image k is block k, or as block_ids say.
struct Pixels {
  Array logits;
  int64_t images, classes, height, width;
  const uint8_t* mask;       // (N, H, W), or null: all pixels are valid
  const int32_t* block_ids;  // (N, H, W), or null; below 0 = no block
  int64_t blocks;
  Activation activation;
};

}  // namespace lsr
