// What module.cc offers, as plain functions: for plain.py, which calls them by ctypes where there is no pybind11.
#include <cuda_runtime.h>

#include <cstdint>

#include "deflect.h"
#include "handlers.h"
#include "macro.h"
#include "nnls.h"

#define LENSKERN_EXPORT extern "C" __attribute__((visibility("default")))

struct LenskernTarget {
  const char* name;
  void* handler;
};

// Ends with a null name.
LENSKERN_EXPORT const LenskernTarget* lenskern_targets() {
  static const LenskernTarget targets[] = {
#define LENSKERN_ADD_TARGET(target, symbol) {target, reinterpret_cast<void*>(symbol)},
      LENSKERN_FOR_EACH_CUDA_HANDLER(LENSKERN_ADD_TARGET)
#undef LENSKERN_ADD_TARGET
          {nullptr, nullptr}};
  return targets;
}

LENSKERN_EXPORT int lenskern_ffi_major() { return XLA_FFI_API_MAJOR; }
LENSKERN_EXPORT int lenskern_ffi_minor() { return XLA_FFI_API_MINOR; }
LENSKERN_EXPORT int lenskern_cuda_version() { return CUDART_VERSION; }
LENSKERN_EXPORT const char* lenskern_architectures() { return LENSKERN_CUDA_ARCHITECTURES; }

// 0 without a driver
LENSKERN_EXPORT int lenskern_driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

// The functions of numbers, int64 to int64, which plain.py finds by their names.
LENSKERN_EXPORT int64_t lenskern_adjoint_scratch(int64_t n, int64_t N) {
  return lenskern::cuda::adjoint_scratch(n, N);
}
LENSKERN_EXPORT int64_t lenskern_power_law_scratch(int64_t lanes, int64_t n) {
  return lenskern::cuda::power_law_scratch(lanes, n);
}
LENSKERN_EXPORT int64_t lenskern_nnls_most_unknowns() { return lenskern::cuda::kMostUnknowns; }
LENSKERN_EXPORT int64_t lenskern_nnls_shared(int64_t n) {
  return n <= lenskern::cuda::kMostSmall ? lenskern::cuda::nnls_small_shared(static_cast<int>(n)) : 0;
}
LENSKERN_EXPORT int64_t lenskern_nnls_scratch(int64_t lanes, int64_t n) {
  return lenskern::cuda::nnls_scratch(lanes, n);
}
