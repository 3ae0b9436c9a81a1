// Blocks of threads as fibers of one thread each, that change places only where they wait for one another.
#pragma once

#undef _FORTIFY_SOURCE  // it takes a jump to another stack for an error
#include <setjmp.h>
#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

// The race detector takes a fiber for a thread. It is told when they change, and where they wait for one another; what
// the emulation itself does is not its concern.
#if defined(__SANITIZE_THREAD__)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
}
#else
inline void* __tsan_get_current_fiber() { return nullptr; }
inline void* __tsan_create_fiber(unsigned) { return nullptr; }
inline void __tsan_destroy_fiber(void*) {}
inline void __tsan_switch_to_fiber(void*, unsigned) {}
inline void __tsan_acquire(void*) {}
inline void __tsan_release(void*) {}
#endif

namespace emulation {

constexpr int kWarp = 32, kStack = 1 << 17;
enum State { kReady, kPolling, kAtWarp, kAtBlock, kDone };

// What its own thread writes and its fibers read.
template <class T>
class Shared {
 public:
  Shared& operator=(T value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  operator T() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<T> value_{};
};
struct Index {
  Shared<unsigned> x;
};

}  // namespace emulation

inline thread_local emulation::Index threadIdx, blockIdx;

namespace emulation {

// swapcontext, without its two system calls where nobody minds.
struct Context {
  ucontext_t whole;
  jmp_buf registers;
  bool begun = true;

  void change_to(Context& other) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    swapcontext(&whole, &other.whole);
#else
    if (_setjmp(registers) != 0) return;
    if (other.begun) _longjmp(other.registers, 1);
    other.begun = true;
    setcontext(&other.whole);
#endif
  }
};

struct alignas(16) Slot {
  char bytes[96];
};

struct Fiber {
  Context context;
  Shared<State> state;
  Slot slots[2][2];  // what other threads of the warp and of the block read, by turns
  int turns[2];
  void* race_detector;
};

struct alignas(16) Sixteen {
  char bytes[16];
};

// Whether a block got anywhere, and whether it is done.
enum Progress { kStuck, kMoved, kFinished };

class Block {
 public:
  void start(unsigned index, int threads, size_t shared_bytes, const std::function<void()>& body);
  Progress run();
  void wait(State state);
  Fiber& fiber(int thread) { return fibers_[thread]; }
  int threads() const { return threads_; }
  char* shared() { return shared_.data()->bytes; }

 private:
  static void enter();
  void resume(int thread);
  bool meet(int begin, int end, State where);

  std::unique_ptr<Fiber[]> fibers_;
  std::unique_ptr<char[]> stacks_;  // in one piece: a process may map only so many
  int threads_ = 0, most_threads_ = 0;
  unsigned index_ = 0;
  std::vector<Sixteen> shared_;  // as much as asked for, so that a sanitizer sees who goes beyond it
  const std::function<void()>* body_ = nullptr;
  Context scheduler_;
  Shared<void*> race_detector_;
};

inline thread_local Shared<Block*> running;
inline Block& block() { return *static_cast<Block*>(running); }

inline void Block::start(unsigned index, int threads, size_t shared_bytes, const std::function<void()>& body) {
  if (threads > most_threads_) {
    fibers_.reset(new Fiber[most_threads_ = threads]);
    stacks_.reset(new char[size_t{kStack} * threads]);
  }
  index_ = index, threads_ = threads, body_ = &body;
  shared_.resize((shared_bytes + 15) / 16 + 1);
  std::memset(shared_.data(), 0xff, sizeof(Sixteen) * shared_.size());  // not a number
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = fibers_[i];
    getcontext(&fiber.context.whole);
    fiber.context.whole.uc_stack.ss_sp = &stacks_[size_t{kStack} * i];
    fiber.context.whole.uc_stack.ss_size = kStack;
    fiber.context.whole.uc_link = nullptr;
    makecontext(&fiber.context.whole, enter, 0);
    fiber.context.begun = false;
    fiber.state = kReady;
    fiber.turns[0] = fiber.turns[1] = 0;  // other launches had other threads, that met more or less often
    fiber.race_detector = __tsan_create_fiber(0);
  }
}

inline void Block::enter() {
  (*block().body_)();
  block().wait(kDone);
}

// Lets the others run: until the warp or the block meets, or just once.
inline void Block::wait(State state) {
  Fiber& self = fibers_[threadIdx.x];
  void* place = state == kAtWarp ? static_cast<void*>(&fibers_[threadIdx.x / kWarp * kWarp]) : this;
  if (state != kPolling) __tsan_release(place);
  self.state = state;
  __tsan_switch_to_fiber(race_detector_, 1);  // without an order of its own
  self.context.change_to(scheduler_);
  if (state != kPolling) __tsan_acquire(place);
}

inline void Block::resume(int thread) {
  threadIdx.x = thread;
  __tsan_switch_to_fiber(fibers_[thread].race_detector, 1);
  scheduler_.change_to(fibers_[thread].context);
}

// Whether all threads of [begin, end) are where they wait for one another. Some there and some elsewhere is an error.
inline bool Block::meet(int begin, int end, State where) {
  int there = 0, elsewhere = 0;
  for (int i = begin; i < end; ++i) {
    const State state = fibers_[i].state;
    there += state == where;
    elsewhere += state > kPolling && state != where;
  }
  if (there > 0 && elsewhere > 0 && (where == kAtWarp || there + elsewhere == end - begin)) {
    std::fprintf(stderr, "threads %d to %d of block %u are at different barriers\n", begin, end - 1, index_);
    std::abort();
  }
  return there == end - begin;
}

// Runs until all threads are done, or one polls in vain and the others wait for it.
inline Progress Block::run() {
  running = this;
  blockIdx.x = index_;
  race_detector_ = __tsan_get_current_fiber();
  bool moved_ever = false;
  while (true) {
    bool moved = false;
    for (int warp = 0; warp < threads_; warp += kWarp) {
      const int end = warp + kWarp < threads_ ? warp + kWarp : threads_;
      for (bool again = true; again;) {
        again = false;
        for (int i = warp; i < end; ++i) {
          const State before = fibers_[i].state;
          if (before > kPolling) continue;
          resume(i);
          again |= before == kReady || fibers_[i].state != kPolling;
        }
        if (meet(warp, end, kAtWarp)) {
          again = true;
          for (int i = warp; i < end; ++i) fibers_[i].state = kReady;
        }
        moved |= again;
      }
    }
    if (meet(0, threads_, kDone)) break;
    if (meet(0, threads_, kAtBlock)) {
      moved = true;
      for (int i = 0; i < threads_; ++i) fibers_[i].state = kReady;
    }
    if (!moved) return moved_ever ? kMoved : kStuck;
    moved_ever = true;
  }
  __tsan_acquire(this);
  for (int i = 0; i < threads_; ++i) __tsan_destroy_fiber(fibers_[i].race_detector);
  return kFinished;
}

// Runs blocks one after another.
inline void run_in_turn(unsigned blocks, int threads, size_t shared_bytes, const std::function<void()>& body) {
  static Block block;
  for (unsigned i = 0; i < blocks; ++i) {
    block.start(i, threads, shared_bytes, body);
    if (block.run() == kFinished) continue;
    std::fprintf(stderr, "block %u waits for others, that need not run at the same time\n", i);
    std::abort();
  }
}

// Runs blocks that may wait for one another, by turns, or each as a thread.
inline void run_at_once(unsigned blocks, int threads, size_t shared_bytes, const std::function<void()>& body) {
  const std::unique_ptr<Block[]> all(new Block[blocks]);
#if defined(LENSKERN_BLOCKS_ARE_THREADS)
  std::vector<std::thread> each;
  for (unsigned i = 0; i < blocks; ++i) {
    each.emplace_back([&, i] {
      all[i].start(i, threads, shared_bytes, body);
      while (all[i].run() != kFinished) std::this_thread::yield();
    });
  }
  for (std::thread& thread : each) thread.join();
#else
  for (unsigned i = 0; i < blocks; ++i) all[i].start(i, threads, shared_bytes, body);
  std::vector<bool> done(blocks);
  for (unsigned left = blocks; left > 0;) {
    bool moved = false;
    for (unsigned i = 0; i < blocks; ++i) {
      if (done[i]) continue;
      const Progress progress = all[i].run();
      moved |= progress != kStuck;
      if (progress == kFinished) done[i] = true, --left;
    }
    if (!moved) {
      std::fprintf(stderr, "%u blocks wait for one another\n", left);
      std::abort();
    }
  }
#endif
}

}  // namespace emulation
