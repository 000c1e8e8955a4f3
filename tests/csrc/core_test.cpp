// The torch-free core against loops in long double, over shapes that cross every boundary: partial vectors,
// runs, ranges and tiles, unaligned bases, strides, masks and block ids. Exits with the number of failures.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "cpu/parallel.h"
#include "cpu/table_loss.h"
#include "exact.h"
#include "halves.h"
#include "threads.h"

using namespace lsr;
using by_digits::BFloat16;
using by_digits::Float16;

namespace {

int failures = 0;

void expect(bool holds, const char* what, int64_t height, int64_t width, int64_t classes) {
  if (holds) return;
  ++failures;
  std::printf("FAILED %s at L=%ld H=%ld W=%ld\n", what, long(classes), long(height), long(width));
}

struct Case {
  int64_t images, classes, height, width;
  Activation activation;
  int layout;  // 0 contiguous from an unaligned base, 1 channels last, 2 every second pixel of wider rows
  bool masked, by_id;
  double spread;  // of the logits: at 60 the probabilities of most classes are below the normal numbers
};

template <class T>
struct Type;
template <>
struct Type<float> {
  static constexpr Scalar scalar = Scalar::kFloat32;
  static constexpr Precision precision{2e-6L, 0x1p-126L, 0, 0x1p-126L};
};
template <>
struct Type<double> {
  static constexpr Scalar scalar = Scalar::kFloat64;
  static constexpr Precision precision{4e-15L, 0x1p-1022L, 0, 0x1p-1022L};
};
template <>
struct Type<BFloat16> {
  static constexpr Scalar scalar = Scalar::kBFloat16;
  static constexpr Precision precision{2e-6L, 0x1p-126L, 0x1p-8L, 0x1p-126L};
};
template <>
struct Type<Float16> {
  static constexpr Scalar scalar = Scalar::kFloat16;
  static constexpr Precision precision{2e-6L, 0x1p-126L, 0x1p-11L, 0x1p-25L};
};

template <class T>
struct Buffers {
  explicit Buffers(const Case& c) {
    const int64_t step = c.layout == 2 ? 2 : 1;
    const int64_t area = c.height * c.width * step;
    // Exactly as long as what is read, so that a sanitizer sees a read beyond the end.
    data.resize(1 + c.images * c.classes * area - (step - 1));
    if (c.layout == 1) {
      array = {nullptr, Type<T>::scalar, c.classes * area, 1, c.width * c.classes, c.classes};
    } else {
      array = {nullptr, Type<T>::scalar, c.classes * area, area, c.width * step, step};
    }
    array.data = data.data() + 1;
  }
  T& at(int64_t n, int64_t l, int64_t i, int64_t j) {
    return static_cast<T*>(array.data)[n * array.image_stride + l * array.class_stride +
                                       i * array.row_stride + j * array.pixel_stride];
  }
  std::vector<T> data;
  Array array;
};

template <class T>
void check(const Case& c, std::mt19937& random) {
  std::normal_distribution<double> normal(0, 3), spread(0, c.spread);
  std::uniform_int_distribution<int> coin(0, 3), block(-1, 4);
  Buffers<T> logits(c), gradient(c);
  std::vector<uint8_t> mask(c.images * c.height * c.width);
  std::vector<int32_t> ids(mask.size());
  for (T& x : logits.data) x = static_cast<T>(spread(random));
  for (uint8_t& m : mask) m = coin(random) > 0;
  for (int32_t& id : ids) id = block(random);
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
  std::vector<double> n(blocks), S(blocks * c.classes), Q(S), a(S), b(S);
  cpu::block_moments(pixels, n.data(), S.data(), Q.data(), thread_for);
  // 2. A gradient from made-up coefficients.
  for (double& x : a) x = normal(random);
  for (double& x : b) x = normal(random);
  cpu::pixel_gradient(pixels, {a.data(), b.data(), 0.5}, gradient.array, thread_for);
  // 3. Both again by loops.
  std::vector<long double> exact_n(blocks), exact_S(Q.size()), exact_Q(Q.size()), x(c.classes);
  bool near = true, normal_numbers = true;
  for (int64_t k = 0; k < c.images; ++k) {
    for (int64_t i = 0; i < c.height; ++i) {
      for (int64_t j = 0; j < c.width; ++j) {
        const int64_t pixel = (k * c.height + i) * c.width + j;
        const int64_t at = c.by_id ? ids[pixel] : k;
        if (at < 0 || (c.masked && !mask[pixel])) {
          for (int64_t l = 0; l < c.classes; ++l) near &= gradient.at(k, l, i, j) == 0;
          continue;
        }
        for (int64_t l = 0; l < c.classes; ++l) x[l] = logits.at(k, l, i, j);
        const ExactPixel exact =
            exact_pixel(x, &a[at * c.classes], &b[at * c.classes], 0.5L, c.activation, Type<T>::precision);
        ++exact_n[at];
        for (int64_t l = 0; l < c.classes; ++l) {
          exact_S[at * c.classes + l] += exact.p[l];
          exact_Q[at * c.classes + l] += exact.q[l];
          const long double found = gradient.at(k, l, i, j), error = fabsl(found - exact.gradient[l]);
          normal_numbers &= found == 0 || fabsl(found) >= Type<T>::precision.smallest;
          near &= error <= exact.allowed[l];
        }
      }
    }
  }
  const long double tolerance = Type<T>::precision.computed;
  expect(near, "gradient", c.height, c.width, c.classes);
  expect(normal_numbers, "gradient in normal numbers", c.height, c.width, c.classes);
  volatile float below = 0x1p-126f;
  below = below / 2;
  expect(below > 0, "the caller's arithmetic", c.height, c.width, c.classes);
  // 4. The gradient over the logits.
  cpu::pixel_gradient(pixels, {a.data(), b.data(), 0.5}, logits.array, thread_for);
  bool same = true;
  for (int64_t k = 0; k < c.images * c.height * c.width * c.classes; ++k) {
    const int64_t pixel = k / c.classes, j = pixel % c.width, i = pixel / c.width % c.height;
    const int64_t image = pixel / c.width / c.height, l = k % c.classes;
    same &= logits.at(image, l, i, j) == gradient.at(image, l, i, j);
  }
  expect(same, "gradient in place", c.height, c.width, c.classes);
  for (int64_t k = 0; k < blocks; ++k) {
    expect(n[k] == exact_n[k], "n", c.height, c.width, c.classes);
    for (int64_t l = k * c.classes; l < (k + 1) * c.classes; ++l) {
      expect(fabsl(S[l] - exact_S[l]) <= tolerance * (exact_S[l] + 1e-9L), "S", c.height, c.width, c.classes);
      expect(fabsl(Q[l] - exact_Q[l]) <= tolerance * (exact_Q[l] + 1e-9L), "Q", c.height, c.width, c.classes);
    }
  }
}

// The coefficients of the table against differences of the loss; with targets by label, or the blocks' own.
void check_table(std::mt19937& random, bool labelled) {
  std::uniform_real_distribution<double> uniform(0.1, 0.9);
  const int64_t blocks = 7, classes = 3;
  const std::vector<int64_t> labels{0, 1, 0, -1, 1, 1, 2}, group{5, 5, 5, 5, 6, 5, 5};
  for (int mode = 0; mode < 3; ++mode) {
    for (int form = 0; form < 9; ++form) {
      std::vector<double> n(blocks, 50.0), S(blocks * classes), Q(S), mean(S), std(S), a(S), b(S), unused(S);
      const std::vector<double> weights{1, 0.5, 2, 1, 0, 1.5, 1};
      for (double& x : S) x = 50 * uniform(random);
      for (double& x : Q) x = 10 * uniform(random);
      for (double& x : mean) x = uniform(random);
      for (double& x : std) x = 0.3 * uniform(random);
      if (!labelled) mean[4] = NAN;
      const Table table{blocks,
                        classes,
                        n.data(),
                        S.data(),
                        Q.data(),
                        labelled ? labels.data() : nullptr,
                        1,
                        group.data(),
                        1,
                        mean.data(),
                        std.data(),
                        nullptr,
                        weights.data()};
      const Options options{static_cast<Mode>(mode), static_cast<Form>(form), 20.0, 0.9, 0.1, 1e-4, 0.3};
      cpu::table_loss(table, options, a.data(), b.data());
      for (size_t i = 0; i < S.size(); ++i) {
        const auto slope = [&](std::vector<double>& sums) {
          const double step = 1e-4, before = sums[i];
          sums[i] = before + step;
          const double up = cpu::table_loss(table, options, unused.data(), unused.data());
          sums[i] = before - step;
          const double down = cpu::table_loss(table, options, unused.data(), unused.data());
          sums[i] = before;
          return (up - down) / (2 * step);
        };
        // d loss / d p = d_S + d_Q (1 - 2 p) = a + b p.
        const double d_S = slope(S), d_Q = slope(Q), scale = 1e-6 * (1 + fabs(d_S) + fabs(d_Q));
        expect(fabs(a[i] - (d_S + d_Q)) < scale && fabs(b[i] + 2 * d_Q) < scale, "coefficients", mode, form,
               i);
      }
    }
  }
}

}  // namespace

int main() {
  std::mt19937 random(0);
  int64_t cases = 0;
  for (const int64_t classes : {1, 2, 3, 4, 6, 8, 9, 40, 70}) {
    for (const auto& [height, width] : {std::pair{1, 1}, {1, 15}, {3, 17}, {5, 64}, {7, 129}, {150, 150}}) {
      if (classes >= 40 && height > 7) continue;
      for (const Activation activation : {Activation::kSoftmax, Activation::kSigmoid}) {
        if (classes == 1 && activation == Activation::kSoftmax) continue;
        const Case c{2,
                     classes,
                     height,
                     width,
                     activation,
                     int(cases % 3),
                     cases / 3 % 2 == 0,
                     cases / 6 % 2 == 0,
                     cases % 5 ? 3.0 : 60.0};
        check<float>(c, random);
        check<double>(c, random);
        check<BFloat16>(c, random);
        check<Float16>(c, random);
        ++cases;
      }
    }
  }
  check_table(random, true);
  check_table(random, false);
  std::printf("%s: %ld cases, %d failures\n", cpu::build().name, long(cases), failures);
  return failures != 0;
}
