// A ParallelFor on plain threads, for programs without torch.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "cpu/parallel.h"

namespace lsr {

inline void thread_for(int64_t count, int64_t grain, cpu::Body body, void* context) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) body(context, i);
  };
  std::vector<std::thread> threads;
  const int64_t wanted = std::min<int64_t>(4, count / std::max<int64_t>(1, grain));
  for (int64_t i = 1; i < wanted; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace lsr
