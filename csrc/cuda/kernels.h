// Stages A, B and C on a CUDA device, on raw pointers and a stream; nothing here waits for the device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../lsr/pixels.h"
#include "../lsr/table.h"

#if defined(LSR_EMULATED)
using LsrStream = void*;
#else
#include <cuda_runtime_api.h>
using LsrStream = cudaStream_t;
#endif

namespace lsr::cuda {

// Which kernels serve a layout.
enum class Path : int32_t {
  kPlanar,       // each class a plane
  kInterleaved,  // the classes of a pixel side by side
  kPacked,       // the same, where a vector holds whole pixels
  kElements,     // the same for independent classes
  kStrided       // any strides, any number of classes, block ids: reads the logits more than once
};

// How the work on some pixels is cut: into parts of each image, a thread block each.
struct Plan {
  Path path;
  bool wide;                  // kPlanar: in vectors, not element by element
  int64_t parts, part_units;  // of an image; vectors, tiles, ... of a part
};

// Of stage A. Its workspace holds a record of each part, or, with block ids, the blocks' fixed-point sums.
Plan plan_moments(const Pixels& pixels);
int64_t moment_workspace_bytes(const Pixels& pixels, const Plan& plan);

// The sums n (K), S (K, L), Q (K, L), in two launches.
void block_moments(const Pixels& pixels, const Plan& plan, void* workspace, double* n, double* S, double* Q,
                   LsrStream stream);

// Numbers in double precision if `wide`, else in single; or none.
struct RealTable {
  const void* data = nullptr;
  bool wide = false;
};

// What the loss is given beside the pixels.
struct Targets {
  const int64_t* labels;  // (K, label_columns), or null: a target a block
  int64_t label_columns;
  const int64_t* group;  // (K, group_columns), or null
  int64_t group_columns;
  int64_t target_rows;                     // labels, or blocks
  RealTable mean, std;                     // (rows, L)
  RealTable class_weights, block_weights;  // (L), (K)
};

int64_t loss_workspace_bytes(const Pixels& pixels, const Targets& targets);

// The loss (float, or double if `wide_loss`) and a, b (K, L), in two launches. A label or a block id that is
// out of range makes all of them NaN: the host cannot look without waiting.
void label_super_resolution(const Pixels& pixels, const Plan& plan, void* moment_workspace,
                            const Targets& targets, const Options& options, void* loss_workspace, void* loss,
                            bool wide_loss, double* a, double* b, LsrStream stream);

// d loss / d p = scale (a + b p); the scale is read on the device, null = 1.
struct GradientSource {
  const double *a, *b;
  const void* scale;
  bool wide_scale;
};

// The gradient by the logits, written to every pixel of out, which may be the logits themselves: one launch.
void pixel_gradient(const Pixels& pixels, const GradientSource& source, const Array& out, LsrStream stream);

}  // namespace lsr::cuda
