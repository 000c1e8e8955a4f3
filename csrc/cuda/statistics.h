// Stage B on the device: adds up the records of stage A, and makes of them the loss, a and b. One thread
// block: the table is a few hundred numbers wide.
#pragma once

#include "groups.h"
#include "kernels.h"
#include "sums.h"

namespace lsr::cuda {

// Value i of block k. All loads of a round are on their way before the first is added.
LSR_DEVICE double value_of(const MomentSums& in, int64_t k, int i) {
  if (in.fixed.data) return i == 0 ? in.fixed.n(k) : in.fixed.value(k, i - 1);
  constexpr int kRound = 16;
  const double* record = &in.records.at(k, i, 0);
  double sum = 0;
  for (int64_t part = 0; part < in.records.parts; part += kRound) {
    double x[kRound];
#pragma unroll
    for (int u = 0; u < kRound; ++u) x[u] = part + u < in.records.parts ? record[part + u] : 0;
#pragma unroll
    for (int u = 0; u < kRound; ++u) sum += x[u];
  }
  return sum;
}

// The same of records, by a warp.
LSR_DEVICE double warp_value_of(const Records& records, int64_t k, int i) {
  double sum = 0;
  for (int64_t part = lane_index(); part < records.parts; part += kWarp) sum += records.at(k, i, part);
  return warp_sum(sum);
}

struct MomentTable {
  double *n, *S, *Q;
  int64_t blocks;
  int classes;

  LSR_DEVICE double& at(int64_t k, int i) const {
    if (i == 0) return n[k];
    return i <= classes ? S[k * classes + i - 1] : Q[k * classes + i - 1 - classes];
  }
};

// Every warp of the grid takes one value after the other; a thread each where there is little to add, so that
// all loads are on their way at once.
LSR_DEVICE void add_up(const MomentSums& in, const MomentTable& out, int64_t first_warp, int64_t warps) {
  constexpr int64_t kFewParts = 64;
  const int width = 1 + 2 * out.classes;
  if (in.fixed.data || in.records.parts <= kFewParts) {
    for (int64_t i = first_warp * kWarp + lane_index(); i < out.blocks * width; i += warps * kWarp) {
      out.at(i / width, static_cast<int>(i % width)) = value_of(in, i / width, static_cast<int>(i % width));
    }
    return;
  }
  for (int64_t i = first_warp; i < out.blocks * width; i += warps) {
    const double sum = warp_value_of(in.records, i / width, static_cast<int>(i % width));
    if (lane_index() == 0) out.at(i / width, static_cast<int>(i % width)) = sum;
  }
}

LSR_KERNEL(kThreads, 1)
add_up_moments(MomentSums in, MomentTable out, int64_t thread_blocks) {
  constexpr int kWarps = kThreads / kWarp;
  add_up(in, out, block_index() * kWarps + warp_index(), thread_blocks * kWarps);
}

// Pieces of the loss's workspace.
struct LossScratch {
  MomentTable moments;
  double *mean, *std, *class_weights, *block_weights;  // in double precision, where they are given in single
  int64_t* labels;  // (K, label_columns): -1 where the label is out of range
  GroupScratch groups;
};

struct LossJob {
  MomentSums sums;
  Targets targets;
  Options options;
  LossScratch scratch;
  void* loss;
  bool wide_loss;
  double *a, *b;
};

// A table in double precision: itself, or a copy in `room`; null stays null.
LSR_DEVICE const double* doubles_of(const RealTable& table, int64_t count, double* room) {
  if (table.wide) return static_cast<const double*>(table.data);
  if (!table.data) return nullptr;
  for (int64_t i = thread_index(); i < count; i += kTableThreads) {
    room[i] = static_cast<const float*>(table.data)[i];
  }
  return room;
}

// Copies the labels; whether this thread saw one that is out of range.
LSR_DEVICE bool copy_labels(const Targets& targets, int64_t blocks, int64_t* to) {
  if (!targets.labels) return false;
  bool bad = false;
  for (int64_t i = thread_index(); i < blocks * targets.label_columns; i += kTableThreads) {
    const int64_t label = targets.labels[i];
    const bool fits = label >= -1 && label < targets.target_rows;
    bad = bad || !fits;
    to[i] = fits ? label : -1;
  }
  return bad;
}

// The thread block's sums of some values of each thread, in place; `room` holds them once a warp.
template <int Count>
LSR_DEVICE void block_sums(double* values, double* room) {
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const double sum = warp_sum(values[i]);
    if (lane_index() == 0) room[warp_index() * Count + i] = sum;
    values[i] = 0;
  }
  sync_threads();
  for (int warp = 0; warp < kTableThreads / kWarp; ++warp) {
#pragma unroll
    for (int i = 0; i < Count; ++i) values[i] += room[warp * Count + i];
  }
}

// What the time goes to at the usual size, a few hundred cells, is the way of the instructions to the
// processor: each is met once. So little code, few barriers, and each cell matched once.
LSR_KERNEL(kTableThreads, 1)
table_loss(LossJob job) {
  constexpr int kSums = 5;
  LSR_SHARED(double, room, kSums* kTableThreads / kWarp);
  const LossScratch& scratch = job.scratch;
  const GroupScratch& groups = scratch.groups;
  const int64_t blocks = scratch.moments.blocks, classes = scratch.moments.classes, cells = blocks * classes;
  const Targets& targets = job.targets;
  const Options& options = job.options;
  // 1. The sums and the targets, in double precision.
  add_up(job.sums, scratch.moments, warp_index(), kTableThreads / kWarp);
  const Table table{blocks,
                    classes,
                    scratch.moments.n,
                    scratch.moments.S,
                    scratch.moments.Q,
                    targets.labels ? scratch.labels : nullptr,
                    targets.label_columns,
                    targets.group,
                    targets.group_columns,
                    doubles_of(targets.mean, targets.target_rows * classes, scratch.mean),
                    doubles_of(targets.std, targets.target_rows * classes, scratch.std),
                    doubles_of(targets.class_weights, classes, scratch.class_weights),
                    doubles_of(targets.block_weights, blocks, scratch.block_weights)};
  bool bad = copy_labels(targets, blocks, scratch.labels);
  if (job.sums.fixed.data) bad = bad || job.sums.fixed.block(blocks)[0] > 0;
  sync_threads();
  // 2. The cells' numbers, once; and which blocks form a group.
  const bool grouped = is_grouped(options), few = blocks <= GroupScratch::kFewBlocks;
  for (int64_t cell = thread_index(); cell < cells; cell += kTableThreads) {
    const int64_t k = cell / classes, l = cell % classes;
    groups.cells[cell] = is_known(table, k, l) ? cell_of(table, options, k, l) : Cell{};
  }
  if (grouped && few) {
    for (int64_t cell = thread_index(); cell < blocks * groups.columns; cell += kTableThreads) {
      groups.first[cell] = find_first(table, cell / groups.columns, cell % groups.columns);
    }
  }
  sync_threads();
  if (grouped && !few) sum_groups(table, options, groups);
  // 3. Each cell's share in the loss, and its coefficients but for the weight of all.
  Share mine{};
  for (int64_t cell = thread_index(); cell < cells; cell += kTableThreads) {
    const int64_t k = cell / classes, l = cell % classes;
    Matched matched{};
    if (is_known(table, k, l)) {
      Group group{};
      if (grouped) {
        group = few ? gather_group(table, options, groups, k, l)
                    : groups.groups[groups.first_of(k, l) * classes + l];
      }
      matched = match_known(table, options, group, groups.cells[cell], k, l);
    }
    mine.add(matched.share);
    job.a[cell] = matched.coefficients.a;
    job.b[cell] = matched.coefficients.b;
  }
  // 4. The loss.
  double sums[kSums] = {mine.value, mine.weight, mine.sharpness, mine.sharpness_weight, bad ? 1.0 : 0.0};
  block_sums<kSums>(sums, room);
  const Share total{sums[0], sums[1], sums[2], sums[3]};
  const bool spoilt = sums[4] > 0;
  if (thread_index() == 0) {
    const double loss = spoilt ? NAN : loss_of(options, total);
    if (job.wide_loss) {
      *static_cast<double*>(job.loss) = loss;
    } else {
      *static_cast<float*>(job.loss) = static_cast<float>(loss);
    }
  }
  // 5. The coefficients of the gradient.
  for (int64_t cell = thread_index(); cell < cells; cell += kTableThreads) {
    const int64_t k = cell / classes, l = cell % classes;
    Coefficients c{};
    if (is_known(table, k, l)) c = finish(table, options, {job.a[cell], job.b[cell]}, total, k, l);
    job.a[cell] = spoilt ? NAN : c.a;
    job.b[cell] = spoilt ? NAN : c.b;
  }
}

}  // namespace lsr::cuda
