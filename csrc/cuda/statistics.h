// Stage B on the device: adds up the records of stage A, and makes of them the loss, a and b. One thread
// block: the table is a few hundred numbers wide.
#pragma once

#include "kernels.h"
#include "sums.h"

namespace lsr {

// A table whose means and Q/n are divided once, not by every member of a group again.
struct DividedTable : Table {
  const double *mu, *q;
};

LSR_HD double mu_of(const DividedTable& t, int64_t k, int64_t l) { return t.mu[k * t.classes + l]; }
LSR_HD double q_of(const DividedTable& t, int64_t k, int64_t l) { return t.q[k * t.classes + l]; }

}  // namespace lsr

namespace lsr::cuda {

// Value i of block k, summed by a warp.
LSR_DEVICE double value_of(const MomentSums& in, int64_t k, int i) {
  if (in.fixed.data) return i == 0 ? in.fixed.n(k) : in.fixed.value(k, i - 1);
  double sum = 0;
  for (int64_t part = lane_index(); part < in.records.parts; part += kWarp) sum += in.records.at(k, i, part);
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

// Every warp of the grid takes one value after the other.
LSR_DEVICE void add_up(const MomentSums& in, const MomentTable& out, int64_t first_warp, int64_t warps) {
  const int width = 1 + 2 * out.classes;
  for (int64_t i = first_warp; i < out.blocks * width; i += warps) {
    const double sum = value_of(in, i / width, static_cast<int>(i % width));
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
  double *mu, *q, *mean, *std, *class_weights;
  Group* groups;     // (K, L), at each group's first block
  int64_t* leaders;  // (K, L): that block
  int64_t* labels;   // (K, label_columns): -1 where the label is out of range
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

LSR_DEVICE void copy_doubles(const void* from, bool wide, int64_t count, double* to) {
  for (int64_t i = thread_index(); i < count; i += kTableThreads) {
    to[i] = wide ? static_cast<const double*>(from)[i] : static_cast<const float*>(from)[i];
  }
}

// Copies the labels; whether this thread saw one that is out of range.
LSR_DEVICE bool copy_labels(const Targets& targets, int64_t blocks, int64_t* to) {
  bool bad = false;
  for (int64_t i = thread_index(); i < blocks * targets.label_columns; i += kTableThreads) {
    const int64_t label = targets.labels[i];
    const bool fits = label >= -1 && label < targets.label_count;
    bad = bad || !fits;
    to[i] = fits ? label : -1;
  }
  return bad;
}

// The block's sum of a value of each thread; `room` holds one a warp.
LSR_DEVICE double block_sum(double value, double* room) {
  value = warp_sum(value);
  sync_threads();  // the room is read out
  if (lane_index() == 0) room[warp_index()] = value;
  sync_threads();
  double sum = 0;
  for (int warp = 0; warp < kTableThreads / kWarp; ++warp) sum += room[warp];
  return sum;
}

LSR_KERNEL(kTableThreads, 1)
table_loss(LossJob job) {
  LSR_SHARED(double, room, kTableThreads / kWarp);
  const LossScratch& scratch = job.scratch;
  const int64_t blocks = scratch.moments.blocks, classes = scratch.moments.classes, cells = blocks * classes;
  const Targets& targets = job.targets;
  const Options& options = job.options;
  // 1. The sums and the targets, in double precision.
  add_up(job.sums, scratch.moments, warp_index(), kTableThreads / kWarp);
  copy_doubles(targets.mean, targets.wide_mean, targets.label_count * classes, scratch.mean);
  copy_doubles(targets.std, targets.wide_std, targets.label_count * classes, scratch.std);
  if (targets.class_weights)
    copy_doubles(targets.class_weights, targets.wide_weights, classes, scratch.class_weights);
  bool bad = copy_labels(targets, blocks, scratch.labels);
  if (job.sums.fixed.data) bad = bad || job.sums.fixed.block(blocks)[0] > 0;
  sync_threads();
  // 2. The divisions, once.
  for (int64_t cell = thread_index(); cell < cells; cell += kTableThreads) {
    const double n = scratch.moments.n[cell / classes];
    scratch.mu[cell] = scratch.moments.S[cell] / n;
    scratch.q[cell] = scratch.moments.Q[cell] / n;
  }
  sync_threads();
  DividedTable table;
  static_cast<Table&>(table) = {blocks,
                                classes,
                                scratch.moments.n,
                                scratch.moments.S,
                                scratch.moments.Q,
                                scratch.labels,
                                targets.label_columns,
                                targets.group,
                                targets.group_columns,
                                scratch.mean,
                                scratch.std,
                                targets.class_weights ? scratch.class_weights : nullptr};
  table.mu = scratch.mu;
  table.q = scratch.q;
  // 3. Groups, each by the thread of its first block; the others fetch it.
  const bool grouped = options.mode != Mode::kIntra;
  if (grouped) {
    for (int64_t cell = thread_index(); cell < cells; cell += kTableThreads) {
      const int64_t k = cell / classes, l = cell % classes;
      if (!is_known(table, k, l)) continue;
      scratch.leaders[cell] = leader_of(table, k, l);
      if (scratch.leaders[cell] == k) scratch.groups[cell] = group_of(table, options, k, l);
    }
    sync_threads();
  }
  const auto group_at = [&](int64_t k, int64_t l) -> const Group* {
    if (!grouped || !is_known(table, k, l)) return nullptr;
    return &scratch.groups[scratch.leaders[k * classes + l] * classes + l];
  };
  // 4. The loss.
  Share mine{};
  for (int64_t cell = thread_index(); cell < cells; cell += kTableThreads) {
    const int64_t k = cell / classes, l = cell % classes;
    const Share share = share_of(table, options, group_at(k, l), k, l);
    mine.value += share.value;
    mine.weight += share.weight;
    mine.sharpness += share.sharpness;
    mine.sharpness_weight += share.sharpness_weight;
  }
  const Share total{block_sum(mine.value, room), block_sum(mine.weight, room),
                    block_sum(mine.sharpness, room), block_sum(mine.sharpness_weight, room)};
  const bool spoilt = block_sum(bad ? 1 : 0, room) > 0;
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
    const Coefficients c = coefficients_of(table, options, group_at(k, l), total, k, l);
    job.a[cell] = spoilt ? NAN : c.a;
    job.b[cell] = spoilt ? NAN : c.b;
  }
}

}  // namespace lsr::cuda
