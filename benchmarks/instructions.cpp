// `lsr_instructions STAGE CLASSES TYPE LAYOUT REPEATS`: the kernels on one small batch, for counting
// instructions.
#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "cpu/parallel.h"

using namespace lsr;

namespace {

void one_thread(int64_t count, int64_t, cpu::Body body, void* context) {
  for (int64_t i = 0; i < count; ++i) body(context, i);
}

bool is_one_of(const std::string& word, std::initializer_list<const char*> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 1;
  const std::string stage = argv[1], type = argv[3], layout = argv[4];
  if (!is_one_of(stage, {"forward", "backward"}) || !is_one_of(type, {"float32", "bfloat16"}) ||
      !is_one_of(layout,
                 {"rows", "quarters", "channels_last", "masked", "masked_channels_last", "strided"})) {
    return 1;
  }
  const int64_t images = 4, classes = std::atoi(argv[2]), height = 64, width = 64, area = height * width;
  // Bits of single-precision numbers will do for halves too: what they mean does not change the count.
  const Scalar scalar = type == "float32" ? Scalar::kFloat32 : Scalar::kBFloat16;
  const int64_t step = layout == "strided" ? 2 : 1;
  const bool channels_last = layout.find("channels_last") != std::string::npos;
  const bool masked = layout.find("masked") != std::string::npos;
  std::vector<float> logits(images * classes * area * step), gradient(logits.size());
  std::vector<uint8_t> mask(images * area);
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  for (float& x : logits) x = normal(random);
  for (uint8_t& m : mask) m = random() % 4 > 0;
  const auto array = [&](std::vector<float>& x) {
    if (channels_last) {
      return Array{x.data(), scalar, classes * area, 1, width * classes, classes};
    }
    return Array{x.data(), scalar, classes * area * step, area * step, width * step, step};
  };
  std::vector<int32_t> ids(mask.size());  // four blocks of an image, a quarter of it each
  for (int64_t i = 0; i < images * area; ++i) {
    ids[i] = i / area * 4 + i % area / (area / 2) * 2 + i % width / (width / 2);
  }
  const bool quarters = layout == "quarters";
  const Pixels pixels{array(logits),
                      images,
                      classes,
                      height,
                      width,
                      masked ? mask.data() : nullptr,
                      quarters ? ids.data() : nullptr,
                      quarters ? 4 * images : images,
                      Activation::kSoftmax};
  std::vector<double> n(pixels.blocks), S(pixels.blocks * classes), Q(S), a(S.size(), 0.1), b(S.size(), 0.2);
  for (int i = std::atoi(argv[5]); i > 0; --i) {
    if (stage == "forward") {
      cpu::block_moments(pixels, n.data(), S.data(), Q.data(), one_thread);
    } else {
      cpu::pixel_gradient(pixels, {a.data(), b.data(), 1.0}, array(gradient), one_thread);
    }
  }
  return 0;
}
