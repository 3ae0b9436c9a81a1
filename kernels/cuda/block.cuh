// What the threads of a block do together.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Not __noinline__: the macro of the CUDA headers breaks those of the C++ library.
#if defined(__CUDACC__)
#define LENSKERN_NOINLINE __noinline__
#else
#define LENSKERN_NOINLINE
#endif

namespace lenskern::cuda {

// Threads of a block, and blocks that a multiprocessor has room for: 128 registers for each thread.
constexpr int kWarp = 32, kThreads = 256, kWarps = kThreads / kWarp, kBlocks = 2;
// Shared memory that a block may have without asking for more.
constexpr int kMostShared = 48 * 1024;
constexpr unsigned kAllLanes = 0xffffffffu;

// The shared memory that the launch asked for.
__device__ inline char* dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) char lenskern_dynamic_shared[];
  return lenskern_dynamic_shared;
#else
  return lenskern_emulated_dynamic_shared();
#endif
}

template <class T, class Combine>
__device__ inline T over_warp(T value, Combine combine) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  }
  return value;
}

// The same number for all threads, whatever the order they run in. `slots` is shared, one for each warp.
template <class T, class Combine>
__device__ inline T over_block(T value, Combine combine, T* slots) {
  value = over_warp(value, combine);
  if (threadIdx.x % kWarp == 0) slots[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = slots[0];
  for (int warp = 1; warp < kWarps; ++warp) value = combine(value, slots[warp]);
  __syncthreads();
  return value;
}

template <class T>
struct Plus {
  __device__ T operator()(T a, T b) const { return a + b; }
};
template <class T>
struct Least {
  __device__ T operator()(T a, T b) const { return b < a ? b : a; }
};
template <class T>
struct Most {
  __device__ T operator()(T a, T b) const { return a < b ? b : a; }
};

// A sum of many terms; in float32 compensated (Neumaier 1974 in the form of Kahan).
template <class T>
struct Total {
  T value, lost;
  __device__ void add(T more) {
    more -= lost;
    const T sum = value + more;
    lost = (sum - value) - more;
    value = sum;
  }
};
template <>
struct Total<double> {
  double value;
  __device__ void add(double more) { value += more; }
};

}  // namespace lenskern::cuda
