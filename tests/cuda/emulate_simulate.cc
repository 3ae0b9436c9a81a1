// The handlers and kernels of the power law and the Poisson draws for the CPU: the same sources, with the CUDA of
// cuda_runtime.h.
#include "no_stream.h"

#include "macro.cu"
#include "poisson.cu"
#include "ffi_macro.cc"
#include "ffi_poisson.cc"

extern "C" int64_t lenskern_power_law_scratch(int64_t lanes, int64_t n) {
  return lenskern::cuda::power_law_scratch(lanes, n);
}
