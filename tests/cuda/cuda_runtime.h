// The part of CUDA that the kernels use, on the CPU: blocks run one after another, the threads of a block as fibers
// that change places at barriers only. Barriers that not all threads reach end the program.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

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
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

inline dim3 threadIdx, blockIdx, gridDim, blockDim;

namespace emulation {

constexpr int kWarp = 32, kStack = 1 << 17;
enum State { kReady, kAtWarp, kAtBlock, kDone };

// A fiber begins as a context; from then on jumps change places, which unlike contexts need no system call.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  std::unique_ptr<char[]> stack{new char[kStack]};
  State state;
  bool started;
  uint64_t slot;  // what the other threads of the warp may read
};

inline std::vector<Fiber> fibers;
inline jmp_buf scheduler;
inline std::function<void()> body;

// What a launch asked for, so that a sanitizer sees who goes beyond it.
struct alignas(16) Sixteen {
  char bytes[16];
};
inline std::vector<Sixteen> dynamic_shared;
inline size_t most_dynamic_shared = 48 * 1024;  // until a kernel asks for more, as here one does for all

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

// Calls read(warp) once all threads of the warp have put their value down.
template <class Read>
auto exchange(uint64_t value, const Read& read) {
  fibers[threadIdx.x].slot = value;
  wait(kAtWarp);
  const auto result = read(&fibers[threadIdx.x / kWarp * kWarp]);
  wait(kAtWarp);
  return result;
}

}  // namespace emulation

inline void __syncthreads() { emulation::wait(emulation::kAtBlock); }

// Calls read(all the threads of the block) once all have put their value down.
template <class Read>
auto emulation_over_block(uint64_t value, const Read& read) {
  emulation::fibers[threadIdx.x].slot = value;
  __syncthreads();
  const auto result = read();
  __syncthreads();
  return result;
}
inline int __syncthreads_count(bool predicate) {
  return emulation_over_block(predicate, [] {
    int count = 0;
    for (unsigned i = 0; i < blockDim.x; ++i) count += emulation::fibers[i].slot != 0;
    return count;
  });
}
inline int __syncthreads_or(bool predicate) { return __syncthreads_count(predicate) != 0; }

template <class T>
T __shfl_xor_sync(unsigned, T value, int offset) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = emulation::exchange(bits, [&](const emulation::Fiber* warp) { return warp[threadIdx.x % 32 ^ offset].slot; });
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

inline unsigned __ballot_sync(unsigned, bool predicate) {
  return emulation::exchange(predicate, [](const emulation::Fiber* warp) {
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i) votes |= static_cast<unsigned>(warp[i].slot != 0) << i;
    return votes;
  });
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline char* lenskern_emulated_dynamic_shared() { return emulation::dynamic_shared.data()->bytes; }

template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*)(Parameters...), cudaFuncAttribute, int bytes) {
  if (bytes > 227 * 1024) return cudaErrorInvalidValue;
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
