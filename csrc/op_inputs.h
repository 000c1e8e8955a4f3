// The operators' arguments, checked and made contiguous, as the kernels take them.
//
// Each holds the tensors that it points into. Their values are not read: on a device the host would have to
// wait.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <string>

#include "lsr/pixels.h"
#include "parse_options.h"

namespace lsr {
namespace {  // torch hides Tensor, and so what holds one

using torch::headeronly::IntHeaderOnlyArrayRef;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

inline Scalar scalar_of(const Tensor& logits) {
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      return Scalar::kFloat32;
    case ScalarType::Double:
      return Scalar::kFloat64;
    case ScalarType::BFloat16:
      return Scalar::kBFloat16;
    case ScalarType::Half:
      return Scalar::kFloat16;
    default:
      STD_TORCH_CHECK(false, "logits must be float32, float64, bfloat16 or float16");
  }
}

inline Array array_of(const Tensor& x) {
  return {x.data_ptr(), scalar_of(x), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

// An argument beside the logits: on their device, and contiguous.
inline Tensor dense(const Tensor& in, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(in.get_device_index() == logits.get_device_index() && in.is_cuda() == logits.is_cuda(),
                  name, " must be on the logits' device");
  return in.is_contiguous() ? in : torch::stable::contiguous(in);
}

// A mask or block ids (N, H, W), where they are given.
inline OptionalTensor dense_map(const OptionalTensor& in, const Tensor& logits, ScalarType type,
                                const char* name) {
  if (!in) return {};
  STD_TORCH_CHECK(in->scalar_type() == type, name, " has the wrong dtype");
  STD_TORCH_CHECK(in->dim() == 3 && in->size(0) == logits.size(0) && in->size(1) == logits.size(2) &&
                      in->size(2) == logits.size(3),
                  name, " must have the logits' (N, H, W)");
  return dense(*in, logits, name);
}

// The logits with their mask and block ids.
struct PixelInput {
  PixelInput(const Tensor& logits_in, const OptionalTensor& mask_in, const OptionalTensor& ids_in,
             int64_t blocks, const std::string& activation)
      : logits(logits_in) {
    STD_TORCH_CHECK(logits.dim() == 4, "logits must have shape (N, L, H, W), got ", logits.dim(),
                    " dimensions");
    mask = dense_map(mask_in, logits, ScalarType::Bool, "mask");
    ids = dense_map(ids_in, logits, ScalarType::Int, "block_ids");
    STD_TORCH_CHECK(ids || blocks == logits.size(0), "without block_ids every image is a block: expected ",
                    logits.size(0), " blocks, got ", blocks);
    pixels = {array_of(logits),
              logits.size(0),
              logits.size(1),
              logits.size(2),
              logits.size(3),
              mask ? static_cast<const uint8_t*>(mask->const_data_ptr()) : nullptr,
              ids ? static_cast<const int32_t*>(ids->const_data_ptr()) : nullptr,
              blocks,
              parse_activation(activation)};
    STD_TORCH_CHECK(pixels.classes >= 1, "logits need at least one class, got 0");
    STD_TORCH_CHECK(pixels.activation == Activation::kSigmoid || pixels.classes >= 2,
                    "softmax needs at least 2 classes, got ", pixels.classes);
  }

  Tensor logits;
  OptionalTensor mask, ids;
  Pixels pixels;
};

// Labels or groups: one per block, or one per block and class.
struct Integers {
  Integers(const Tensor& in, const PixelInput& input, const char* name)
      : tensor(dense(in, input.logits, name)) {
    const int64_t blocks = input.pixels.blocks, classes = input.pixels.classes;
    STD_TORCH_CHECK(in.scalar_type() == ScalarType::Long, name, " must be int64");
    columns = in.dim() == 2 ? in.size(1) : 1;
    const bool fits = (in.dim() == 1 || (in.dim() == 2 && columns == classes)) && in.size(0) == blocks;
    STD_TORCH_CHECK(fits, name, " must have shape (", blocks, ",) or (", blocks, ", ", classes, ")");
    data = static_cast<const int64_t*>(tensor.const_data_ptr());
  }

  Tensor tensor;
  int64_t columns;
  const int64_t* data;
};

// Targets, weights or the gradient of the loss, in single or double precision.
struct Reals {
  Reals(const Tensor& in, const PixelInput& input, const char* name)
      : tensor(dense(in, input.logits, name)), wide(in.scalar_type() == ScalarType::Double) {
    STD_TORCH_CHECK(wide || in.scalar_type() == ScalarType::Float, name, " must be float32 or float64");
    data = tensor.const_data_ptr();
  }

  Tensor tensor;
  bool wide;
  const void* data;
};

// What the loss is given beside the pixels: a label a block and a target a label, or a target a block.
struct TargetInput {
  TargetInput(const OptionalTensor& labels_in, const Tensor& mean_in, const Tensor& std_in,
              const OptionalTensor& group_in, const OptionalTensor& class_weights_in,
              const OptionalTensor& block_weights_in, const PixelInput& input)
      : mean(mean_in, input, "mean"), std(std_in, input, "std") {
    const int64_t classes = input.pixels.classes, blocks = input.pixels.blocks;
    STD_TORCH_CHECK(mean_in.dim() == 2 && std_in.dim() == 2 && mean_in.size(1) == classes &&
                        std_in.size(1) == classes && mean_in.size(0) == std_in.size(0),
                    "mean and std must have shape (", labels_in ? "Z" : "K", ", ", classes, ")");
    target_rows = mean_in.size(0);
    STD_TORCH_CHECK(labels_in || target_rows == blocks, "mean must have a row for each of the ", blocks,
                    " blocks, got ", target_rows);
    if (labels_in) labels.emplace(*labels_in, input, "labels");
    if (group_in) group.emplace(*group_in, input, "group");
    const auto weights = [&](const OptionalTensor& in, int64_t count,
                             const char* name) -> std::optional<Reals> {
      if (!in) return {};
      STD_TORCH_CHECK(in->dim() == 1 && in->size(0) == count, name, " must have shape (", count, ",)");
      return Reals(*in, input, name);
    };
    class_weights = weights(class_weights_in, classes, "class_weights");
    block_weights = weights(block_weights_in, blocks, "block_weights");
  }

  Reals mean, std;
  int64_t target_rows;
  std::optional<Integers> labels, group;
  std::optional<Reals> class_weights, block_weights;
};

// The number of blocks, by the first dimension of a table of theirs.
inline int64_t blocks_of(const Tensor& table, const char* name) {
  STD_TORCH_CHECK(table.dim() >= 1, name, " must have a row for each block");
  return table.size(0);
}
inline int64_t blocks_of(const OptionalTensor& labels, const Tensor& mean) {
  return labels ? blocks_of(*labels, "labels") : blocks_of(mean, "mean");
}

inline const double* coefficients(const Tensor& table, const PixelInput& input, const char* name) {
  const int64_t blocks = input.pixels.blocks, classes = input.pixels.classes;
  STD_TORCH_CHECK(table.scalar_type() == ScalarType::Double && table.is_contiguous() && table.dim() == 2 &&
                      table.size(0) == blocks && table.size(1) == classes,
                  name, " must be a contiguous float64 (", blocks, ", ", classes, ") table");
  return static_cast<const double*>(dense(table, input.logits, name).const_data_ptr());
}

// The coefficients of the pixel gradient, which the caller's tensors hold, and the gradient of the loss.
struct GradientInput {
  GradientInput(const Tensor& a_in, const Tensor& b_in, const OptionalTensor& grad, const PixelInput& input)
      : a(coefficients(a_in, input, "a")), b(coefficients(b_in, input, "b")) {
    STD_TORCH_CHECK(!grad || grad->numel() == 1, "grad must be a scalar");
    if (grad) scale.emplace(*grad, input, "grad");
  }

  const double *a, *b;
  std::optional<Reals> scale;
};

// Memory on the device of the logits, by the C interface: an operator of torch is found by name at each call.
inline Tensor new_tensor(const Tensor& logits, IntHeaderOnlyArrayRef sizes, IntHeaderOnlyArrayRef strides,
                         int32_t dtype) {
  int32_t type, index;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(logits.get(), &type));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_index(logits.get(), &index));
  AtenTensorHandle made;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(sizes.size(), sizes.data(), strides.data(), dtype, type, index, &made));
  return Tensor(made);
}

inline Tensor new_doubles(const Tensor& logits, int64_t count) {
  return new_tensor(logits, {count}, {1}, aoti_torch_dtype_float64());
}
inline Tensor new_doubles(const Tensor& logits, int64_t rows, int64_t columns) {
  return new_tensor(logits, {rows, columns}, {columns, 1}, aoti_torch_dtype_float64());
}

inline Tensor new_loss(const Tensor& logits) {
  const bool wide = logits.scalar_type() == ScalarType::Double;
  return new_tensor(logits, {}, {}, wide ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32());
}

inline bool is_channels_last(const Tensor& x) {
  return x.stride(1) == 1 && x.stride(3) == x.size(1) && x.stride(2) == x.size(3) * x.stride(3) &&
         x.stride(0) == x.size(2) * x.stride(2);
}

// Memory for a gradient, laid out as empty_like lays it out: as the logits where these leave no gaps.
inline Tensor new_gradient(const Tensor& logits) {
  if (!logits.is_contiguous() && !is_channels_last(logits)) return torch::stable::empty_like(logits);
  int32_t dtype;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(logits.get(), &dtype));
  return new_tensor(logits, logits.sizes(), logits.strides(), dtype);
}

inline double* doubles_of(const Tensor& x) { return static_cast<double*>(x.data_ptr()); }

}  // namespace
}  // namespace lsr
