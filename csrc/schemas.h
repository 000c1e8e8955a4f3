// The operators' schemas.
#pragma once

#include <string>

namespace lsr {

// Library: torch's StableLibrary, whose name is not for others to use.
template <class Library>
void define_operators(Library& library) {
  library.def(
      "block_moments(Tensor logits, Tensor? mask, Tensor? block_ids, SymInt blocks, str activation) "
      "-> (Tensor n, Tensor S, Tensor Q)");
  const std::string loss =
      "(Tensor logits, Tensor? labels, Tensor mean, Tensor std, Tensor? group, Tensor? mask, "
      "Tensor? block_ids, Tensor? class_weights, Tensor? block_weights, str mode, str form, float n_eff, "
      "float alpha, float floor_rel, float floor_abs, float sharpness, str activation) "
      "-> (Tensor loss, Tensor a, Tensor b)";
  library.def(("label_super_resolution" + loss).c_str());
  // The same for callers that bring its gradient: where one is registered, each call passes through Python.
  library.def(("loss_and_coefficients" + loss).c_str());
  library.def(
      "pixel_gradient(Tensor logits, Tensor? mask, Tensor? block_ids, Tensor a, Tensor b, Tensor? grad, "
      "str activation) -> Tensor");
  library.def(
      "pixel_gradient_(Tensor(a!) logits, Tensor? mask, Tensor? block_ids, Tensor a, Tensor b, Tensor? grad, "
      "str activation) -> ()");
}

}  // namespace lsr
