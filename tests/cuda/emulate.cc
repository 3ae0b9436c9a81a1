// The handlers and kernels of kernels/cuda for the CPU: the same sources, with the CUDA of cuda_runtime.h beside this.
#include "cuda_runtime.h"
#include "xla/ffi/api/ffi.h"

struct NoStream {};

template <>
struct xla::ffi::CtxDecoding<NoStream> {
  using Type = cudaStream_t;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*, DiagnosticEngine&) {
    return nullptr;
  }
};

#define LENSKERN_STREAM NoStream
#include "deflect_float32.cu"
#include "deflect_float64.cu"
#include "ffi_deflect.cc"

extern "C" int64_t lenskern_adjoint_scratch(int64_t n, int64_t N) { return lenskern::cuda::adjoint_scratch(n, N); }
