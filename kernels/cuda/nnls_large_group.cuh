// The blocks that solve a lane together: which entries are whose, and how they wait for one another and add up numbers.
#pragma once

#include "block.cuh"
#include "nnls_large.h"

namespace lenskern::cuda::large {

// Words that blocks which run at once tell one another with. What all threads of a block wrote before a barrier of the
// block and a release after it is seen by another block after an acquire and a barrier there.
__device__ inline unsigned acquire(const unsigned* word) {
#if defined(__CUDACC__)
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
#else
  return lenskern_emulated_acquire(word);
#endif
}
__device__ inline void release(unsigned* word, unsigned value) {
#if defined(__CUDACC__)
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
#else
  lenskern_emulated_release(word, value);
#endif
}
__device__ inline void add_and_release(unsigned* word) {
#if defined(__CUDACC__)
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(word) : "memory");
#else
  lenskern_emulated_add_and_release(word);
#endif
}
__device__ inline void pause() {
#if !defined(__CUDACC__)
  lenskern_emulated_pause();
#endif
}
// Waits for a number that only grows, and may wrap around.
__device__ inline bool reached(unsigned value, unsigned target) { return static_cast<int>(value - target) >= 0; }
__device__ inline void wait_for(const unsigned* word, unsigned target) {
  while (!reached(acquire(word), target)) pause();
}

// Symmetric also where one is not a number, which it keeps.
struct Largest {
  __device__ double operator()(double a, double b) const { return a > b || a != a ? a : b; }
};

struct Group {
  int n, chunks;
  int block, blocks;  // this one, and how many there are
  unsigned met;       // barriers so far
  unsigned signal;    // what the last factorisation or sweep counted from, of any lane: words are not set back
  unsigned* words;    // zero when the kernel starts
  char* boxes;
  int64_t box_bytes;

  __device__ unsigned* arrived() const { return words; }
  __device__ unsigned* failed() const { return words + 32; }
  __device__ unsigned* swept() const { return words + 64; }
  __device__ unsigned* ready(int row) const { return words + 96 + row; }

  __device__ void barrier() {
    __syncthreads();
    ++met;
    if (blocks > 1) {
      if (threadIdx.x == 0) {
        add_and_release(arrived());
        wait_for(arrived(), met * blocks);
      }
      __syncthreads();
    }
  }

  // What is written to the outbox before a barrier is in the inbox until the next. There are two boxes, so that the
  // next outbox can be written while others still read.
  __device__ double* outbox() const { return box(met); }
  __device__ const double* inbox() const { return box(met - 1); }

  // Visits the entries of this block: chunk after chunk, those of a chunk by neighbouring threads, and an entry always by
  // the same thread.
  template <class Visit>
  __device__ void each(Visit visit) const {
    for (int t = threadIdx.x;; t += kThreads) {
      const int i = entry(t);
      if (i >= n) break;
      visit(i);
    }
  }

  // Combines K numbers over all entries. Chunks are combined in their order, so that the result depends neither on the
  // block nor on how many there are.
  template <int K, class Combine, class Value>
  __device__ void reduce(double (&total)[K], Combine combine, Value value) {
    static_assert(K <= kReduced);
    double* out = outbox() + (box_bytes / 8 - kReduced * chunks);
    for (int t = threadIdx.x; entry(t / kWarp * kWarp) < n; t += kThreads) {
      double parts[K] = {};
      const int i = entry(t);
      if (i < n) value(i, parts);
      for (int k = 0; k < K; ++k) {
        for (int offset = kChunk / 2; offset > 0; offset /= 2) {
          parts[k] = combine(parts[k], __shfl_xor_sync(kAllLanes, parts[k], offset));
        }
        if (t % kChunk == 0 && i < n) out[k * chunks + i / kChunk] = parts[k];
      }
    }
    barrier();
    const double* in = inbox() + (box_bytes / 8 - kReduced * chunks);
    for (int k = 0; k < K; ++k) {
      double sum = 0;  // neutral for sums, and for the largest of numbers that are not negative
      for (int chunk = threadIdx.x % kWarp; chunk < chunks; chunk += kWarp) sum = combine(sum, in[k * chunks + chunk]);
      total[k] = over_warp(sum, combine);
    }
  }

 private:
  __device__ double* box(unsigned which) const { return reinterpret_cast<double*>(boxes + (which & 1) * box_bytes); }
  // The t-th entry of this block; at or beyond n there is none, nor at any later t.
  __device__ int entry(int t) const { return (block + t / kChunk * blocks) * kChunk + t % kChunk; }
};

}  // namespace lenskern::cuda::large
