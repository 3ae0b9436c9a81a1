// The part of CUDA that the kernels use, on the CPU: blocks run one after another, the threads of a block as fibers
// (fibers.h), or as threads where LENSKERN_EMULATE_THREADS is defined (threads.h), which take long but show races.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define cospi(x) lenskern_emulated_cospi(x)
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline double lenskern_emulated_cospi(double x) { return std::cos(M_PI * x); }

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorNotSupported = 801 };
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidValue ? "invalid argument" : "operation not supported";
}
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

namespace emulation {

constexpr int kWarp = 32, kMostShared = 163 * 1024;  // as an A100

// What a launch asked for, so that a sanitizer sees who goes beyond it.
struct alignas(16) Sixteen {
  char bytes[16];
};
inline std::vector<Sixteen> dynamic_shared;
inline size_t most_dynamic_shared = 48 * 1024;  // until a kernel asks for more, as here one does for all

inline std::function<void()> body;  // of a thread

}  // namespace emulation

#if defined(LENSKERN_EMULATE_THREADS)
#include "threads.h"
#else
#include "fibers.h"
#endif

// Barriers of a block and of a warp are emulation::wait_for_block and wait_for_warp, and slots what threads tell others.
inline void __syncthreads() { emulation::wait_for_block(); }

inline int __syncthreads_count(bool predicate) {
  emulation::slots[threadIdx.x] = predicate;
  emulation::wait_for_block();
  int count = 0;
  for (unsigned i = 0; i < blockDim.x; ++i) count += emulation::slots[i] != 0;
  emulation::wait_for_block();
  return count;
}
inline int __syncthreads_or(bool predicate) { return __syncthreads_count(predicate) != 0; }

template <class T>
T __shfl_xor_sync(unsigned, T value, int offset) {
  uint64_t& slot = emulation::slots[threadIdx.x];
  std::memcpy(&slot, &value, sizeof(T));
  emulation::wait_for_warp();
  std::memcpy(&value, &emulation::slots[threadIdx.x ^ offset], sizeof(T));
  emulation::wait_for_warp();
  return value;
}

inline unsigned __ballot_sync(unsigned, bool predicate) {
  emulation::slots[threadIdx.x] = predicate;
  emulation::wait_for_warp();
  const uint64_t* warp = &emulation::slots[threadIdx.x / 32 * 32];
  unsigned votes = 0;
  for (int i = 0; i < 32; ++i) votes |= static_cast<unsigned>(warp[i] != 0) << i;
  emulation::wait_for_warp();
  return votes;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline char* lenskern_emulated_dynamic_shared() { return emulation::dynamic_shared.data()->bytes; }

inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  return *value = emulation::kMostShared, cudaSuccess;
}

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*)(Parameters...), cudaFuncAttribute, int bytes) {
  if (bytes > emulation::kMostShared) return cudaErrorInvalidValue;
  emulation::most_dynamic_shared = bytes;
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  if (config->dynamicSmemBytes > emulation::most_dynamic_shared) return cudaErrorInvalidValue;
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  emulation::body = [&] { kernel(arguments...); };
  gridDim = config->gridDim, blockDim = config->blockDim;
  emulation::dynamic_shared.assign((config->dynamicSmemBytes + 15) / 16, {});
  for (unsigned block = 0; block < gridDim.x; ++block) {
    blockIdx.x = block;
    emulation::run_block(static_cast<int>(config->blockDim.x));
  }
  return cudaSuccess;
}
