// The distance between a predicted Gaussian and a label's, and its derivatives.
#pragma once

#include <cmath>
#include <cstdint>

#include "macros.h"

namespace lsr {

enum class Form : int32_t {
  kPaper,
  kMarginal,
  kKl,
  kReverseKl,
  kWasserstein,
  kLegacy,
  kProportion,
  kSquared,
  kSize
};

constexpr double kSharpnessOffset = 0.03;
constexpr double kLegacyOffset = 1e-6;
constexpr double kProportionOffset = 1e-6;
constexpr double kTwoPi = 6.283185307179586;

// A value and its derivatives by the predicted mean, by its variance, and by Q/n (legacy alone).
struct Distance {
  double value, d_mean, d_variance, d_q;
};

// d = target mean - predicted mean, s = predicted variance, r2 = target variance, eta = target mean.
LSR_HD Distance match(Form form, double d, double s, double r2, double eta) {
  switch (form) {
    case Form::kPaper: {  // Eq. 5 and 9 as printed
      const double t = r2 + s;
      return {0.5 * s * d * d / (t * t) + 0.5 * log(kTwoPi * s), -s * d / (t * t),
              0.5 * d * d * (r2 - s) / (t * t * t) + 0.5 / s, 0};
    }
    case Form::kMarginal: {
      const double t = r2 + s;
      return {0.5 * d * d / t + 0.5 * log(kTwoPi * t), -d / t, 0.5 * (1 - d * d / t) / t, 0};
    }
    case Form::kKl:
      return {0.5 * ((s + d * d) / r2 - 1 - log(s / r2)), -d / r2, 0.5 * (1 / r2 - 1 / s), 0};
    case Form::kReverseKl:
      return {0.5 * ((r2 + d * d) / s - 1 + log(s / r2)), -d / s, 0.5 * (1 - (r2 + d * d) / s) / s, 0};
    case Form::kWasserstein: {
      const double gap = sqrt(s) - sqrt(r2);
      return {d * d + gap * gap, -2 * d, gap / sqrt(s), 0};
    }
    case Form::kLegacy: {  // of groups; blocks have their own
      const double t = s + r2 + kLegacyOffset;
      return {s * d * d / (t * t) + log(s + kSharpnessOffset), -2 * s * d / (t * t),
              d * d * (t - 2 * s) / (t * t * t) + 1 / (s + kSharpnessOffset), 0};
    }
    case Form::kProportion: {
      const double mu = eta - d + kProportionOffset;
      return {-eta * log(mu), -eta / mu, 0, 0};
    }
    case Form::kSquared:
      return {d * d, -2 * d, 0, 0};
    case Form::kSize: {  // outside the interval of one standard deviation
      const double rho = sqrt(r2), beyond = d >= -rho && d <= rho ? 0 : d > 0 ? d - rho : d + rho;
      return {beyond * beyond, -2 * beyond, 0, 0};
    }
  }
  return {};
}

// The distance of a single block; q = Q/n.
LSR_HD Distance match_block(Form form, double d, double s, double r2, double eta, double q) {
  if (form != Form::kLegacy) return match(form, d, s, r2, eta);
  const double t = s + r2 + kLegacyOffset;
  return {d * d / t + log(q + kSharpnessOffset), -2 * d / t, -d * d / (t * t), 1 / (q + kSharpnessOffset)};
}

}  // namespace lsr
