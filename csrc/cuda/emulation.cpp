#include "emulation.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#if defined(LSR_EMULATION_THREADS)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <setjmp.h>
#include <ucontext.h>
#endif

namespace lsr::emulation {
namespace {

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulated CUDA: %s\n", what);
  std::abort();
}

}  // namespace

bool barriers_order_memory = true;

// Shared memory by name, allocated by whichever thread asks first.
class SharedMemory {
 public:
  void* at(const char* name, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::unique_ptr<char[]>& memory = memory_[name];
    if (!memory) {
      memory.reset(new char[bytes]);
      std::memset(memory.get(), 0xff, bytes);
    }
    return memory.get();
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<char[]>> memory_;
};

#if defined(LSR_EMULATION_THREADS)

namespace {

// Meets `count` threads, by relaxed operations and the kernel alone: to ThreadSanitizer no thread's memory is
// ordered before another's.
class Meeting {
 public:
  explicit Meeting(int count) : count_(count) {}
  void arrive() {
    const int turn = turn_.load(std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (arrived_.fetch_add(1, std::memory_order_relaxed) + 1 == count_) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.fetch_add(1, std::memory_order_relaxed);
      syscall(SYS_futex, &turn_, FUTEX_WAKE_PRIVATE, count_, nullptr, nullptr, 0);
    }
    while (turn_.load(std::memory_order_relaxed) == turn) {
      const timespec patience{300, 0};
      syscall(SYS_futex, &turn_, FUTEX_WAIT_PRIVATE, turn, &patience, nullptr, 0);
      if (errno == ETIMEDOUT) fail("not all threads reached a barrier or a shuffle");
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }

 private:
  const int count_;
  std::atomic<int> arrived_{0}, turn_{0};
};

// The same, ordering memory.
class Barrier {
 public:
  explicit Barrier(int count) : meeting_(count), count_(count) {}
  void arrive() {
    if (!barriers_order_memory) return meeting_.arrive();
    std::unique_lock<std::mutex> lock(mutex_);
    const unsigned turn = turn_;
    if (++arrived_ == count_) {
      arrived_ = 0;
      ++turn_;
      return met_.notify_all();
    }
    if (!met_.wait_for(lock, std::chrono::minutes(5), [&] { return turn_ != turn; }))
      fail("not all threads reached a barrier");
  }

 private:
  Meeting meeting_;
  const int count_;
  std::mutex mutex_;
  std::condition_variable met_;
  int arrived_ = 0;
  unsigned turn_ = 0;
};

struct Warp {
  Barrier barrier{kWarp};
  Meeting meeting{kWarp};
  std::atomic<uint64_t> slots[2][kWarp] = {};
};

}  // namespace

class Block {
 public:
  explicit Block(int threads) : barrier(threads) {
    for (int i = 0; i < threads; i += kWarp) warps.push_back(std::make_unique<Warp>());
  }
  Barrier barrier;
  std::vector<std::unique_ptr<Warp>> warps;
  SharedMemory shared;
};

Self& self() {
  thread_local Self current{};
  return current;
}

void sync_threads() { self().block->barrier.arrive(); }
void sync_warp() { self().block->warps[self().thread / kWarp]->barrier.arrive(); }

uint64_t exchange(uint64_t mine, int lane_xor) {
  thread_local unsigned turn = 0;
  const int lane = self().thread % kWarp;
  Warp& warp = *self().block->warps[self().thread / kWarp];
  // Two sets of slots: whoever has read the one may write the other while its neighbours still read.
  std::atomic<uint64_t>* slots = warp.slots[++turn % 2];
  slots[lane].store(mine, std::memory_order_relaxed);
  warp.meeting.arrive();
  return slots[lane ^ lane_xor].load(std::memory_order_relaxed);
}

namespace {

// Threads that are started once: ThreadSanitizer takes a millisecond for each.
class Pool {
 public:
  ~Pool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      count_ = -1;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // Calls work(i) for every i below count, all at a time.
  void run(int count, const std::function<void(int)>& work) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (static_cast<int>(threads_.size()) < count) {
      threads_.emplace_back([this, i = static_cast<int>(threads_.size()), turn = turn_] { serve(i, turn); });
    }
    work_ = &work;
    count_ = unfinished_ = count;
    ++turn_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return unfinished_ == 0; });
  }

 private:
  void serve(int i, int turn) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return count_ < 0 || turn_ != turn; });
      if (count_ < 0) return;
      turn = turn_;
      if (i >= count_) continue;
      lock.unlock();
      (*work_)(i);
      lock.lock();
      if (--unfinished_ == 0) changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* work_ = nullptr;
  int count_ = 0, unfinished_ = 0, turn_ = 0;
};

}  // namespace

// Some blocks at a time, so that races between blocks are seen too.
void launch(int64_t blocks, int threads, const std::function<void()>& kernel) {
  constexpr int64_t kAtOnce = 4;
  static Pool pool;
  for (int64_t first = 0; first < blocks; first += kAtOnce) {
    const int resident = static_cast<int>(std::min(kAtOnce, blocks - first));
    std::vector<std::unique_ptr<Block>> at;
    for (int i = 0; i < resident; ++i) at.push_back(std::make_unique<Block>(threads));
    pool.run(resident * threads, [&](int i) {
      self() = {at[i / threads].get(), i % threads, first + i / threads};
      kernel();
    });
  }
}

#else

namespace {

enum class State { kReady, kAtWarp, kAtBlock, kDone };

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 96 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

// Contexts start fibres. Between running ones a jump switches, without the system call that a context takes;
// but AddressSanitizer follows contexts alone.
struct Place {
  ucontext_t context;
  jmp_buf jump;
};

__attribute__((noinline)) void switch_to(Place& from, Place& to, bool started) {
#if defined(__SANITIZE_ADDRESS__)
  static_cast<void>(started);
  swapcontext(&from.context, &to.context);
#else
  if (_setjmp(from.jump)) return;
  if (started) _longjmp(to.jump, 1);
  setcontext(&to.context);
#endif
}

struct Fibre {
  Place place;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  State state;
  bool started;
  unsigned turn;
  Self self;
};

struct Launch {
  std::vector<Fibre> fibres;
  const std::function<void()>* kernel;
  Place scheduler;
  int running;
};
thread_local Launch* current;

void pause(State state) {
  Fibre& fibre = current->fibres[current->running];
  fibre.state = state;
  switch_to(fibre.place, current->scheduler, true);
}

void enter() {
  (*current->kernel)();
  pause(State::kDone);
}

}  // namespace

class Block {
 public:
  SharedMemory shared;
  std::vector<uint64_t> slots[2];
};

Self& self() { return current->fibres[current->running].self; }
void sync_threads() { pause(State::kAtBlock); }
void sync_warp() { pause(State::kAtWarp); }

uint64_t exchange(uint64_t mine, int lane_xor) {
  Fibre& fibre = current->fibres[current->running];
  std::vector<uint64_t>& slots = fibre.self.block->slots[++fibre.turn % 2];
  slots[fibre.self.thread] = mine;
  pause(State::kAtWarp);
  return slots[self().thread ^ lane_xor];
}

namespace {

// Runs a warp's threads until all are done or wait for the block.
void run_warp(Launch& launch, int first, int last) {
  for (;;) {
    int at_warp = 0;
    for (launch.running = first; launch.running < last; ++launch.running) {
      Fibre& fibre = launch.fibres[launch.running];
      if (fibre.state == State::kReady) {
        switch_to(launch.scheduler, fibre.place, fibre.started);
        fibre.started = true;
      }
      at_warp += fibre.state == State::kAtWarp;
    }
    if (at_warp == 0) return;
    if (at_warp != last - first) fail("not the whole warp reached a barrier or a shuffle");
    for (int i = first; i < last; ++i) launch.fibres[i].state = State::kReady;
  }
}

void run_block(Launch& launch, int64_t block_index, int threads) {
  Block block;
  for (std::vector<uint64_t>& slots : block.slots) slots.resize(threads);
  for (int i = 0; i < threads; ++i) {
    Fibre& fibre = launch.fibres[i];
    fibre.state = State::kReady;
    fibre.started = false;
    fibre.turn = 0;
    fibre.self = {&block, i, block_index};
    ucontext_t& context = fibre.place.context;
    getcontext(&context);
    context.uc_stack.ss_sp = fibre.stack.get();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, enter, 0);
  }
  for (;;) {
    for (int first = 0; first < threads; first += kWarp) run_warp(launch, first, first + kWarp);
    int done = 0;
    for (const Fibre& fibre : launch.fibres) done += fibre.state == State::kDone;
    if (done == threads) return;
    if (done > 0) fail("not all threads reached a barrier");
    for (Fibre& fibre : launch.fibres) fibre.state = State::kReady;
  }
}

}  // namespace

void launch(int64_t blocks, int threads, const std::function<void()>& kernel) {
  Launch launch{std::vector<Fibre>(threads), &kernel, {}, 0};
  current = &launch;
  for (int64_t i = 0; i < blocks; ++i) run_block(launch, i, threads);
  current = nullptr;
}

#endif

void* shared(const char* name, size_t bytes) { return self().block->shared.at(name, bytes); }

}  // namespace lsr::emulation
