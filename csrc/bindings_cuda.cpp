// The operators' CUDA implementations, on the LibTorch stable ABI; bindings_cpu.cpp defines them.
//
// With LSR_EMULATED the same operators, over emulated kernels, for CPU tensors: torch.ops.lsr_emulated, for
// tests.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <string>
#include <tuple>

#include "cuda/kernels.h"
#include "op_inputs.h"
#include "schemas.h"

#if !defined(LSR_EMULATED)
// Declared here because torch's header does so only for code built with a CUDA toolkit's own torch.
extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device_index, void** ret_stream);
#endif

namespace lsr {
namespace {

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

// Memory of torch's allocator, in whole doubles.
Tensor workspace(const Tensor& like, int64_t bytes) { return new_doubles(like, (bytes + 7) / 8); }

cuda::RealTable table_of(const std::optional<Reals>& reals) {
  return reals ? cuda::RealTable{reals->data, reals->wide} : cuda::RealTable{};
}

cuda::Targets targets_of(const TargetInput& in) {
  return {in.labels ? in.labels->data : nullptr,
          in.labels ? in.labels->columns : 1,
          in.group ? in.group->data : nullptr,
          in.group ? in.group->columns : 1,
          in.target_rows,
          table_of(in.mean),
          table_of(in.std),
          table_of(in.class_weights),
          table_of(in.block_weights)};
}

std::tuple<Tensor, Tensor, Tensor> block_moments(Tensor logits, OptionalTensor mask, OptionalTensor block_ids,
                                                 int64_t blocks, std::string activation) {
  const Device device(logits);
  const PixelInput input(logits, mask, block_ids, blocks, activation);
  const int64_t classes = input.pixels.classes;
  const Tensor n = new_doubles(logits, blocks);
  const Tensor S = new_doubles(logits, blocks, classes), Q = new_doubles(logits, blocks, classes);
  const cuda::Plan plan = cuda::plan_moments(input.pixels);
  const Tensor room = workspace(logits, cuda::moment_workspace_bytes(input.pixels, plan));
  cuda::block_moments(input.pixels, plan, room.data_ptr(), doubles_of(n), doubles_of(S), doubles_of(Q),
                      device.stream);
  return {n, S, Q};
}

std::tuple<Tensor, Tensor, Tensor> label_super_resolution(
    Tensor logits, OptionalTensor labels, Tensor mean, Tensor std, OptionalTensor group, OptionalTensor mask,
    OptionalTensor block_ids, OptionalTensor class_weights, OptionalTensor block_weights, std::string mode,
    std::string form, double n_eff, double alpha, double floor_rel, double floor_abs, double sharpness,
    std::string activation) {
  const Device device(logits);
  const int64_t blocks = blocks_of(labels, mean);
  const PixelInput input(logits, mask, block_ids, blocks, activation);
  const TargetInput target_input(labels, mean, std, group, class_weights, block_weights, input);
  const cuda::Targets targets = targets_of(target_input);
  const Options options{parse_mode(mode), parse_form(form), n_eff, alpha, floor_rel, floor_abs, sharpness};

  const int64_t classes = input.pixels.classes;
  const Tensor loss = new_loss(logits);
  const Tensor a = new_doubles(logits, blocks, classes), b = new_doubles(logits, blocks, classes);
  const cuda::Plan plan = cuda::plan_moments(input.pixels);
  const int64_t moment_bytes = cuda::moment_workspace_bytes(input.pixels, plan);
  const Tensor room = workspace(logits, moment_bytes + cuda::loss_workspace_bytes(input.pixels, targets));
  char* const bytes = static_cast<char*>(room.data_ptr());
  cuda::label_super_resolution(input.pixels, plan, bytes, targets, options, bytes + moment_bytes,
                               loss.data_ptr(), loss.scalar_type() == ScalarType::Double, doubles_of(a),
                               doubles_of(b), device.stream);
  return {loss, a, b};
}

void write_gradient(const Tensor& logits, const OptionalTensor& mask, const OptionalTensor& block_ids,
                    const Tensor& a, const Tensor& b, const OptionalTensor& grad,
                    const std::string& activation, const Tensor& out, const Device& device) {
  const PixelInput input(logits, mask, block_ids, blocks_of(a, "a"), activation);
  const GradientInput gradient(a, b, grad, input);
  const auto& scale = gradient.scale;
  cuda::pixel_gradient(input.pixels,
                       {gradient.a, gradient.b, scale ? scale->data : nullptr, scale && scale->wide},
                       array_of(out), device.stream);
}

Tensor pixel_gradient(Tensor logits, OptionalTensor mask, OptionalTensor block_ids, Tensor a, Tensor b,
                      OptionalTensor grad, std::string activation) {
  const Device device(logits);
  Tensor out = new_gradient(logits);
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

STABLE_TORCH_LIBRARY(lsr_emulated, m) { lsr::define_operators(m); }

STABLE_TORCH_LIBRARY_IMPL(lsr_emulated, CPU, m) {
#else

STABLE_TORCH_LIBRARY_IMPL(lsr, CUDA, m) {
#endif
  m.impl("block_moments", TORCH_BOX(&lsr::block_moments));
  m.impl("label_super_resolution", TORCH_BOX(&lsr::label_super_resolution));
  m.impl("loss_and_coefficients", TORCH_BOX(&lsr::label_super_resolution));
  m.impl("pixel_gradient", TORCH_BOX(&lsr::pixel_gradient));
  m.impl("pixel_gradient_", TORCH_BOX(&lsr::pixel_gradient_));
}
