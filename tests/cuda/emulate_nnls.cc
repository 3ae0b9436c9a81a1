// The handler and kernels of the inversions for the CPU: the same sources, with the CUDA of cuda_runtime.h.
#include "no_stream.h"

#include "nnls_large_float32.cu"
#include "nnls_large_float64.cu"
#include "nnls_small.cu"
#include "ffi_nnls.cc"

extern "C" int lenskern_nnls_most_unknowns() { return lenskern::cuda::kMostUnknowns; }
extern "C" int lenskern_nnls_small_shared(int n) { return lenskern::cuda::nnls_small_shared(n); }
extern "C" int64_t lenskern_nnls_scratch(int64_t lanes, int64_t n) { return lenskern::cuda::nnls_scratch(lanes, n); }
extern "C" void lenskern_emulate_processors(int count) { emulation::processors = count; }
