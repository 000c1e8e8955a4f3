// Stage B on the host: a few hundred numbers, in order, on one thread.
#pragma once

#include <vector>

#include "../lsr/table.h"

namespace lsr::cpu {

// The loss; a and b (K, L) receive the coefficients of the pixel gradient.
inline double table_loss(const Table& t, const Options& o, double* a, double* b) {
  const bool grouped = o.mode != Mode::kIntra;
  const int64_t cells = t.blocks * t.classes;
  std::vector<Group> groups(grouped ? cells : 0);
  Share total{};
  for (int64_t k = 0; k < t.blocks; ++k) {
    for (int64_t l = 0; l < t.classes; ++l) {
      const int64_t cell = k * t.classes + l;
      if (grouped && is_known(t, k, l)) {
        const int64_t leader = leader_of(t, k, l);
        groups[cell] = leader == k ? group_of(t, o, k, l) : groups[leader * t.classes + l];
      }
      const Share share = share_of(t, o, grouped ? &groups[cell] : nullptr, k, l);
      total.value += share.value;
      total.weight += share.weight;
      total.sharpness += share.sharpness;
      total.sharpness_weight += share.sharpness_weight;
    }
  }
  for (int64_t k = 0; k < t.blocks; ++k) {
    for (int64_t l = 0; l < t.classes; ++l) {
      const int64_t cell = k * t.classes + l;
      const Coefficients c = coefficients_of(t, o, grouped ? &groups[cell] : nullptr, total, k, l);
      a[cell] = c.a;
      b[cell] = c.b;
    }
  }
  return loss_of(o, total);
}

}  // namespace lsr::cpu
