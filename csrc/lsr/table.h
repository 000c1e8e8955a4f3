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

// The block sums and what is known of the blocks, row-major.
struct Table {
  int64_t blocks, classes;
  const double *n, *S, *Q;  // (K), (K, L), (K, L)
  const int64_t* labels;    // (K, label_columns); -1 = unknown
  int64_t label_columns;    // 1 or L
  const int64_t* group;     // (K, group_columns), or null: blocks of equal label form one group
  int64_t group_columns;
  const double *mean, *std;     // (Z, L)
  const double* class_weights;  // (L), or null
};

// What a group has in common: its size, mean, and variance between and within its blocks.
struct Group {
  double members, centre, variance;
};

LSR_HD int64_t label_of(const Table& t, int64_t k, int64_t l) {
  return t.labels[t.label_columns == 1 ? k : k * t.label_columns + l];
}

LSR_HD bool is_known(const Table& t, int64_t k, int64_t l) { return label_of(t, k, l) >= 0 && t.n[k] > 0; }

LSR_HD double weight_of(const Table& t, int64_t l) { return t.class_weights ? t.class_weights[l] : 1.0; }

LSR_HD int64_t group_id_of(const Table& t, int64_t k, int64_t l) {
  if (!t.group) return 0;
  return t.group[t.group_columns == 1 ? k : k * t.group_columns + l];
}

// Columns of groups: one for all classes, or one a class.
LSR_HD int64_t group_columns_of(const Table& t) {
  const int64_t ids = t.group ? t.group_columns : 1;
  return ids > t.label_columns ? ids : t.label_columns;
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

LSR_HD double mu_of(const Table& t, int64_t k, int64_t l) { return t.S[k * t.classes + l] / t.n[k]; }

LSR_HD double q_of(const Table& t, int64_t k, int64_t l) { return t.Q[k * t.classes + l] / t.n[k]; }

LSR_HD double effective_pixels(const Options& o, double n) { return n < o.n_eff ? n : o.n_eff; }

LSR_HD double target_variance(const Table& t, const Options& o, int64_t k, int64_t l) {
  const double std = o.alpha * t.std[label_of(t, k, l) * t.classes + l];
  return std * std;
}

LSR_HD double target_gap(const Table& t, int64_t k, int64_t l, double centre) {
  return t.mean[label_of(t, k, l) * t.classes + l] - centre;
}

// The variance of a block's mean (Eq. 14-16).
template <class T>  // a Table, or one whose means are at hand
LSR_HD double variance_of(const T& t, const Options& o, int64_t k, int64_t l) {
  return q_of(t, k, l) / effective_pixels(o, t.n[k]);
}

// The variance of a group (Eq. 8, and Eq. 11 in mode intra+inter), from sums over its members: of their
// means' squares about the group's (two passes: E[x^2] - E[x]^2 cancels), and of their own variances.
LSR_HD double spread_of(const Options& o, double members, double squares, double variances) {
  return (squares + (o.mode == Mode::kIntraInter ? variances : 0)) / members;
}

// The matching of one known cell: of the block alone, or of its group.
template <class T>
LSR_HD Distance match_cell(const T& t, const Options& o, const Group* group, int64_t k, int64_t l) {
  const double r2 = target_variance(t, o, k, l);
  const double floor = o.floor_rel * r2 + o.floor_abs;
  if (group) return match(o.form, target_gap(t, k, l, group->centre), group->variance + floor, r2);
  const double q = q_of(t, k, l);
  const double s = variance_of(t, o, k, l) + floor;
  return match_block(o.form, target_gap(t, k, l, mu_of(t, k, l)), s, r2, q);
}

// The share of one cell in the loss, and in the two weights that it is divided by.
struct Share {
  double value, weight, sharpness, sharpness_weight;
};

template <class T>
LSR_HD Share share_of(const T& t, const Options& o, const Group* group, int64_t k, int64_t l) {
  const double w = weight_of(t, l);
  if (!is_known(t, k, l) || !(w > 0)) return {0, 0, 0, 0};
  const double share = group ? w / group->members : w;
  const double sharpness = o.sharpness != 0 ? w * log(q_of(t, k, l) + kSharpnessOffset) : 0;
  return {share * match_cell(t, o, group, k, l).value, share, sharpness, w};
}

LSR_HD double loss_of(const Options& o, const Share& total) {
  if (!(total.weight > 0)) return 0;
  return total.value / total.weight + o.sharpness * (total.sharpness / total.sharpness_weight);
}

// d loss / d p = a + b p for the pixels of one cell.
struct Coefficients {
  double a, b;
};

template <class T>
LSR_HD Coefficients coefficients_of(const T& t, const Options& o, const Group* group, const Share& total,
                                    int64_t k, int64_t l) {
  const double w = weight_of(t, l);
  if (!is_known(t, k, l) || !(w > 0)) return {0, 0};
  const Distance distance = match_cell(t, o, group, k, l);
  const double share = w / (group ? group->members : 1) / total.weight;
  // 1. By the block's mean, its variance and Q/n.
  double d_mu = share * distance.d_mean;
  double d_s = share * distance.d_variance;
  double d_q = share * distance.d_q;
  if (group) {
    d_mu += 2 * d_s * (mu_of(t, k, l) - group->centre);
    if (o.mode == Mode::kInter) d_s = 0;
  }
  if (o.sharpness != 0) {
    d_q += o.sharpness * w / total.sharpness_weight / (q_of(t, k, l) + kSharpnessOffset);
  }
  // 2. By the sums S and Q = sum p (1 - p).
  const double d_S = d_mu / t.n[k];
  const double d_Q = (d_s / effective_pixels(o, t.n[k]) + d_q) / t.n[k];
  return {d_S + d_Q, -2 * d_Q};
}

}  // namespace lsr
