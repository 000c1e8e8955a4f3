// The operators' schemas and their CPU implementations, on the LibTorch stable ABI.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/table_loss.h"
#include "op_inputs.h"
#include "schemas.h"

namespace lsr {
namespace {

void parallel_for(int64_t count, int64_t grain, cpu::Body body, void* context) {
  torch::stable::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(context, i);
  });
}

void check_values(const PixelInput& input) {
  if (!input.ids) return;
  int32_t largest = -1;
  for (int64_t i = 0; i < input.ids->numel(); ++i) largest = std::max(largest, input.pixels.block_ids[i]);
  STD_TORCH_CHECK(largest < input.pixels.blocks, "block_ids must be below the ", input.pixels.blocks,
                  " blocks, got ", largest);
}

void check_values(const TargetInput& targets) {
  if (!targets.labels) return;
  const Integers& labels = *targets.labels;
  for (int64_t i = 0; i < labels.tensor.numel(); ++i) {
    STD_TORCH_CHECK(labels.data[i] >= -1 && labels.data[i] < targets.target_rows, "labels must lie in [-1, ",
                    targets.target_rows - 1, "], got ", labels.data[i], " for block ", i / labels.columns);
  }
}

// NaN is no number that could be out of range.
void check_range(const std::vector<double>& values, double most, const char* name) {
  for (const double value : values) {
    STD_TORCH_CHECK(!(value < 0 || value > most), name, " must lie in [0, ", most, "], got ", value);
  }
}

void check_weights(const std::vector<double>& weights, const char* name) {
  for (const double weight : weights) {
    STD_TORCH_CHECK(!(weight < 0), name, " must be >= 0, got ", weight);
  }
}

// Numbers in double precision; none where there are none.
std::vector<double> doubles(const std::optional<Reals>& given) {
  if (!given) return {};
  const Reals& reals = *given;
  const int64_t count = reals.tensor.numel();
  if (reals.wide) {
    const double* data = static_cast<const double*>(reals.data);
    return {data, data + count};
  }
  const float* data = static_cast<const float*>(reals.data);
  return {data, data + count};
}

void write(const Tensor& scalar, double value) {
  if (scalar.scalar_type() == ScalarType::Double) {
    *doubles_of(scalar) = value;
  } else {
    *static_cast<float*>(scalar.data_ptr()) = static_cast<float>(value);
  }
}

std::tuple<Tensor, Tensor, Tensor> block_moments(Tensor logits, OptionalTensor mask, OptionalTensor block_ids,
                                                 int64_t blocks, std::string activation) {
  const PixelInput input(logits, mask, block_ids, blocks, activation);
  check_values(input);
  const int64_t classes = input.pixels.classes;
  const Tensor n = new_doubles(logits, blocks);
  const Tensor S = new_doubles(logits, blocks, classes), Q = new_doubles(logits, blocks, classes);
  cpu::block_moments(input.pixels, doubles_of(n), doubles_of(S), doubles_of(Q), parallel_for);
  return {n, S, Q};
}

std::tuple<Tensor, Tensor, Tensor> label_super_resolution(
    Tensor logits, OptionalTensor labels, Tensor mean, Tensor std, OptionalTensor group, OptionalTensor mask,
    OptionalTensor block_ids, OptionalTensor class_weights, OptionalTensor block_weights, std::string mode,
    std::string form, double n_eff, double alpha, double floor_rel, double floor_abs, double sharpness,
    std::string activation) {
  const int64_t blocks = blocks_of(labels, mean);
  const PixelInput input(logits, mask, block_ids, blocks, activation);
  const TargetInput targets(labels, mean, std, group, class_weights, block_weights, input);
  const Options options{parse_mode(mode), parse_form(form), n_eff, alpha, floor_rel, floor_abs, sharpness};
  check_values(input);
  check_values(targets);

  const int64_t classes = input.pixels.classes;
  std::vector<double> n(blocks), S(blocks * classes), Q(blocks * classes);
  cpu::block_moments(input.pixels, n.data(), S.data(), Q.data(), parallel_for);
  const std::vector<double> means = doubles(targets.mean), stds = doubles(targets.std);
  const std::vector<double> class_values = doubles(targets.class_weights);
  const std::vector<double> block_values = doubles(targets.block_weights);
  check_range(means, 1, targets.labels ? "mean" : "fractions");
  check_range(stds, std::numeric_limits<double>::infinity(), "std");
  check_weights(class_values, "class_weights");
  check_weights(block_values, "block_weights");
  const Table table{blocks,
                    classes,
                    n.data(),
                    S.data(),
                    Q.data(),
                    targets.labels ? targets.labels->data : nullptr,
                    targets.labels ? targets.labels->columns : 1,
                    targets.group ? targets.group->data : nullptr,
                    targets.group ? targets.group->columns : 1,
                    means.data(),
                    stds.data(),
                    targets.class_weights ? class_values.data() : nullptr,
                    targets.block_weights ? block_values.data() : nullptr};
  const Tensor a = new_doubles(logits, blocks, classes), b = new_doubles(logits, blocks, classes);
  const Tensor loss = new_loss(logits);
  write(loss, cpu::table_loss(table, options, doubles_of(a), doubles_of(b)));
  return {loss, a, b};
}

void write_gradient(const Tensor& logits, const OptionalTensor& mask, const OptionalTensor& block_ids,
                    const Tensor& a, const Tensor& b, const OptionalTensor& grad,
                    const std::string& activation, const Tensor& out) {
  const PixelInput input(logits, mask, block_ids, blocks_of(a, "a"), activation);
  const GradientInput gradient(a, b, grad, input);
  check_values(input);
  const double scale = gradient.scale ? doubles(gradient.scale)[0] : 1.0;
  cpu::pixel_gradient(input.pixels, {gradient.a, gradient.b, scale}, array_of(out), parallel_for);
}

Tensor pixel_gradient(Tensor logits, OptionalTensor mask, OptionalTensor block_ids, Tensor a, Tensor b,
                      OptionalTensor grad, std::string activation) {
  Tensor out = new_gradient(logits);
  write_gradient(logits, mask, block_ids, a, b, grad, activation, out);
  return out;
}

void pixel_gradient_(Tensor logits, OptionalTensor mask, OptionalTensor block_ids, Tensor a, Tensor b,
                     OptionalTensor grad, std::string activation) {
  write_gradient(logits, mask, block_ids, a, b, grad, activation, logits);
}

// The name of the build of the kernels that this processor runs.
std::string cpu_build() { return cpu::build().name; }

}  // namespace
}  // namespace lsr

STABLE_TORCH_LIBRARY(lsr, m) {
  lsr::define_operators(m);
  m.def("cpu_build() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(lsr, CPU, m) {
  m.impl("block_moments", TORCH_BOX(&lsr::block_moments));
  m.impl("label_super_resolution", TORCH_BOX(&lsr::label_super_resolution));
  m.impl("loss_and_coefficients", TORCH_BOX(&lsr::label_super_resolution));
  m.impl("pixel_gradient", TORCH_BOX(&lsr::pixel_gradient));
  m.impl("pixel_gradient_", TORCH_BOX(&lsr::pixel_gradient_));
}

STABLE_TORCH_LIBRARY_IMPL(lsr, CompositeExplicitAutograd, m) {
  m.impl("cpu_build", TORCH_BOX(&lsr::cpu_build));
}
