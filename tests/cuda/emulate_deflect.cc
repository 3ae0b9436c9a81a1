// The handlers and kernels of the sums over haloes for the CPU: the same sources, with the CUDA of cuda_runtime.h.
#include "no_stream.h"

#include "deflect_float32.cu"
#include "deflect_float64.cu"
#include "ffi_deflect.cc"

extern "C" int64_t lenskern_adjoint_scratch(int64_t n, int64_t N) { return lenskern::cuda::adjoint_scratch(n, N); }
