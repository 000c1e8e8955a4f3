// Stage B on the host, on one thread, in time linear in the blocks.
#pragma once

#include <optional>
#include <vector>

#include "../lsr/table.h"

namespace lsr::cpu {

// What the blocks of each group have in common: those of one label and one id, by class.
class Groups {
 public:
  Groups(const Table& t, const Options& o)
      : classes_(t.classes),
        columns_(group_columns_of(t.labels, t.label_columns, t.group_columns, t.classes)),
        first_(t.blocks * columns_, -1),
        groups_(t.blocks * classes_, Group{0, 0, 0, 0, 0}) {
    find_first(t);
    std::vector<double> squares(groups_.size()), variances(groups_.size());
    for_known(t, [&](int64_t k, int64_t l, int64_t at) {
      const Cell cell = cell_of(t, o, k, l);
      const double weight = block_weight_of(t, k);
      Group& group = groups_[at];
      group.members += weight;
      group.centre += weight * cell.residual();
      group.eta += weight * cell.eta;
      group.r2 += weight * cell.r2;
      variances[at] += weight * cell.s;
    });
    for (Group& group : groups_) {
      group.centre /= group.members;
      group.eta /= group.members;
      group.r2 /= group.members;
    }
    for_known(t, [&](int64_t k, int64_t l, int64_t at) {
      const double deviation = cell_of(t, o, k, l).residual() - groups_[at].centre;
      squares[at] += block_weight_of(t, k) * deviation * deviation;
    });
    for (size_t at = 0; at < groups_.size(); ++at) {
      groups_[at].variance = spread_of(o, groups_[at].members, squares[at], variances[at]);
    }
  }

  // The group of a known block.
  const Group& at(int64_t k, int64_t l) const { return groups_[place(k, l)]; }

 private:
  // By a hash table of cells, each the first of its group.
  void find_first(const Table& t) {
    size_t slots = 2;
    while (slots < 2 * first_.size()) slots *= 2;
    std::vector<int64_t> table(slots, -1);
    for (size_t cell = 0; cell < first_.size(); ++cell) {
      const int64_t k = cell / columns_, column = cell % columns_;
      if (!is_known(t, k, column)) continue;
      for (uint64_t slot = group_hash(t, k, column); first_[cell] < 0; ++slot) {
        int64_t& held = table[slot % slots];
        if (held < 0) held = cell;
        if (held % columns_ == column && same_group(t, held / columns_, k, column)) {
          first_[cell] = held / columns_;
        }
      }
    }
  }

  int64_t place(int64_t k, int64_t l) const {
    return first_[k * columns_ + (columns_ == 1 ? 0 : l)] * classes_ + l;
  }

  template <class Visit>
  void for_known(const Table& t, Visit visit) const {
    for (int64_t k = 0; k < t.blocks; ++k) {
      for (int64_t l = 0; l < t.classes; ++l) {
        if (is_known(t, k, l)) visit(k, l, place(k, l));
      }
    }
  }

  int64_t classes_, columns_;
  std::vector<int64_t> first_;  // (K, columns): the first block of each known block's group
  std::vector<Group> groups_;   // (K, L), at that block
};

// The loss; a and b (K, L) receive the coefficients of the pixel gradient.
inline double table_loss(const Table& t, const Options& o, double* a, double* b) {
  std::optional<Groups> groups;
  if (is_grouped(o)) groups.emplace(t, o);
  Share total{};
  for (int64_t k = 0; k < t.blocks; ++k) {
    for (int64_t l = 0; l < t.classes; ++l) {
      Matched matched{};
      if (is_known(t, k, l)) {
        matched = match_known(t, o, groups ? groups->at(k, l) : Group{}, cell_of(t, o, k, l), k, l);
      }
      total.add(matched.share);
      a[k * t.classes + l] = matched.coefficients.a;
      b[k * t.classes + l] = matched.coefficients.b;
    }
  }
  for (int64_t k = 0; k < t.blocks; ++k) {
    for (int64_t l = 0; l < t.classes; ++l) {
      const int64_t cell = k * t.classes + l;
      Coefficients c{};
      if (is_known(t, k, l)) c = finish(t, o, {a[cell], b[cell]}, total, k, l);
      a[cell] = c.a;
      b[cell] = c.b;
    }
  }
  return loss_of(o, total);
}

}  // namespace lsr::cpu
