// The operators' schemas and their CPU implementations, on the LibTorch stable ABI.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/table_loss.h"
#include "names.h"

namespace lsr {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

void parallel_for(int64_t count, int64_t grain, cpu::Body body, void* context) {
  torch::stable::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(context, i);
  });
}

cpu::Scalar scalar_of(const Tensor& logits) {
  switch (logits.scalar_type()) {
    case ScalarType::Float:
      return cpu::Scalar::kFloat32;
    case ScalarType::Double:
      return cpu::Scalar::kFloat64;
    case ScalarType::BFloat16:
      return cpu::Scalar::kBFloat16;
    case ScalarType::Half:
      return cpu::Scalar::kFloat16;
    default:
      STD_TORCH_CHECK(false, "logits must be float32, float64, bfloat16 or float16");
  }
}

cpu::Array array_of(const Tensor& x) {
  return {x.data_ptr(), scalar_of(x), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

// The logits with their mask and block ids, which it keeps alive.
struct Input {
  Input(const Tensor& logits, const OptionalTensor& mask_in, const OptionalTensor& ids_in, int64_t blocks,
        const std::string& activation) {
    STD_TORCH_CHECK(logits.dim() == 4, "logits must have shape (N, L, H, W), got ", logits.dim(),
                    " dimensions");
    mask = dense(mask_in, logits, ScalarType::Bool, "mask");
    ids = dense(ids_in, logits, ScalarType::Int, "block_ids");
    STD_TORCH_CHECK(ids || blocks == logits.size(0), "without block_ids every image is a block: expected ",
                    logits.size(0), " blocks, got ", blocks);
    pixels = {array_of(logits),
              logits.size(0),
              logits.size(1),
              logits.size(2),
              logits.size(3),
              mask ? static_cast<const uint8_t*>(mask->const_data_ptr()) : nullptr,
              ids ? static_cast<const int32_t*>(ids->const_data_ptr()) : nullptr,
              activation_named(activation)};
    STD_TORCH_CHECK(pixels.activation == Activation::kSigmoid || pixels.classes >= 2,
                    "softmax needs at least 2 classes, got ", pixels.classes);
    if (ids) check_ids(blocks);
  }

  static OptionalTensor dense(const OptionalTensor& in, const Tensor& logits, ScalarType type,
                              const char* name) {
    if (!in) return {};
    STD_TORCH_CHECK(in->scalar_type() == type, name, " has the wrong dtype");
    STD_TORCH_CHECK(in->dim() == 3 && in->size(0) == logits.size(0) && in->size(1) == logits.size(2) &&
                        in->size(2) == logits.size(3),
                    name, " must have the logits' (N, H, W)");
    return torch::stable::contiguous(*in);
  }

  void check_ids(int64_t blocks) const {
    int32_t largest = -1;
    for (int64_t i = 0; i < ids->numel(); ++i) largest = std::max(largest, pixels.block_ids[i]);
    STD_TORCH_CHECK(largest < blocks, "block_ids must be below the ", blocks, " blocks, got ", largest);
  }

  OptionalTensor mask, ids;
  cpu::Pixels pixels;
};

struct Moments {
  Tensor n, S, Q;
};

Moments moments_of(const Tensor& logits, const Input& input, int64_t blocks) {
  const int64_t classes = logits.size(1);
  Moments m{torch::stable::new_empty(logits, {blocks}, ScalarType::Double),
            torch::stable::new_empty(logits, {blocks, classes}, ScalarType::Double),
            torch::stable::new_empty(logits, {blocks, classes}, ScalarType::Double)};
  cpu::block_moments(input.pixels, blocks, static_cast<double*>(m.n.data_ptr()),
                     static_cast<double*>(m.S.data_ptr()), static_cast<double*>(m.Q.data_ptr()),
                     parallel_for);
  return m;
}

std::tuple<Tensor, Tensor, Tensor> block_moments(Tensor logits, OptionalTensor mask, OptionalTensor block_ids,
                                                 int64_t blocks, std::string activation) {
  const Input input(logits, mask, block_ids, blocks, activation);
  Moments m = moments_of(logits, input, blocks);
  return {m.n, m.S, m.Q};
}

std::vector<double> doubles(const Tensor& table) {
  const Tensor dense = torch::stable::contiguous(table);
  const int64_t count = dense.numel();
  if (dense.scalar_type() == ScalarType::Float) {
    const float* data = static_cast<const float*>(dense.const_data_ptr());
    return {data, data + count};
  }
  STD_TORCH_CHECK(dense.scalar_type() == ScalarType::Double,
                  "mean, std and weights must be float32 or float64");
  const double* data = static_cast<const double*>(dense.const_data_ptr());
  return {data, data + count};
}

// Labels or groups as (K, columns) integers.
struct Integers {
  Integers(const Tensor& in, int64_t blocks, int64_t classes, const char* name)
      : dense(torch::stable::contiguous(in)) {
    STD_TORCH_CHECK(in.scalar_type() == ScalarType::Long, name, " must be int64");
    columns = in.dim() == 2 ? in.size(1) : 1;
    const bool fits = (in.dim() == 1 || (in.dim() == 2 && columns == classes)) && in.size(0) == blocks;
    STD_TORCH_CHECK(fits, name, " must have shape (", blocks, ",) or (", blocks, ", ", classes, ")");
    data = static_cast<const int64_t*>(dense.const_data_ptr());
  }

  Tensor dense;
  int64_t columns;
  const int64_t* data;
};

void check_labels(const Integers& labels, int64_t blocks, int64_t count) {
  for (int64_t i = 0; i < blocks * labels.columns; ++i) {
    STD_TORCH_CHECK(labels.data[i] >= -1 && labels.data[i] < count, "labels must lie in [-1, ", count - 1,
                    "], got ", labels.data[i], " for block ", i / labels.columns);
  }
}

std::tuple<Tensor, Tensor, Tensor> label_super_resolution(
    Tensor logits, Tensor labels, Tensor mean, Tensor std, OptionalTensor group, OptionalTensor mask,
    OptionalTensor block_ids, OptionalTensor class_weights, std::string mode, std::string form, double n_eff,
    double alpha, double floor_rel, double floor_abs, double sharpness, std::string activation) {
  STD_TORCH_CHECK(labels.dim() >= 1, "labels must have shape (N,) or (N, L)");
  const int64_t blocks = labels.size(0);
  const Input input(logits, mask, block_ids, blocks, activation);
  const int64_t classes = logits.size(1);
  const Integers label_table(labels, blocks, classes, "labels");
  STD_TORCH_CHECK(mean.dim() == 2 && std.dim() == 2 && mean.size(1) == classes && std.size(1) == classes &&
                      mean.size(0) == std.size(0),
                  "mean and std must have shape (Z, ", classes, ")");
  STD_TORCH_CHECK(!class_weights || (class_weights->dim() == 1 && class_weights->size(0) == classes),
                  "class_weights must have shape (", classes, ",)");
  check_labels(label_table, blocks, mean.size(0));
  std::optional<Integers> groups;
  if (group) groups.emplace(*group, blocks, classes, "group");

  const Moments m = moments_of(logits, input, blocks);
  const std::vector<double> means = doubles(mean), stds = doubles(std);
  const std::vector<double> weights = class_weights ? doubles(*class_weights) : std::vector<double>();
  const Table table{blocks,
                    classes,
                    static_cast<const double*>(m.n.const_data_ptr()),
                    static_cast<const double*>(m.S.const_data_ptr()),
                    static_cast<const double*>(m.Q.const_data_ptr()),
                    label_table.data,
                    label_table.columns,
                    groups ? groups->data : nullptr,
                    groups ? groups->columns : 1,
                    means.data(),
                    stds.data(),
                    class_weights ? weights.data() : nullptr};
  const Options options{mode_named(mode), form_named(form), n_eff, alpha, floor_rel, floor_abs, sharpness};
  Tensor a = torch::stable::new_empty(m.S, {blocks, classes});
  Tensor b = torch::stable::new_empty(m.S, {blocks, classes});
  const double loss =
      cpu::table_loss(table, options, static_cast<double*>(a.data_ptr()), static_cast<double*>(b.data_ptr()));
  const bool wide = logits.scalar_type() == ScalarType::Double;
  Tensor result = torch::stable::new_empty(logits, {}, wide ? ScalarType::Double : ScalarType::Float);
  torch::stable::fill_(result, loss);
  return {result, a, b};
}

double scale_of(const OptionalTensor& grad) { return grad ? doubles(*grad).at(0) : 1.0; }

void check_coefficients(const Tensor& table, int64_t blocks, int64_t classes, const char* name) {
  STD_TORCH_CHECK(table.scalar_type() == ScalarType::Double && table.is_contiguous() && table.dim() == 2 &&
                      table.size(0) == blocks && table.size(1) == classes,
                  name, " must be a contiguous float64 (", blocks, ", ", classes, ") table");
}

void write_gradient(const Tensor& logits, const OptionalTensor& mask, const OptionalTensor& block_ids,
                    const Tensor& a, const Tensor& b, const OptionalTensor& grad,
                    const std::string& activation, const Tensor& out) {
  STD_TORCH_CHECK(a.dim() == 2, "a must have shape (K, L)");
  const int64_t blocks = a.size(0);
  const Input input(logits, mask, block_ids, blocks, activation);
  check_coefficients(a, blocks, logits.size(1), "a");
  check_coefficients(b, blocks, logits.size(1), "b");
  const cpu::GradientSource source{static_cast<const double*>(a.const_data_ptr()),
                                   static_cast<const double*>(b.const_data_ptr()), scale_of(grad)};
  cpu::pixel_gradient(input.pixels, source, array_of(out), parallel_for);
}

Tensor pixel_gradient(Tensor logits, OptionalTensor mask, OptionalTensor block_ids, Tensor a, Tensor b,
                      OptionalTensor grad, std::string activation) {
  Tensor out = torch::stable::empty_like(logits);
  write_gradient(logits, mask, block_ids, a, b, grad, activation, out);
  return out;
}

void pixel_gradient_(Tensor logits, OptionalTensor mask, OptionalTensor block_ids, Tensor a, Tensor b,
                     OptionalTensor grad, std::string activation) {
  write_gradient(logits, mask, block_ids, a, b, grad, activation, logits);
}

// The name of the build of the kernels that this processor runs.
std::string cpu_build() { return cpu::kernels().name; }

}  // namespace
}  // namespace lsr

STABLE_TORCH_LIBRARY(lsr, m) {
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
  m.def("cpu_build() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(lsr, CPU, m) {
  m.impl("block_moments", TORCH_BOX(&lsr::block_moments));
  m.impl("label_super_resolution", TORCH_BOX(&lsr::label_super_resolution));
  m.impl("pixel_gradient", TORCH_BOX(&lsr::pixel_gradient));
  m.impl("pixel_gradient_", TORCH_BOX(&lsr::pixel_gradient_));
}

STABLE_TORCH_LIBRARY_IMPL(lsr, CompositeExplicitAutograd, m) {
  m.impl("cpu_build", TORCH_BOX(&lsr::cpu_build));
}
