// Threads of a block as fibers that change places at barriers only. Barriers that not all threads reach end the program.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

inline dim3 threadIdx, blockIdx, gridDim, blockDim;

namespace emulation {

constexpr int kStack = 1 << 17;
enum State { kReady, kAtWarp, kAtBlock, kDone };

// A fiber begins as a context; from then on jumps change places, which unlike contexts need no system call.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  std::unique_ptr<char[]> stack{new char[kStack]};
  State state;
  bool started;
};

inline std::vector<Fiber> fibers;
inline jmp_buf scheduler;
inline uint64_t slots[1024];

inline void wait(State state) {
  Fiber& self = fibers[threadIdx.x];
  self.state = state;
  if (_setjmp(self.place) == 0) _longjmp(scheduler, 1);
}

inline void resume(Fiber& fiber) {
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  setcontext(&fiber.context);
}

inline void start() {
  body();
  wait(kDone);
}

// Runs the threads [begin, end) until none is ready; then all have to be in one state, which is returned.
inline State settle(int begin, int end) {
  for (int i = begin; i < end; ++i) {
    if (fibers[i].state != kReady) continue;
    threadIdx.x = i;
    resume(fibers[i]);
  }
  for (int i = begin; i < end; ++i) {
    if (fibers[i].state == fibers[begin].state) continue;
    std::fprintf(stderr, "threads %d and %d of block %u are at different barriers\n", begin, i, blockIdx.x);
    std::abort();
  }
  return fibers[begin].state;
}

inline void run_block(int threads) {
  if (fibers.size() < static_cast<size_t>(threads)) fibers.resize(threads);
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, start, 0);
    fiber.state = kReady, fiber.started = false;
  }
  while (true) {
    for (int warp = 0; warp < threads; warp += kWarp) {
      while (settle(warp, warp + kWarp) == kAtWarp) {
        for (int i = warp; i < warp + kWarp; ++i) fibers[i].state = kReady;
      }
    }
    if (settle(0, threads) == kDone) return;
    for (int i = 0; i < threads; ++i) fibers[i].state = kReady;
  }
}

inline void wait_for_warp() { wait(kAtWarp); }
inline void wait_for_block() { wait(kAtBlock); }

}  // namespace emulation
