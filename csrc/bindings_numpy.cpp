// The torch-free core for NumPy: how it is tested apart from torch, under the sanitizers too.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>

#include "cpu/parallel.h"
#include "cpu/table_loss.h"
#include "cuda/kernels.h"
#include "threads.h"

namespace py = pybind11;

namespace lsr {
namespace {

using Doubles2D = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Integers2D = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;
using Mask = std::optional<py::array_t<bool, py::array::c_style>>;
using Ids = std::optional<py::array_t<int32_t, py::array::c_style>>;

Array array_of(const py::array& x) {
  if (x.ndim() != 4) throw std::invalid_argument("expected a (N, L, H, W) array");
  const bool wide = py::isinstance<py::array_t<double>>(x);
  if (!wide && !py::isinstance<py::array_t<float>>(x))
    throw std::invalid_argument("expected float32 or float64");
  const auto stride = [&](int axis) { return static_cast<int64_t>(x.strides(axis) / x.itemsize()); };
  return {const_cast<void*>(x.data()),
          wide ? Scalar::kFloat64 : Scalar::kFloat32,
          stride(0),
          stride(1),
          stride(2),
          stride(3)};
}

Pixels pixels_of(const py::array& logits, const Mask& mask, const Ids& ids, int64_t blocks, bool softmax) {
  return {array_of(logits),
          logits.shape(0),
          logits.shape(1),
          logits.shape(2),
          logits.shape(3),
          mask ? reinterpret_cast<const uint8_t*>(mask->data()) : nullptr,
          ids ? ids->data() : nullptr,
          blocks,
          softmax ? Activation::kSoftmax : Activation::kSigmoid};
}

py::tuple block_moments(const py::array& logits, const Mask& mask, const Ids& ids, int64_t blocks,
                        bool softmax) {
  const py::ssize_t classes = logits.shape(1);
  py::array_t<double> n(blocks), S({py::ssize_t(blocks), classes}), Q({py::ssize_t(blocks), classes});
  cpu::block_moments(pixels_of(logits, mask, ids, blocks, softmax), n.mutable_data(), S.mutable_data(),
                     Q.mutable_data(), thread_for);
  return py::make_tuple(n, S, Q);
}

py::tuple table_loss(const Doubles2D& n, const Doubles2D& S, const Doubles2D& Q, const Integers2D& labels,
                     const Doubles2D& mean, const Doubles2D& std, int mode, int form, double n_eff,
                     double floor_rel, double floor_abs, double sharpness) {
  const Table table{S.shape(0), S.shape(1), n.data(),    S.data(),   Q.data(), labels.data(), 1,
                    nullptr,    1,          mean.data(), std.data(), nullptr,  nullptr};
  const Options options{
      static_cast<Mode>(mode), static_cast<Form>(form), n_eff, 1.0, floor_rel, floor_abs, sharpness};
  py::array_t<double> a({S.shape(0), S.shape(1)}), b({S.shape(0), S.shape(1)});
  const double loss = cpu::table_loss(table, options, a.mutable_data(), b.mutable_data());
  return py::make_tuple(loss, a, b);
}

py::array pixel_gradient(const py::array& logits, const Mask& mask, const Ids& ids, const Doubles2D& a,
                         const Doubles2D& b, bool softmax) {
  py::array out(logits.dtype(), std::vector<py::ssize_t>(logits.shape(), logits.shape() + 4));
  cpu::pixel_gradient(pixels_of(logits, mask, ids, a.shape(0), softmax), {a.data(), b.data(), 1.0},
                      array_of(out), thread_for);
  return out;
}

// The CUDA kernels, emulated: the whole forward pass, and the gradient of its result.
py::tuple cuda_block_moments(const py::array& logits, const Mask& mask, const Ids& ids, int64_t blocks,
                             bool softmax) {
  const py::ssize_t classes = logits.shape(1);
  py::array_t<double> n(blocks), S({py::ssize_t(blocks), classes}), Q({py::ssize_t(blocks), classes});
  const Pixels pixels = pixels_of(logits, mask, ids, blocks, softmax);
  const cuda::Plan plan = cuda::plan_moments(pixels);
  std::vector<char> workspace(cuda::moment_workspace_bytes(pixels, plan));
  cuda::block_moments(pixels, plan, workspace.data(), n.mutable_data(), S.mutable_data(), Q.mutable_data(),
                      nullptr);
  return py::make_tuple(n, S, Q);
}

py::tuple cuda_loss(const py::array& logits, const Mask& mask, const Ids& ids, const Integers2D& labels,
                    const Doubles2D& mean, const Doubles2D& std, int mode, int form, double n_eff,
                    double floor_rel, double floor_abs, double sharpness, bool softmax) {
  const py::ssize_t blocks = labels.shape(0), classes = logits.shape(1);
  const Pixels pixels = pixels_of(logits, mask, ids, blocks, softmax);
  const cuda::Plan plan = cuda::plan_moments(pixels);
  const cuda::Targets targets{labels.data(),      1,  nullptr, 1, mean.shape(0), {mean.data(), true},
                              {std.data(), true}, {}, {}};
  const Options options{
      static_cast<Mode>(mode), static_cast<Form>(form), n_eff, 1.0, floor_rel, floor_abs, sharpness};
  std::vector<char> moments(cuda::moment_workspace_bytes(pixels, plan));
  std::vector<char> scratch(cuda::loss_workspace_bytes(pixels, targets));
  py::array_t<double> a({blocks, classes}), b({blocks, classes});
  double loss = 0;
  cuda::label_super_resolution(pixels, plan, moments.data(), targets, options, scratch.data(), &loss, true,
                               a.mutable_data(), b.mutable_data(), nullptr);
  return py::make_tuple(loss, a, b);
}

py::array cuda_pixel_gradient(const py::array& logits, const Mask& mask, const Ids& ids, const Doubles2D& a,
                              const Doubles2D& b, bool softmax) {
  py::array out(logits.dtype(), std::vector<py::ssize_t>(logits.shape(), logits.shape() + 4));
  const Pixels pixels = pixels_of(logits, mask, ids, a.shape(0), softmax);
  cuda::pixel_gradient(pixels, {a.data(), b.data(), nullptr, false}, array_of(out), nullptr);
  return out;
}

}  // namespace
}  // namespace lsr

PYBIND11_MODULE(lsr_core_numpy, m) {
  m.def("cpu_build", [] { return lsr::cpu::build().name; });
  m.def("block_moments", &lsr::block_moments, py::arg("logits"), py::arg("mask"), py::arg("block_ids"),
        py::arg("blocks"), py::arg("softmax"));
  m.def("table_loss", &lsr::table_loss, py::arg("n"), py::arg("S"), py::arg("Q"), py::arg("labels"),
        py::arg("mean"), py::arg("std"), py::arg("mode"), py::arg("form"), py::arg("n_eff"),
        py::arg("floor_rel"), py::arg("floor_abs"), py::arg("sharpness"));
  m.def("pixel_gradient", &lsr::pixel_gradient, py::arg("logits"), py::arg("mask"), py::arg("block_ids"),
        py::arg("a"), py::arg("b"), py::arg("softmax"));
  m.def("cuda_block_moments", &lsr::cuda_block_moments, py::arg("logits"), py::arg("mask"),
        py::arg("block_ids"), py::arg("blocks"), py::arg("softmax"));
  m.def("cuda_loss", &lsr::cuda_loss, py::arg("logits"), py::arg("mask"), py::arg("block_ids"),
        py::arg("labels"), py::arg("mean"), py::arg("std"), py::arg("mode"), py::arg("form"),
        py::arg("n_eff"), py::arg("floor_rel"), py::arg("floor_abs"), py::arg("sharpness"),
        py::arg("softmax"));
  m.def("cuda_pixel_gradient", &lsr::cuda_pixel_gradient, py::arg("logits"), py::arg("mask"),
        py::arg("block_ids"), py::arg("a"), py::arg("b"), py::arg("softmax"));
}
