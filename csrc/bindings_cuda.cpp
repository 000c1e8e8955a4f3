// The operators' CUDA implementations, on the LibTorch stable ABI; the schemas are bindings_cpu.cpp's.
//
// With LSR_EMULATED the same operators, over emulated kernels, for CPU tensors: torch.ops.lsr_emulated, for
// tests.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <string>
#include <tuple>

#include "cuda/kernels.h"
#include "names.h"

#if !defined(LSR_EMULATED)
// Declared here because torch's header does so only for code built with a CUDA toolkit's own torch.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);
#endif

namespace lsr {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

#if defined(LSR_EMULATED)

struct Device {
  explicit Device(const Tensor&) {}
  LsrStream stream = nullptr;
};

#else

// The logits' device made current, and the caller's stream on it.
struct Device {
  explicit Device(const Tensor& logits) : guard(logits.get_device_index()) {
    void* current = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(logits.get_device_index(), &current));
    stream = static_cast<LsrStream>(current);
  }
  torch::stable::accelerator::DeviceGuard guard;
  LsrStream stream;
};

#endif

cuda::Scalar scalar_of(const Tensor& logits) {
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      return cuda::Scalar::kFloat32;
    case ScalarType::Double:
      return cuda::Scalar::kFloat64;
    case ScalarType::BFloat16:
      return cuda::Scalar::kBFloat16;
    case ScalarType::Half:
      return cuda::Scalar::kFloat16;
    default:
      STD_TORCH_CHECK(false, "logits must be float32, float64, bfloat16 or float16");
  }
}

cuda::Array array_of(const Tensor& x) {
  return {x.data_ptr(), scalar_of(x), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

// An argument beside the logits, on their device and contiguous.
Tensor dense(const Tensor& in, const Tensor& logits, const char* name) {
  STD_TORCH_CHECK(in.get_device_index() == logits.get_device_index() && in.is_cuda() == logits.is_cuda(),
                  name, " must be on the logits' device");
  return in.is_contiguous() ? in : torch::stable::contiguous(in);
}

OptionalTensor dense_map(const OptionalTensor& in, const Tensor& logits, ScalarType type, const char* name) {
  if (!in) return {};
  STD_TORCH_CHECK(in->scalar_type() == type, name, " has the wrong dtype");
  STD_TORCH_CHECK(in->dim() == 3 && in->size(0) == logits.size(0) && in->size(1) == logits.size(2) &&
                      in->size(2) == logits.size(3),
                  name, " must have the logits' (N, H, W)");
  return dense(*in, logits, name);
}

// The logits with their mask and block ids, which it keeps alive.
struct Input {
  Input(const Tensor& logits, const OptionalTensor& mask_in, const OptionalTensor& ids_in, int64_t blocks,
        const std::string& activation) {
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
              activation_named(activation)};
    STD_TORCH_CHECK(pixels.activation == Activation::kSigmoid || pixels.classes >= 2,
                    "softmax needs at least 2 classes, got ", pixels.classes);
  }

  OptionalTensor mask, ids;
  cuda::Pixels pixels;
};

// Memory of torch's allocator, in whole doubles.
Tensor workspace(const Tensor& like, int64_t bytes) {
  return torch::stable::new_empty(like, {(bytes + 7) / 8}, ScalarType::Double);
}

double* doubles_of(const Tensor& x) { return static_cast<double*>(x.data_ptr()); }

std::tuple<Tensor, Tensor, Tensor> block_moments(Tensor logits, OptionalTensor mask, OptionalTensor block_ids,
                                                 int64_t blocks, std::string activation) {
  const Device device(logits);
  const Input input(logits, mask, block_ids, blocks, activation);
  const int64_t classes = logits.size(1);
  Tensor n = torch::stable::new_empty(logits, {blocks}, ScalarType::Double);
  Tensor S = torch::stable::new_empty(logits, {blocks, classes}, ScalarType::Double);
  Tensor Q = torch::stable::new_empty(logits, {blocks, classes}, ScalarType::Double);
  const cuda::Plan plan = cuda::plan_moments(input.pixels);
  const Tensor room = workspace(logits, cuda::moment_workspace_bytes(input.pixels, plan));
  cuda::block_moments(input.pixels, plan, room.data_ptr(), doubles_of(n), doubles_of(S), doubles_of(Q),
                      device.stream);
  return {n, S, Q};
}

int64_t columns_of(const Tensor& in, int64_t blocks, int64_t classes, const char* name) {
  STD_TORCH_CHECK(in.scalar_type() == ScalarType::Long, name, " must be int64");
  const int64_t columns = in.dim() == 2 ? in.size(1) : 1;
  const bool fits = (in.dim() == 1 || (in.dim() == 2 && columns == classes)) && in.size(0) == blocks;
  STD_TORCH_CHECK(fits, name, " must have shape (", blocks, ",) or (", blocks, ", ", classes, ")");
  return columns;
}

bool is_wide(const Tensor& in) {
  const bool wide = in.scalar_type() == ScalarType::Double;
  STD_TORCH_CHECK(wide || in.scalar_type() == ScalarType::Float,
                  "mean, std, weights and gradients of the loss must be float32 or float64");
  return wide;
}

std::tuple<Tensor, Tensor, Tensor> label_super_resolution(
    Tensor logits, Tensor labels, Tensor mean, Tensor std, OptionalTensor group, OptionalTensor mask,
    OptionalTensor block_ids, OptionalTensor class_weights, std::string mode, std::string form, double n_eff,
    double alpha, double floor_rel, double floor_abs, double sharpness, std::string activation) {
  const Device device(logits);
  STD_TORCH_CHECK(labels.dim() >= 1, "labels must have shape (N,) or (N, L)");
  const int64_t blocks = labels.size(0);
  const Input input(logits, mask, block_ids, blocks, activation);
  const int64_t classes = logits.size(1);
  STD_TORCH_CHECK(mean.dim() == 2 && std.dim() == 2 && mean.size(1) == classes && std.size(1) == classes &&
                      mean.size(0) == std.size(0),
                  "mean and std must have shape (Z, ", classes, ")");
  STD_TORCH_CHECK(!class_weights || (class_weights->dim() == 1 && class_weights->size(0) == classes),
                  "class_weights must have shape (", classes, ",)");
  labels = dense(labels, logits, "labels");
  mean = dense(mean, logits, "mean");
  std = dense(std, logits, "std");
  if (group) group = dense(*group, logits, "group");
  if (class_weights) class_weights = dense(*class_weights, logits, "class_weights");
  const cuda::Targets targets{
      static_cast<const int64_t*>(labels.const_data_ptr()),
      columns_of(labels, blocks, classes, "labels"),
      mean.size(0),
      group ? static_cast<const int64_t*>(group->const_data_ptr()) : nullptr,
      group ? columns_of(*group, blocks, classes, "group") : 1,
      mean.const_data_ptr(),
      std.const_data_ptr(),
      class_weights ? class_weights->const_data_ptr() : nullptr,
      is_wide(mean),
      is_wide(std),
      class_weights && is_wide(*class_weights),
  };
  const Options options{mode_named(mode), form_named(form), n_eff, alpha, floor_rel, floor_abs, sharpness};

  const bool wide = logits.scalar_type() == ScalarType::Double;
  Tensor loss = torch::stable::new_empty(logits, {}, wide ? ScalarType::Double : ScalarType::Float);
  Tensor a = torch::stable::new_empty(logits, {blocks, classes}, ScalarType::Double);
  Tensor b = torch::stable::new_empty(logits, {blocks, classes}, ScalarType::Double);
  const cuda::Plan plan = cuda::plan_moments(input.pixels);
  const int64_t moment_bytes = cuda::moment_workspace_bytes(input.pixels, plan);
  const Tensor room = workspace(logits, moment_bytes + cuda::loss_workspace_bytes(input.pixels, targets));
  char* const bytes = static_cast<char*>(room.data_ptr());
  cuda::label_super_resolution(input.pixels, plan, bytes, targets, options, bytes + moment_bytes,
                               loss.data_ptr(), wide, doubles_of(a), doubles_of(b), device.stream);
  return {loss, a, b};
}

void check_coefficients(const Tensor& table, int64_t blocks, int64_t classes, const char* name) {
  STD_TORCH_CHECK(table.scalar_type() == ScalarType::Double && table.is_contiguous() && table.dim() == 2 &&
                      table.size(0) == blocks && table.size(1) == classes,
                  name, " must be a contiguous float64 (", blocks, ", ", classes, ") table");
}

void write_gradient(const Tensor& logits, const OptionalTensor& mask, const OptionalTensor& block_ids,
                    Tensor a, Tensor b, OptionalTensor grad, const std::string& activation, const Tensor& out,
                    const Device& device) {
  STD_TORCH_CHECK(a.dim() == 2, "a must have shape (K, L)");
  const int64_t blocks = a.size(0);
  const Input input(logits, mask, block_ids, blocks, activation);
  check_coefficients(a, blocks, logits.size(1), "a");
  check_coefficients(b, blocks, logits.size(1), "b");
  a = dense(a, logits, "a");
  b = dense(b, logits, "b");
  if (grad) grad = dense(*grad, logits, "grad");
  STD_TORCH_CHECK(!grad || grad->numel() == 1, "grad must be a scalar");
  const cuda::GradientSource source{doubles_of(a), doubles_of(b), grad ? grad->const_data_ptr() : nullptr,
                                    grad && is_wide(*grad)};
  cuda::pixel_gradient(input.pixels, source, array_of(out), device.stream);
}

Tensor pixel_gradient(Tensor logits, OptionalTensor mask, OptionalTensor block_ids, Tensor a, Tensor b,
                      OptionalTensor grad, std::string activation) {
  const Device device(logits);
  Tensor out = torch::stable::empty_like(logits);
  write_gradient(logits, mask, block_ids, a, b, grad, activation, out, device);
  return out;
}

void pixel_gradient_(Tensor logits, OptionalTensor mask, OptionalTensor block_ids, Tensor a, Tensor b,
                     OptionalTensor grad, std::string activation) {
  const Device device(logits);
  write_gradient(logits, mask, block_ids, a, b, grad, activation, logits, device);
}

}  // namespace
}  // namespace lsr

#if defined(LSR_EMULATED)

STABLE_TORCH_LIBRARY(lsr_emulated, m) {
  m.def(
      "block_moments(Tensor logits, Tensor? mask, Tensor? block_ids, SymInt blocks, str activation) "
      "-> (Tensor n, Tensor S, Tensor Q)");
  m.def(
      "label_super_resolution(Tensor logits, Tensor labels, Tensor mean, Tensor std, Tensor? group, Tensor? "
      "mask, "
      "Tensor? block_ids, Tensor? class_weights, str mode, str form, float n_eff, float alpha, float "
      "floor_rel, "
      "float floor_abs, float sharpness, str activation) -> (Tensor loss, Tensor a, Tensor b)");
  m.def(
      "pixel_gradient(Tensor logits, Tensor? mask, Tensor? block_ids, Tensor a, Tensor b, Tensor? grad, "
      "str activation) -> Tensor");
  m.def(
      "pixel_gradient_(Tensor(a!) logits, Tensor? mask, Tensor? block_ids, Tensor a, Tensor b, Tensor? grad, "
      "str activation) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(lsr_emulated, CPU, m) {
#else

STABLE_TORCH_LIBRARY_IMPL(lsr, CUDA, m) {
#endif
  m.impl("block_moments", TORCH_BOX(&lsr::block_moments));
  m.impl("label_super_resolution", TORCH_BOX(&lsr::label_super_resolution));
  m.impl("pixel_gradient", TORCH_BOX(&lsr::pixel_gradient));
  m.impl("pixel_gradient_", TORCH_BOX(&lsr::pixel_gradient_));
}
