// The CUDA kernels' own source, emulated, against loops in long double, over shapes that cross every
// boundary: partial vectors, warps and tiles, several thread blocks a block, unaligned bases, strides, masks
// and block ids. Exits with the number of failures.
//   cuda_test           all cases            cuda_test few      those that suit an emulation by threads
//   cuda_test race      barriers that do not order memory: ThreadSanitizer must report it
//   cuda_test overrun   a gradient one element too short: AddressSanitizer must report it
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/table_loss.h"
#include "cuda/emulation.h"
#include "cuda/kernels.h"
#include "cuda/launch.h"
#include "cuda/vector.h"
#include "exact.h"

using namespace lsr;

namespace {

int failures = 0;

void expect(bool holds, const char* what, const char* type, int64_t height, int64_t width, int64_t classes) {
  if (holds) return;
  ++failures;
  std::printf("FAILED %s of %s at L=%ld H=%ld W=%ld\n", what, type, long(classes), long(height), long(width));
}

enum class Layout { kPlanar, kUnaligned, kChannelsLast, kCropped, kCroppedChannelsLast, kScattered, kCount };

struct Case {
  int64_t images, classes, height, width;
  Activation activation;
  Layout layout;
  bool masked, by_id;
  double spread;  // of the logits: at 60 the probabilities of most classes are below the normal numbers
};

template <class S>
struct Type;
template <>
struct Type<float> {
  static constexpr Scalar scalar = Scalar::kFloat32;
  static constexpr const char* name = "float32";
  static constexpr Precision precision{2e-6L, 0x1p-126L, 0, 0x1p-126L};
};
template <>
struct Type<double> {
  static constexpr Scalar scalar = Scalar::kFloat64;
  static constexpr const char* name = "float64";
  static constexpr Precision precision{4e-15L, 0x1p-1022L, 0, 0x1p-1022L};
};
template <>
struct Type<cuda::BFloat16> {
  static constexpr Scalar scalar = Scalar::kBFloat16;
  static constexpr const char* name = "bfloat16";
  static constexpr Precision precision{2e-6L, 0x1p-126L, 0x1p-8L, 0x1p-126L};
};
template <>
struct Type<cuda::Float16> {
  static constexpr Scalar scalar = Scalar::kFloat16;
  static constexpr const char* name = "float16";
  static constexpr Precision precision{2e-6L, 0x1p-126L, 0x1p-11L, 0x1p-25L};
};

// Memory exactly as long as what is read, so that a sanitizer sees a read beyond either end.
template <class S>
struct Buffers {
  explicit Buffers(const Case& c, int64_t missing = 0) {
    const int64_t crop = c.layout == Layout::kCropped || c.layout == Layout::kCroppedChannelsLast ? 8 : 0;
    const int64_t step = c.layout == Layout::kScattered ? 2 : 1;
    const int64_t row = (c.width + crop) * step, area = c.height * row;
    if (c.layout == Layout::kChannelsLast || c.layout == Layout::kCroppedChannelsLast) {
      array = {nullptr, Type<S>::scalar, c.classes * area, 1, row * c.classes, c.classes};
    } else {
      array = {nullptr, Type<S>::scalar, c.classes * area, area, row, step};
    }
    const int64_t last = (c.images - 1) * array.image_stride + (c.classes - 1) * array.class_stride +
                         (c.height - 1) * array.row_stride + (c.width - 1) * array.pixel_stride;
    const int64_t offset = c.layout == Layout::kUnaligned ? 1 : 0;
    data.reset(new S[offset + last + 1 - missing]);
    array.data = data.get() + offset;
  }
  S& at(int64_t n, int64_t l, int64_t i, int64_t j) {
    return static_cast<S*>(array.data)[n * array.image_stride + l * array.class_stride +
                                       i * array.row_stride + j * array.pixel_stride];
  }
  std::unique_ptr<S[]> data;
  Array array;
};

template <class S>
void check(const Case& c, std::mt19937& random) {
  std::normal_distribution<double> normal(0, 3), spread(0, c.spread);
  std::uniform_int_distribution<int> coin(0, 3), block(-1, 4);
  Buffers<S> logits(c), gradient(c);
  std::vector<uint8_t> mask(c.images * c.height * c.width);
  std::vector<int32_t> ids(mask.size());
  for (int64_t n = 0; n < c.images; ++n)
    for (int64_t l = 0; l < c.classes; ++l)
      for (int64_t i = 0; i < c.height; ++i)
        for (int64_t j = 0; j < c.width; ++j)
          cuda::write_element(&logits.at(n, l, i, j), static_cast<cuda::Compute<S>>(spread(random)));
  for (uint8_t& m : mask) m = coin(random) > 0;
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = i % 7 ? ids[i - 1] : block(random);
  const int64_t blocks = c.by_id ? 5 : c.images;
  const Pixels pixels{logits.array,
                      c.images,
                      c.classes,
                      c.height,
                      c.width,
                      c.masked ? mask.data() : nullptr,
                      c.by_id ? ids.data() : nullptr,
                      blocks,
                      c.activation};

  // 1. Sums.
  std::vector<double> n(blocks), S_sums(blocks * c.classes), Q(S_sums), a(S_sums), b(S_sums);
  const cuda::Plan plan = cuda::plan_moments(pixels);
  std::unique_ptr<char[]> workspace(new char[cuda::moment_workspace_bytes(pixels, plan)]);
  cuda::block_moments(pixels, plan, workspace.get(), n.data(), S_sums.data(), Q.data(), nullptr);
  // 2. A gradient from made-up coefficients.
  for (double& x : a) x = normal(random);
  for (double& x : b) x = normal(random);
  const float scale = 0.5f;
  cuda::pixel_gradient(pixels, {a.data(), b.data(), &scale, false}, gradient.array, nullptr);
  // 3. Both again by loops.
  std::vector<long double> exact_n(blocks), exact_S(Q.size()), exact_Q(Q.size()), x(c.classes);
  bool near = true;
  for (int64_t k = 0; k < c.images; ++k) {
    for (int64_t i = 0; i < c.height; ++i) {
      for (int64_t j = 0; j < c.width; ++j) {
        const int64_t pixel = (k * c.height + i) * c.width + j;
        const int64_t at = c.by_id ? ids[pixel] : k;
        if (at < 0 || (c.masked && !mask[pixel])) {
          for (int64_t l = 0; l < c.classes; ++l) near &= cuda::read_element(&gradient.at(k, l, i, j)) == 0;
          continue;
        }
        for (int64_t l = 0; l < c.classes; ++l) x[l] = cuda::read_element(&logits.at(k, l, i, j));
        const ExactPixel exact =
            exact_pixel(x, &a[at * c.classes], &b[at * c.classes], scale, c.activation, Type<S>::precision);
        ++exact_n[at];
        for (int64_t l = 0; l < c.classes; ++l) {
          exact_S[at * c.classes + l] += exact.p[l];
          exact_Q[at * c.classes + l] += exact.q[l];
          const long double error = fabsl(cuda::read_element(&gradient.at(k, l, i, j)) - exact.gradient[l]);
          near &= error <= exact.allowed[l];
        }
      }
    }
  }
  const long double tolerance = Type<S>::precision.computed;
  expect(near, "gradient", Type<S>::name, c.height, c.width, c.classes);
  for (int64_t k = 0; k < blocks; ++k) {
    expect(n[k] == exact_n[k], "n", Type<S>::name, c.height, c.width, c.classes);
    for (int64_t l = k * c.classes; l < (k + 1) * c.classes; ++l) {
      const bool s = fabsl(S_sums[l] - exact_S[l]) <= tolerance * (exact_S[l] + 1e-4L);
      const bool q = fabsl(Q[l] - exact_Q[l]) <= tolerance * (exact_Q[l] + 1e-4L);
      expect(s, "S", Type<S>::name, c.height, c.width, c.classes);
      expect(q, "Q", Type<S>::name, c.height, c.width, c.classes);
    }
  }
}

// Every `stride`-th case.
void check_all(const std::vector<int64_t>& class_counts,
               const std::vector<std::pair<int64_t, int64_t>>& sizes, int64_t stride = 1) {
  std::mt19937 random(0);
  int64_t cases = 0;
  for (const int64_t classes : class_counts) {
    for (const auto& [height, width] : sizes) {
      for (int layout = 0; layout < static_cast<int>(Layout::kCount); ++layout) {
        for (const Activation activation : {Activation::kSoftmax, Activation::kSigmoid}) {
          if (classes == 1 && activation == Activation::kSoftmax) continue;
          ++cases;
          if (cases % stride) continue;
          const Case c{2,
                       classes,
                       height,
                       width,
                       activation,
                       static_cast<Layout>(layout),
                       cases % 3 == 0,
                       cases % 5 == 0,
                       cases % 7 ? 3.0 : 60.0};
          check<float>(c, random);
          if (cases % 4 == 0) check<double>(c, random);
          if (cases % 2 == 0) check<cuda::BFloat16>(c, random);
          if (cases % 2 == 1) check<cuda::Float16>(c, random);
        }
      }
    }
  }
  std::printf("%ld cases, %d failures\n", long(cases), failures);
}

// The loss in one launch of stage B against stage B of the CPU; twice, to the bit. Labels and groups are one
// a block, or one a block and class.
// With columns 0 the blocks have targets of their own.
void check_loss(int64_t blocks, int64_t side, int64_t columns, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 2);
  std::uniform_real_distribution<double> uniform(0.1, 0.9);
  std::uniform_int_distribution<int64_t> label(-1, 2), id(0, blocks / 4);
  const int64_t classes = 3, rows = columns > 0 ? 3 : blocks, group_columns = columns > 0 ? columns : 1;
  std::vector<int64_t> labels(blocks * columns), group(blocks * group_columns);
  for (int64_t& x : labels) x = label(random);
  for (int64_t& x : group) x = id(random) % 2 ? id(random) : 5;  // a large one among small ones
  std::vector<float> logits(blocks * classes * side * side);
  for (float& x : logits) x = normal(random);
  const Pixels pixels{{logits.data(), Scalar::kFloat32, classes * side * side, side * side, side, 1},
                      blocks,
                      classes,
                      side,
                      side,
                      nullptr,
                      nullptr,
                      blocks,
                      Activation::kSoftmax};
  std::vector<double> mean(rows * classes), std(mean), weights(blocks), n(blocks), S(blocks * classes), Q(S),
      a(S), b(S), exact_a(S), exact_b(S);
  for (double& x : mean) x = uniform(random);
  for (double& x : std) x = 0.3 * uniform(random);
  for (double& x : weights) x = uniform(random) < 0.3 ? 0 : 2 * uniform(random);
  for (size_t i = 0; columns == 0 && i < mean.size(); i += 4) mean[i] = NAN;
  const cuda::Plan plan = cuda::plan_moments(pixels);
  std::unique_ptr<char[]> moments(new char[cuda::moment_workspace_bytes(pixels, plan)]);
  cuda::block_moments(pixels, plan, moments.get(), n.data(), S.data(), Q.data(), nullptr);
  const int64_t* const label_data = columns > 0 ? labels.data() : nullptr;
  const int64_t label_columns = columns > 0 ? columns : 1;
  const Table table{blocks,     classes,       n.data(),      S.data(),      Q.data(),
                    label_data, label_columns, group.data(),  group_columns, mean.data(),
                    std.data(), nullptr,       weights.data()};
  const cuda::Targets targets{
      label_data,          label_columns,      group.data(), group_columns,         rows,
      {mean.data(), true}, {std.data(), true}, {},           {weights.data(), true}};
  std::unique_ptr<char[]> scratch(new char[cuda::loss_workspace_bytes(pixels, targets)]);
  for (int mode = 0; mode < 3; ++mode) {
    for (int form = 0; form < 9; ++form) {
      const Options options{static_cast<Mode>(mode), static_cast<Form>(form), 20.0, 0.9, 0.1, 1e-4, 0.3};
      const double exact = cpu::table_loss(table, options, exact_a.data(), exact_b.data());
      double loss[2];
      for (double& value : loss) {
        cuda::label_super_resolution(pixels, plan, moments.get(), targets, options, scratch.get(), &value,
                                     true, a.data(), b.data(), nullptr);
      }
      expect(loss[0] == loss[1], "repeated loss", "float32", mode, form, classes);
      expect(fabs(loss[0] - exact) <= 1e-12 * (1 + fabs(exact)), "loss", "float32", mode, form, classes);
      for (size_t i = 0; i < a.size(); ++i) {
        const double scale = 1e-12 * (1 + fabs(exact_a[i]) + fabs(exact_b[i]));
        expect(fabs(a[i] - exact_a[i]) < scale && fabs(b[i] - exact_b[i]) < scale, "coefficients", "float32",
               mode, form, classes);
      }
    }
  }
}

// However many images: four fifths of the places for thread blocks are taken, in whole waves.
void check_cut() {
  for (const int64_t resident : {132, 264, 396, 528}) {
    for (int64_t images = 1; images <= 1000; ++images) {
      const int64_t blocks = images * cuda::parts_that_fill(images, 1 << 20, resident);
      const int64_t places = (blocks + resident - 1) / resident * resident;
      expect(5 * blocks >= 4 * places, "a full device", "images", images, resident, 0);
    }
  }
}

// The kernels told of one pixel more than the gradient has room for.
void plant_overrun() {
  const Case c{1, 3, 5, 64, Activation::kSoftmax, Layout::kPlanar, false, false, 3.0};
  Buffers<float> logits(c), gradient(c, 1);
  std::fill_n(logits.data.get(), 3 * 5 * 64, 0.5f);
  const std::vector<double> a(3, 1.0), b(3, 1.0);
  const Pixels pixels{logits.array, 1, 3, 5, 64, nullptr, nullptr, 1, c.activation};
  cuda::pixel_gradient(pixels, {a.data(), b.data(), nullptr, false}, gradient.array, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  std::mt19937 random(0);
  emulation::barriers_order_memory = what != "race";
  if (what == "overrun") {
    plant_overrun();
  } else if (what == "all") {
    check_cut();
    check_all({1, 2, 3, 6, 8, 9}, {{1, 1}, {1, 15}, {3, 16}, {7, 129}});
    check_all({4, 5, 7, 12, 16, 17, 24, 32, 40, 130}, {{4, 24}});
    check_all({2, 6}, {{30, 160}});
    check_loss(7, 9, 1, random);
    check_loss(150, 1, 1, random);
    check_loss(50, 1, 3, random);
    check_loss(90, 1, 3, random);
    check_loss(20, 3, 0, random);
    check_loss(90, 1, 0, random);
  } else {
    check_all({1, 3, 34}, {{3, 17}}, 3);
    check_all({8}, {{12, 64}}, 5);
    check_loss(7, 9, 1, random);
    check_loss(20, 1, 3, random);
    check_loss(70, 1, 0, random);
  }
  return failures != 0;
}
