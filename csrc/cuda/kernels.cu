#include "kernels.h"

#include "launch.h"
#include "launcher.h"
#include "statistics.h"

namespace lsr::cuda {
namespace {

// Calls call(Launcher) for a type.
template <class Call>
auto with_launcher(Scalar scalar, Call call) {
  switch (scalar) {
    case Scalar::kFloat64:
      return call(Launcher<double>{});
    case Scalar::kBFloat16:
      return call(Launcher<BFloat16>{});
    case Scalar::kFloat16:
      return call(Launcher<Float16>{});
    default:
      return call(Launcher<float>{});
  }
}

int width_of(const Pixels& pixels) { return static_cast<int>(1 + 2 * pixels.classes); }

// No pixels, no records: the sums of nothing are found without them.
int64_t parts_of(const Pixels& pixels, const Plan& plan) {
  return pixels.images * pixels.height * pixels.width * pixels.classes == 0 ? 0 : plan.parts;
}

// Stage A up to its records, or fixed-point sums, in the workspace.
MomentSums sum_up(const Pixels& pixels, const Plan& plan, void* workspace, LsrStream stream) {
  MomentSums sums{{static_cast<double*>(workspace), parts_of(pixels, plan), width_of(pixels)},
                  {nullptr, pixels.blocks, static_cast<int>(pixels.classes)}};
  if (pixels.block_ids) {
    sums.fixed.data = static_cast<uint64_t*>(workspace);
    fill_zero(workspace, moment_workspace_bytes(pixels, plan), stream);
  }
  with_launcher(pixels.logits.scalar, [&](auto launcher) { launcher.moments(pixels, plan, sums, stream); });
  return sums;
}

// Hands out consecutive pieces of a workspace.
class Pieces {
 public:
  explicit Pieces(void* data) : data_(static_cast<char*>(data)) {}
  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(data_ + bytes_);
    bytes_ += count * static_cast<int64_t>(sizeof(T));
    return piece;
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* data_;
  int64_t bytes_ = 0;
};

LossScratch scratch_of(const Pixels& pixels, const Targets& targets, Pieces& pieces) {
  const int64_t blocks = pixels.blocks, classes = pixels.classes, cells = blocks * classes;
  const auto room_for = [&](const RealTable& table, int64_t count) {
    return pieces.take<double>(table.wide ? 0 : count);
  };
  LossScratch scratch{};
  scratch.moments = {pieces.take<double>(blocks), pieces.take<double>(cells), pieces.take<double>(cells),
                     blocks, static_cast<int>(classes)};
  scratch.mean = room_for(targets.mean, targets.target_rows * classes);
  scratch.std = room_for(targets.std, targets.target_rows * classes);
  scratch.class_weights = room_for(targets.class_weights, classes);
  scratch.block_weights = room_for(targets.block_weights, blocks);
  scratch.labels = pieces.take<int64_t>(blocks * targets.label_columns);
  GroupScratch& groups = scratch.groups;
  groups.cells = pieces.take<Cell>(cells);
  groups.columns = group_columns_of(targets.labels, targets.label_columns, targets.group_columns, classes);
  groups.first = pieces.take<int64_t>(blocks * groups.columns);
  if (blocks <= GroupScratch::kFewBlocks) return scratch;
  groups.capacity = GroupScratch::capacity_for(blocks * groups.columns);
  groups.slots = pieces.take<uint64_t>(groups.capacity);
  groups.sums = pieces.take<GroupSums>(cells);
  groups.groups = pieces.take<Group>(cells);
  return scratch;
}

}  // namespace

Plan plan_moments(const Pixels& pixels) {
  return with_launcher(pixels.logits.scalar, [&](auto launcher) { return launcher.plan(pixels); });
}

int64_t moment_workspace_bytes(const Pixels& pixels, const Plan& plan) {
  if (pixels.block_ids) return FixedSums::words(pixels.blocks, pixels.classes) * int64_t{sizeof(uint64_t)};
  return pixels.images * parts_of(pixels, plan) * width_of(pixels) * int64_t{sizeof(double)};
}

void block_moments(const Pixels& pixels, const Plan& plan, void* workspace, double* n, double* S, double* Q,
                   LsrStream stream) {
  const MomentSums sums = sum_up(pixels, plan, workspace, stream);
  const MomentTable table{n, S, Q, pixels.blocks, static_cast<int>(pixels.classes)};
  const int64_t warps = kThreads / kWarp, values = pixels.blocks * width_of(pixels);
  const int64_t thread_blocks = std::min<int64_t>(1024, (values + warps - 1) / warps);
  if (thread_blocks > 0) launch(add_up_moments, thread_blocks, kThreads, stream, sums, table, thread_blocks);
}

int64_t loss_workspace_bytes(const Pixels& pixels, const Targets& targets) {
  Pieces pieces(nullptr);
  scratch_of(pixels, targets, pieces);
  return pieces.bytes();
}

void label_super_resolution(const Pixels& pixels, const Plan& plan, void* moment_workspace,
                            const Targets& targets, const Options& options, void* loss_workspace, void* loss,
                            bool wide_loss, double* a, double* b, LsrStream stream) {
  const MomentSums sums = sum_up(pixels, plan, moment_workspace, stream);
  Pieces pieces(loss_workspace);
  const LossScratch scratch = scratch_of(pixels, targets, pieces);
  launch(table_loss, 1, kTableThreads, stream,
         LossJob{sums, targets, options, scratch, loss, wide_loss, a, b});
}

void pixel_gradient(const Pixels& pixels, const GradientSource& source, const Array& out, LsrStream stream) {
  with_launcher(pixels.logits.scalar, [&](auto launcher) { launcher.gradient(pixels, source, out, stream); });
}

}  // namespace lsr::cuda
