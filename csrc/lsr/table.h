// Stage B: from the table of block sums to the loss and the coefficients of its pixel gradient.
#pragma once

#include <cstdint>

#include "macros.h"
#include "matching.h"

namespace lsr {

enum class Mode : int32_t { kIntra, kInter, kIntraInter };

struct Options {
  Mode mode;
  Form form;
  double n_eff;  // effective pixels of a block, at most all of them
  double alpha;
  double floor_rel, floor_abs;  // the floor of the variance: floor_rel * r2 + floor_abs
  double sharpness;
};

// The block sums and what is known of the blocks, row-major. Each block has the target of its label; without
// labels a target of its own.
struct Table {
  int64_t blocks, classes;
  const double *n, *S, *Q;  // (K), (K, L), (K, L)
  const int64_t* labels;    // (K, label_columns), -1 = unknown; or null
  int64_t label_columns;    // 1 or L
  const int64_t* group;     // (K, group_columns), or null: all blocks of equal label form one group
  int64_t group_columns;
  const double *mean, *std;     // (Z, L), a row a label; without labels (K, L), NaN = unknown
  const double* class_weights;  // (L), or null
  const double* block_weights;  // (K), or null; a block of weight 2 counts as two
};

// What a group has in common: the weight of its members, the means of their residuals, targets and target
// variances, and the variance of the residuals between and within its blocks.
struct Group {
  double members, centre, eta, r2, variance;
};

LSR_HD int64_t label_of(const Table& t, int64_t k, int64_t l) {
  if (!t.labels) return 0;
  return t.labels[t.label_columns == 1 ? k : k * t.label_columns + l];
}

// Where a known block's target for a class is.
LSR_HD int64_t target_of(const Table& t, int64_t k, int64_t l) {
  return (t.labels ? label_of(t, k, l) : k) * t.classes + l;
}

LSR_HD double block_weight_of(const Table& t, int64_t k) {
  return t.block_weights ? t.block_weights[k] : 1.0;
}

// A weight that is no number takes part, so that the result says it.
LSR_HD bool is_known(const Table& t, int64_t k, int64_t l) {
  if (!(t.n[k] > 0) || block_weight_of(t, k) <= 0) return false;
  if (t.labels) return label_of(t, k, l) >= 0;
  const int64_t cell = target_of(t, k, l);
  return t.mean[cell] == t.mean[cell] && t.std[cell] == t.std[cell];
}

LSR_HD double weight_of(const Table& t, int64_t k, int64_t l) {
  return (t.class_weights ? t.class_weights[l] : 1.0) * block_weight_of(t, k);
}

LSR_HD int64_t group_id_of(const Table& t, int64_t k, int64_t l) {
  if (!t.group) return 0;
  return t.group[t.group_columns == 1 ? k : k * t.group_columns + l];
}

// Columns of groups: one for all classes, or one a class, as where each class has its own unknown blocks.
LSR_HD int64_t group_columns_of(bool labelled, int64_t label_columns, int64_t group_columns,
                                int64_t classes) {
  if (!labelled) return classes;
  return group_columns > label_columns ? group_columns : label_columns;
}

// Two known blocks.
LSR_HD bool same_group(const Table& t, int64_t j, int64_t k, int64_t l) {
  return label_of(t, j, l) == label_of(t, k, l) && group_id_of(t, j, l) == group_id_of(t, k, l);
}

// A number that blocks of one group share, and those of others hardly.
LSR_HD uint64_t group_hash(const Table& t, int64_t k, int64_t l) {
  uint64_t hash = static_cast<uint64_t>(label_of(t, k, l)) * 0x9e3779b97f4a7c15u;
  hash = (hash ^ hash >> 32 ^ static_cast<uint64_t>(group_id_of(t, k, l))) * 0xbf58476d1ce4e5b9u;
  hash = (hash ^ hash >> 29 ^ static_cast<uint64_t>(l)) * 0x94d049bb133111ebu;
  return hash ^ hash >> 31;
}

LSR_HD double effective_pixels(const Options& o, double n) { return n < o.n_eff ? n : o.n_eff; }

// A cell's numbers: the predicted fraction, Q/n, and the variance of the fraction (Eq. 14-16); the mean and
// the variance of its target, of known cells.
struct Cell {
  double mu, q, s, eta, r2;

  LSR_HD double residual() const { return mu - eta; }
};

LSR_HD Cell cell_of(const Table& t, const Options& o, int64_t k, int64_t l) {
  const int64_t cell = k * t.classes + l, target = target_of(t, k, l);
  const double n = t.n[k], q = t.Q[cell] / n, rho = o.alpha * t.std[target];
  return {t.S[cell] / n, q, q / effective_pixels(o, n), t.mean[target], rho * rho};
}

// The variance of a group (Eq. 8, and Eq. 11 in mode intra+inter), from sums over its members: of their
// residuals' squares about the group's (two passes: E[x^2] - E[x]^2 cancels), and of their own variances.
LSR_HD double spread_of(const Options& o, double members, double squares, double variances) {
  return (squares + (o.mode == Mode::kIntraInter ? variances : 0)) / members;
}

LSR_HD bool is_grouped(const Options& o) { return o.mode != Mode::kIntra; }

// The matching of one known cell: of the block alone, or of its group.
LSR_HD Distance match_cell(const Options& o, const Group& group, const Cell& cell) {
  const double r2 = is_grouped(o) ? group.r2 : cell.r2, floor = o.floor_rel * r2 + o.floor_abs;
  if (is_grouped(o)) return match(o.form, -group.centre, group.variance + floor, r2, group.eta);
  return match_block(o.form, -cell.residual(), cell.s + floor, r2, cell.eta, cell.q);
}

// The share of one cell in the loss, and in the two weights that it is divided by.
struct Share {
  double value, weight, sharpness, sharpness_weight;

  LSR_HD void add(const Share& other) {
    value += other.value;
    weight += other.weight;
    sharpness += other.sharpness;
    sharpness_weight += other.sharpness_weight;
  }
};

// d loss / d p = a + b p for the pixels of one cell.
struct Coefficients {
  double a, b;
};

// A cell's share, and its coefficients before they are divided by the weight of all.
struct Matched {
  Share share;
  Coefficients coefficients;
};

// Of a known cell; the group is looked at in the modes of groups alone.
LSR_HD Matched match_known(const Table& t, const Options& o, const Group& group, const Cell& cell, int64_t k,
                           int64_t l) {
  const double w = weight_of(t, k, l), n = t.n[k];
  if (w <= 0) return {{0, 0, 0, 0}, {0, 0}};
  const double share = is_grouped(o) ? w / group.members : w;
  const Distance distance = match_cell(o, group, cell);
  // 1. By the block's mean, its variance and Q/n.
  double d_mu = share * distance.d_mean, d_s = share * distance.d_variance;
  const double d_q = share * distance.d_q;
  if (is_grouped(o)) {
    d_mu += 2 * d_s * (cell.residual() - group.centre);
    if (o.mode == Mode::kInter) d_s = 0;
  }
  // 2. By the sums S and Q = sum p (1 - p).
  const double d_Q = (d_s / effective_pixels(o, n) + d_q) / n;
  const double sharpness = o.sharpness != 0 ? w * log(cell.q + kSharpnessOffset) : 0;
  return {{share * distance.value, share, sharpness, w}, {d_mu / n + d_Q, -2 * d_Q}};
}

LSR_HD double loss_of(const Options& o, const Share& total) {
  if (total.weight <= 0) return 0;
  return total.value / total.weight + o.sharpness * (total.sharpness / total.sharpness_weight);
}

// A known cell's coefficients, divided by the weight of all, with what the sharpness adds.
LSR_HD Coefficients finish(const Table& t, const Options& o, const Coefficients& matched, const Share& total,
                           int64_t k, int64_t l) {
  if (total.weight <= 0) return {0, 0};
  Coefficients c{matched.a / total.weight, matched.b / total.weight};
  if (o.sharpness == 0) return c;
  const double n = t.n[k], q = t.Q[k * t.classes + l] / n;
  const double d_Q = o.sharpness * weight_of(t, k, l) / total.sharpness_weight / (q + kSharpnessOffset) / n;
  return {c.a + d_Q, c.b - 2 * d_Q};
}

}  // namespace lsr
