// Threads of a block as threads, for ThreadSanitizer.
#pragma once

#include <pthread.h>

#include <thread>

inline thread_local dim3 threadIdx;
inline dim3 blockIdx, gridDim, blockDim;

namespace emulation {

inline uint64_t slots[1024];
inline pthread_barrier_t block_barrier, warp_barriers[32];

inline void wait_for_warp() { pthread_barrier_wait(&warp_barriers[threadIdx.x / kWarp]); }
inline void wait_for_block() { pthread_barrier_wait(&block_barrier); }

inline void run_block(int threads) {
  pthread_barrier_init(&block_barrier, nullptr, threads);
  for (int warp = 0; warp < threads / kWarp; ++warp) pthread_barrier_init(&warp_barriers[warp], nullptr, kWarp);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([i] {
      threadIdx.x = i;
      body();
    });
  }
  for (std::thread& thread : running) thread.join();
  for (int warp = 0; warp < threads / kWarp; ++warp) pthread_barrier_destroy(&warp_barriers[warp]);
  pthread_barrier_destroy(&block_barrier);
}

}  // namespace emulation
