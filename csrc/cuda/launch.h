// Launches, and how the work of one is cut.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels.h"
#include "platform.h"

#if defined(__CUDACC__)
#include <atomic>
#endif

namespace lsr::cuda {

#if defined(__CUDACC__)

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("lsr: ") + what + ": " + cudaGetErrorString(error));
}

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, LsrStream stream,
            const Arguments&... arguments) {
  kernel<<<static_cast<unsigned>(blocks), threads, 0, stream>>>(arguments...);
  check(cudaGetLastError(), "a launch failed");
}

inline void fill_zero(void* data, int64_t bytes, LsrStream stream) {
  check(cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), stream), "clearing memory failed");
}

// Thread blocks of a kernel that the current device holds at a time. Asked once: the answer takes longer than
// a launch.
template <auto Kernel>
int64_t resident_blocks() {
  constexpr int kDevices = 64;
  static std::atomic<int64_t> known[kDevices];
  int device = 0, processors = 0, each = 0;
  check(cudaGetDevice(&device), "no current device");
  if (device < kDevices && known[device] > 0) return known[device];
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "no such device");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, Kernel, kThreads, 0), "a kernel does not fit");
  const int64_t blocks = int64_t{std::max(1, each)} * processors;
  if (device < kDevices) known[device] = blocks;
  return blocks;
}

#else

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, LsrStream,
            const Arguments&... arguments) {
  emulation::launch(blocks, threads, [&] { kernel(arguments...); });
}

inline void fill_zero(void* data, int64_t bytes, LsrStream) {
  std::memset(data, 0, static_cast<size_t>(bytes));
}

// Few, so that a thread block has several rounds at small sizes.
template <auto Kernel>
int64_t resident_blocks() {
  return 8;
}

#endif

// Parts of each image, at most so many, so that their thread blocks fill whole waves: p parts take the time
// of their waves / p. Another wave has to be worth it.
inline int64_t parts_that_fill(int64_t images, int64_t most, int64_t resident) {
  images = std::max<int64_t>(1, images);
  const auto most_of = [&](int64_t waves) {
    return std::min(most, std::max<int64_t>(1, waves * resident / images));
  };
  const auto waves_of = [&](int64_t parts) { return (images * parts + resident - 1) / resident; };
  int64_t best = most_of(1);
  const int64_t first = waves_of(best);
  for (int64_t waves = first + 1; waves <= first + 4; ++waves) {
    const int64_t parts = most_of(waves);
    if (20 * waves_of(parts) * best < 19 * waves_of(best) * parts) best = parts;
  }
  return best;
}

// Parts of an image, of so many units each: as many as keep the device busy at once, each long enough to be
// worth starting, a multiple of `multiple`.
struct Cut {
  int64_t parts, part_units;
};

inline Cut cut(int64_t images, int64_t units, int64_t least, int64_t multiple, int64_t resident) {
  const int64_t most = std::max<int64_t>(1, (units + least - 1) / least);
  const int64_t parts = parts_that_fill(images, most, resident);
  int64_t length = (units + parts - 1) / parts;
  length = std::max<int64_t>(multiple, (length + multiple - 1) / multiple * multiple);
  return {std::max<int64_t>(1, (units + length - 1) / length), length};
}

}  // namespace lsr::cuda
