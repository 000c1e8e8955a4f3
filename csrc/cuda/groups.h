// Groups of blocks on the device, by one thread block. Few blocks: each cell's thread looks at all. Many: a
// hash table, in time linear in the blocks; its sums are exact, so that threads may add to them in any order.
#pragma once

#include "../lsr/table.h"
#include "fixed.h"

namespace lsr::cuda {

// Sums over the members of a group, of what `Group` has the means of; of their own variances, and of the
// squares of their residuals about the group's.
struct GroupSums {
  uint64_t counted;
  ExactSum members, residuals, targets, target_variances, variances, squares;
};

struct GroupScratch {
  Cell* cells;     // (K, L)
  int64_t* first;  // (K, columns): the first block of its group, or another that stands for it; -1 = unknown
  int64_t columns;
  // For many blocks.
  uint64_t* slots;  // a hash table of cells, each plus 1: one of each group, whichever came first
  int64_t capacity;
  GroupSums* sums;  // (K, L), at the first block
  Group* groups;    // the same

  static constexpr int64_t kFewBlocks = 64;

  static int64_t capacity_for(int64_t cells) {
    int64_t capacity = 2;
    while (capacity < 2 * cells) capacity *= 2;
    return capacity;
  }

  LSR_DEVICE int64_t first_of(int64_t k, int64_t l) const {
    return first[k * columns + (columns == 1 ? 0 : l)];
  }
};

// The first block of k's group in a column, by looking at all before it.
LSR_DEVICE int64_t find_first(const Table& t, int64_t k, int64_t column) {
  if (!is_known(t, k, column)) return -1;
  int64_t j = 0;
  while (j < k && !(is_known(t, j, column) && same_group(t, j, k, column))) ++j;
  return j;
}

// The group of a known cell, from all blocks. In order, so that each member finds the same sums.
LSR_DEVICE Group gather_group(const Table& t, const Options& o, const GroupScratch& scratch, int64_t k,
                              int64_t l) {
  const int64_t first = scratch.first_of(k, l);
  Group group{};
  double variances = 0, squares = 0;
  // What another block holds leaves no trace, if it is no number either.
  const auto member = [&](int64_t j) { return scratch.first_of(j, l) == first; };
#pragma unroll 4
  for (int64_t j = first; j < t.blocks; ++j) {
    const Cell cell = member(j) ? scratch.cells[j * t.classes + l] : Cell{};
    const double weight = member(j) ? block_weight_of(t, j) : 0;
    group.members += weight;
    group.centre += weight * cell.residual();
    group.eta += weight * cell.eta;
    group.r2 += weight * cell.r2;
    variances += weight * cell.s;
  }
  group.centre /= group.members;
  group.eta /= group.members;
  group.r2 /= group.members;
#pragma unroll 4
  for (int64_t j = first; j < t.blocks; ++j) {
    if (!member(j)) continue;
    const double deviation = scratch.cells[j * t.classes + l].residual() - group.centre;
    squares += block_weight_of(t, j) * deviation * deviation;
  }
  group.variance = spread_of(o, group.members, squares, variances);
  return group;
}

LSR_DEVICE void clear_words(void* data, int64_t bytes) {
  for (int64_t i = thread_index(); i < bytes / 8; i += kTableThreads) static_cast<uint64_t*>(data)[i] = 0;
}

// The block that stands for k's group in a column, by the hash table.
LSR_DEVICE int64_t look_up_first(const Table& t, const GroupScratch& scratch, int64_t k, int64_t column) {
  if (!is_known(t, k, column)) return -1;
  const uint64_t mine = static_cast<uint64_t>(k * scratch.columns + column + 1);
  for (uint64_t slot = group_hash(t, k, column);; ++slot) {
    const uint64_t held = swap_integer(scratch.slots + slot % scratch.capacity, 0, mine);
    const int64_t cell = static_cast<int64_t>(held == 0 ? mine : held) - 1, j = cell / scratch.columns;
    if (cell % scratch.columns == column && same_group(t, j, k, column)) return j;
  }
}

// Calls visit(cell, weight, place of its group) for this thread's known cells.
template <class Visit>
LSR_DEVICE void for_known(const Table& t, const GroupScratch& scratch, Visit visit) {
  for (int64_t at = thread_index(); at < t.blocks * t.classes; at += kTableThreads) {
    const int64_t k = at / t.classes, l = at % t.classes, first = scratch.first_of(k, l);
    if (first >= 0) visit(scratch.cells[at], block_weight_of(t, k), first * t.classes + l);
  }
}

// Calls visit(sums, group) for this thread's groups.
template <class Visit>
LSR_DEVICE void for_groups(const Table& t, const GroupScratch& scratch, Visit visit) {
  for (int64_t at = thread_index(); at < t.blocks * t.classes; at += kTableThreads) {
    if (scratch.sums[at].counted > 0) visit(scratch.sums[at], scratch.groups[at]);
  }
}

// Fills in the groups of many blocks; every thread's cells are there.
LSR_DEVICE void sum_groups(const Table& t, const Options& o, const GroupScratch& scratch) {
  // 1. Which blocks form a group.
  clear_words(scratch.slots, scratch.capacity * int64_t{sizeof(uint64_t)});
  clear_words(scratch.sums, t.blocks * t.classes * int64_t{sizeof(GroupSums)});
  sync_threads();
  for (int64_t cell = thread_index(); cell < t.blocks * scratch.columns; cell += kTableThreads) {
    scratch.first[cell] = look_up_first(t, scratch, cell / scratch.columns, cell % scratch.columns);
  }
  sync_threads();
  // 2. Sums of what needs no mean.
  const auto for_sums = [&](auto visit) {
    for_known(t, scratch, [&](const Cell& cell, double weight, int64_t at) {
      GroupSums& sums = scratch.sums[at];
      visit(sums.members, weight);
      visit(sums.residuals, weight * cell.residual());
      visit(sums.targets, weight * cell.eta);
      visit(sums.target_variances, weight * cell.r2);
      visit(sums.variances, weight * cell.s);
    });
    sync_threads();
  };
  for_sums([](ExactSum& sum, double x) { sum.announce(x); });
  for_sums([](ExactSum& sum, double x) { sum.add(x); });
  for_known(t, scratch, [&](const Cell&, double, int64_t at) { add_integer(&scratch.sums[at].counted, 1); });
  sync_threads();
  for_groups(t, scratch, [&](const GroupSums& sums, Group& group) {
    group.members = sums.members.value();
    group.centre = sums.residuals.value() / group.members;
    group.eta = sums.targets.value() / group.members;
    group.r2 = sums.target_variances.value() / group.members;
  });
  sync_threads();
  // 3. The squares about the group's mean.
  const auto for_squares = [&](auto visit) {
    for_known(t, scratch, [&](const Cell& cell, double weight, int64_t at) {
      const double deviation = cell.residual() - scratch.groups[at].centre;
      visit(scratch.sums[at].squares, weight * deviation * deviation);
    });
    sync_threads();
  };
  for_squares([](ExactSum& sum, double x) { sum.announce(x); });
  for_squares([](ExactSum& sum, double x) { sum.add(x); });
  for_groups(t, scratch, [&](const GroupSums& sums, Group& group) {
    group.variance = spread_of(o, group.members, sums.squares.value(), sums.variances.value());
  });
  sync_threads();
}

}  // namespace lsr::cuda
