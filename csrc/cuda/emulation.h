// A CUDA thread block on the host: how the kernels' own source is tested where there is no GPU.
//
// The threads of a block are fibres, or, with LSR_EMULATION_THREADS, threads of the system, so that
// ThreadSanitizer sees what is not ordered. Barriers order memory; shuffles do not, as on the device. A
// barrier that not all threads reach, and a shuffle that not the whole warp reaches, end the program. Shared
// memory is allocated to the byte and filled with NaN.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>

namespace lsr::emulation {

constexpr int kWarp = 32;

class Block;

// What the running thread is.
struct Self {
  Block* block;
  int thread;
  int64_t block_index;
};
Self& self();

void sync_threads();
void sync_warp();
uint64_t exchange(uint64_t mine, int lane_xor);
void* shared(const char* name, size_t bytes);

// Makes barriers meet without ordering memory: a race planted at every one of them.
extern bool barriers_order_memory;

void launch(int64_t blocks, int threads, const std::function<void()>& kernel);

template <class T>
T shuffle_xor(T mine, int lane_xor) {
  uint64_t bits = 0;
  std::memcpy(&bits, &mine, sizeof(T));
  bits = exchange(bits, lane_xor);
  std::memcpy(&mine, &bits, sizeof(T));
  return mine;
}

}  // namespace lsr::emulation
