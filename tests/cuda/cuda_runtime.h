// The part of CUDA that the kernels use, on the CPU: blocks run one after another, or where they are launched
// cooperatively by turns, their threads as fibers. Barriers that not all threads reach end the program.
#pragma once

#include "fibers.h"

#include <cmath>
#include <mutex>

#define __global__
#define __device__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define cospi(x) lenskern_emulated_cospi(x)
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline double lenskern_emulated_cospi(double x) { return std::cos(M_PI * x); }
template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
using cudaStream_t = void*;
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorCooperativeLaunchTooLarge = 720,
  cudaErrorNotSupported = 801
};
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorInvalidValue ? "invalid argument" : "operation not supported";
}
enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative = 2 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    int cooperative;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };

inline dim3 gridDim, blockDim;

namespace emulation {

constexpr int kMostShared = 163 * 1024;         // as an A100
inline size_t most_dynamic_shared = 48 * 1024;  // until a kernel asks for more, as here one does for all
inline int processors = 3;                      // that have room for one block each
inline std::mutex one_at_a_time;                // launches, of whatever kernels: they share what is above and below

// Calls read(thread -> value) once all threads of the warp or the block have put their value down. Where they come to
// the next exchange all have read this one's.
template <class T, class Read>
auto exchange(State where, const T& value, const Read& read) {
  static_assert(sizeof(T) <= sizeof(Slot));
  const bool of_block = where == kAtBlock;
  Fiber& self = block().fiber(threadIdx.x);
  const int turn = self.turns[of_block] ^= 1, first = of_block ? 0 : threadIdx.x / kWarp * kWarp;
  std::memcpy(&self.slots[of_block][turn], &value, sizeof(T));
  block().wait(where);
  return read([&](int i) -> const T& {
    return *reinterpret_cast<const T*>(&block().fiber(first + i).slots[of_block][turn]);
  });
}

}  // namespace emulation

inline void __syncthreads() { emulation::block().wait(emulation::kAtBlock); }
inline void __syncwarp() { emulation::block().wait(emulation::kAtWarp); }

inline int __syncthreads_count(bool predicate) {
  return emulation::exchange(emulation::kAtBlock, predicate, [](const auto& slot) {
    int count = 0;
    for (int i = 0; i < emulation::block().threads(); ++i) count += slot(i) != 0;
    return count;
  });
}
inline int __syncthreads_or(bool predicate) { return __syncthreads_count(predicate) != 0; }

template <class T>
T __shfl_xor_sync(unsigned, T value, int offset) {
  return emulation::exchange(emulation::kAtWarp, value,
                             [&](const auto& slot) { return slot(threadIdx.x % emulation::kWarp ^ offset); });
}

inline unsigned __ballot_sync(unsigned, bool predicate) {
  return emulation::exchange(emulation::kAtWarp, predicate, [](const auto& slot) {
    unsigned votes = 0;
    for (int i = 0; i < emulation::kWarp; ++i) votes |= static_cast<unsigned>(slot(i) != 0) << i;
    return votes;
  });
}

// C += A B' as tensor cores do it, but for the rounding of sums: what thread 4 g + t of a warp has is said beside the call.
template <class T>
void lenskern_emulated_multiply_add(T (&C)[2][8], const T (&a)[2][2], const T (&b)[4][2], int count) {
  struct Registers {
    T a[2][2], b[2][4];
  } own;
  for (int half = 0; half < 2; ++half) {
    for (int h = 0; h < 2; ++h) own.a[h][half] = a[h][half];
    for (int j = 0; j < 4; ++j) own.b[half][j] = b[j][half];
  }
  emulation::exchange(emulation::kAtWarp, own, [&](const auto& thread) {
    const int g = threadIdx.x % emulation::kWarp / 4, t = threadIdx.x % 4;
    for (int k = 0; k < 8; ++k) {
      const T(&left)[2][2] = thread(4 * g + k % 4).a;
      for (int odd = 0; odd < 2; ++odd) {
        const T(&right)[4] = thread(4 * (2 * t + odd) + k % 4).b[k / 4];
        for (int h = 0; h < 2; ++h) {
          for (int j = 0; j < 4 && j < count; ++j) C[h][2 * j + odd] += left[h][k / 4] * right[j];
        }
      }
    }
    return 0;
  });
}

template <class To, class From>
To lenskern_emulated_bits(From value) {
  To bits;
  static_assert(sizeof(To) == sizeof(From));
  std::memcpy(&bits, &value, sizeof(To));
  return bits;
}
inline unsigned __float_as_uint(float value) { return lenskern_emulated_bits<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return lenskern_emulated_bits<float>(bits); }

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline char* lenskern_emulated_dynamic_shared() { return emulation::block().shared(); }

// What blocks that run at the same time tell one another.
inline unsigned lenskern_emulated_acquire(const unsigned* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
inline void lenskern_emulated_release(unsigned* word, unsigned value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}
inline void lenskern_emulated_add_and_release(unsigned* word) { __atomic_fetch_add(word, 1u, __ATOMIC_RELEASE); }
inline void lenskern_emulated_pause() { emulation::block().wait(emulation::kPolling); }

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*)(Parameters...), cudaFuncAttribute, int bytes) {
  if (bytes > emulation::kMostShared) return cudaErrorInvalidValue;
  emulation::most_dynamic_shared = bytes;
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  return *value = which == cudaDevAttrMultiProcessorCount ? emulation::processors : emulation::kMostShared, cudaSuccess;
}
template <class... Parameters>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*)(Parameters...), int, size_t) {
  return *blocks = 1, cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t) {
  return std::memset(at, value, bytes), cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               const Arguments&... arguments) {
  if (config->dynamicSmemBytes > emulation::most_dynamic_shared) return cudaErrorInvalidValue;
  const unsigned blocks = config->gridDim.x;
  const bool cooperative = config->numAttrs > 0 && config->attrs->val.cooperative != 0;
  if (cooperative && static_cast<int>(blocks) > emulation::processors) return cudaErrorCooperativeLaunchTooLarge;
  const std::lock_guard lock(emulation::one_at_a_time);
  gridDim = config->gridDim, blockDim = config->blockDim;
  const std::function<void()> body = [&] { kernel(arguments...); };
  const auto run = cooperative ? emulation::run_at_once : emulation::run_in_turn;
  run(blocks, static_cast<int>(config->blockDim.x), config->dynamicSmemBytes, body);
  return cudaSuccess;
}
