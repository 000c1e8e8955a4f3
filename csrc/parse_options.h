// The options' names at the operators' boundary.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <string>

#include "lsr/activation.h"
#include "lsr/table.h"

namespace lsr {

inline Activation parse_activation(const std::string& name) {
  if (name == "softmax") return Activation::kSoftmax;
  STD_TORCH_CHECK(name == "sigmoid", "activation must be softmax or sigmoid, got ", name);
  return Activation::kSigmoid;
}

inline Mode parse_mode(const std::string& name) {
  if (name == "intra") return Mode::kIntra;
  if (name == "inter") return Mode::kInter;
  STD_TORCH_CHECK(name == "intra+inter", "mode must be intra, inter or intra+inter, got ", name);
  return Mode::kIntraInter;
}

inline Form parse_form(const std::string& name) {
  if (name == "paper") return Form::kPaper;
  if (name == "marginal") return Form::kMarginal;
  if (name == "kl") return Form::kKl;
  if (name == "reverse_kl") return Form::kReverseKl;
  if (name == "wasserstein") return Form::kWasserstein;
  if (name == "legacy") return Form::kLegacy;
  if (name == "proportion") return Form::kProportion;
  if (name == "squared") return Form::kSquared;
  STD_TORCH_CHECK(name == "size", "form must be one of the nine forms, got ", name);
  return Form::kSize;
}

}  // namespace lsr
