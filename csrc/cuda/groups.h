// Groups of blocks on the device, by one thread block, in time linear in the blocks. Their sums are exact, so
// that threads may add to them in any order.
#pragma once

#include "../lsr/table.h"
#include "fixed.h"

namespace lsr {

// A table whose means and Q/n are divided once.
struct DividedTable : Table {
  const double *mu, *q;
};

LSR_HD double mu_of(const DividedTable& t, int64_t k, int64_t l) { return t.mu[k * t.classes + l]; }
LSR_HD double q_of(const DividedTable& t, int64_t k, int64_t l) { return t.q[k * t.classes + l]; }

}  // namespace lsr

namespace lsr::cuda {

// Sums over the members of a group: of their means, of their own variances, and of the squares of their means
// about the group's.
struct GroupSums {
  uint64_t members;
  ExactSum means, variances, squares;
};

struct GroupScratch {
  uint64_t* slots;  // a hash table of cells, each plus 1: one of each group, whichever came first
  int64_t capacity, columns;
  int64_t* first;   // (K, columns): the block in that cell
  GroupSums* sums;  // (K, L), at that block
  Group* groups;    // the same

  static int64_t capacity_for(int64_t cells) {
    int64_t capacity = 2;
    while (capacity < 2 * cells) capacity *= 2;
    return capacity;
  }

  LSR_DEVICE int64_t place(int64_t k, int64_t l, int64_t classes) const {
    return first[k * columns + (columns == 1 ? 0 : l)] * classes + l;
  }
};

LSR_DEVICE void clear_words(void* data, int64_t bytes) {
  for (int64_t i = thread_index(); i < bytes / 8; i += kTableThreads) static_cast<uint64_t*>(data)[i] = 0;
}

// The block that stands for k's group in a column.
LSR_DEVICE int64_t first_of(const Table& t, const GroupScratch& scratch, int64_t k, int64_t column) {
  const uint64_t mine = static_cast<uint64_t>(k * scratch.columns + column + 1);
  for (uint64_t slot = group_hash(t, k, column);; ++slot) {
    const uint64_t held = swap_integer(scratch.slots + slot % scratch.capacity, 0, mine);
    const int64_t cell = static_cast<int64_t>(held == 0 ? mine : held) - 1, j = cell / scratch.columns;
    if (cell % scratch.columns == column && same_group(t, j, k, column)) return j;
  }
}

// Calls visit(k, l, place of its group) for this thread's known cells.
template <class Visit>
LSR_DEVICE void for_known(const Table& t, const GroupScratch& scratch, Visit visit) {
  for (int64_t cell = thread_index(); cell < t.blocks * t.classes; cell += kTableThreads) {
    const int64_t k = cell / t.classes, l = cell % t.classes;
    if (is_known(t, k, l)) visit(k, l, scratch.place(k, l, t.classes));
  }
}

// Calls visit(sums, group) for this thread's groups.
template <class Visit>
LSR_DEVICE void for_groups(const Table& t, const GroupScratch& scratch, Visit visit) {
  for (int64_t at = thread_index(); at < t.blocks * t.classes; at += kTableThreads) {
    if (scratch.sums[at].members > 0) visit(scratch.sums[at], scratch.groups[at]);
  }
}

// Fills in what the members of each group have in common.
LSR_DEVICE void sum_groups(const DividedTable& t, const Options& o, const GroupScratch& scratch) {
  // 1. Which blocks form a group.
  clear_words(scratch.slots, scratch.capacity * int64_t{sizeof(uint64_t)});
  clear_words(scratch.sums, t.blocks * t.classes * int64_t{sizeof(GroupSums)});
  sync_threads();
  for (int64_t cell = thread_index(); cell < t.blocks * scratch.columns; cell += kTableThreads) {
    const int64_t k = cell / scratch.columns, column = cell % scratch.columns;
    if (is_known(t, k, column)) scratch.first[cell] = first_of(t, scratch, k, column);
  }
  sync_threads();
  // 2. Their number, their means and their own variances.
  for_known(t, scratch, [&](int64_t k, int64_t l, int64_t at) {
    add_integer(&scratch.sums[at].members, 1);
    scratch.sums[at].means.announce(mu_of(t, k, l));
    scratch.sums[at].variances.announce(variance_of(t, o, k, l));
  });
  sync_threads();
  for_known(t, scratch, [&](int64_t k, int64_t l, int64_t at) {
    scratch.sums[at].means.add(mu_of(t, k, l));
    scratch.sums[at].variances.add(variance_of(t, o, k, l));
  });
  sync_threads();
  for_groups(t, scratch, [&](const GroupSums& sums, Group& group) {
    group.members = static_cast<double>(sums.members);
    group.centre = sums.means.value() / group.members;
  });
  sync_threads();
  // 3. The squares about the group's mean.
  const auto square_of = [&](int64_t k, int64_t l, int64_t at) {
    const double deviation = mu_of(t, k, l) - scratch.groups[at].centre;
    return deviation * deviation;
  };
  for_known(t, scratch, [&](int64_t k, int64_t l, int64_t at) {
    scratch.sums[at].squares.announce(square_of(k, l, at));
  });
  sync_threads();
  for_known(t, scratch,
            [&](int64_t k, int64_t l, int64_t at) { scratch.sums[at].squares.add(square_of(k, l, at)); });
  sync_threads();
  for_groups(t, scratch, [&](const GroupSums& sums, Group& group) {
    group.variance = spread_of(o, group.members, sums.squares.value(), sums.variances.value());
  });
  sync_threads();
}

}  // namespace lsr::cuda
