// `lsr_instructions STAGE REPEATS`: the kernels on one small batch, for counting instructions.
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/parallel.h"

using namespace lsr;

namespace {

void one_thread(int64_t count, int64_t, cpu::Body body, void* context) {
  for (int64_t i = 0; i < count; ++i) body(context, i);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  const int64_t images = 4, classes = 6, height = 64, width = 64, area = height * width;
  std::vector<float> logits(images * classes * area), gradient(logits.size());
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  for (float& x : logits) x = normal(random);
  const auto array = [&](std::vector<float>& x) {
    return Array{x.data(), Scalar::kFloat32, classes * area, area, width, 1};
  };
  const Pixels pixels{array(logits),       images, classes, height, width, nullptr, nullptr, images,
                      Activation::kSoftmax};
  std::vector<double> n(images), S(images * classes), Q(S), a(S.size(), 0.1), b(S.size(), 0.2);
  for (int i = std::atoi(argv[2]); i > 0; --i) {
    if (!std::strcmp(argv[1], "forward")) {
      cpu::block_moments(pixels, n.data(), S.data(), Q.data(), one_thread);
    } else {
      cpu::pixel_gradient(pixels, {a.data(), b.data(), 1.0}, array(gradient), one_thread);
    }
  }
  return 0;
}
