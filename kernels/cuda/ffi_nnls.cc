// XLA FFI handler of the inversions on NVIDIA GPUs: as those of deflect it only puts kernels on the stream.
#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "calls.h"
#include "handlers.h"
#include "nnls.h"

namespace ffi = xla::ffi;

namespace lenskern::cuda {
namespace {

ffi::Error solve(cudaStream_t stream, ffi::AnyBuffer Q, ffi::AnyBuffer q, ffi::AnyBuffer x0,
                 ffi::Result<ffi::AnyBuffer> x, ffi::Result<ffi::AnyBuffer> z, ffi::Result<ffi::AnyBuffer> status,
                 ffi::Result<ffi::AnyBuffer> iterations, ffi::Result<ffi::AnyBuffer> passes,
                 ffi::Result<ffi::AnyBuffer> residual, ffi::Result<ffi::AnyBuffer> scratch, double tol,
                 int32_t max_iter) {
  const int64_t n = x->dimensions().back();
  const bool warm = x0.dimensions().back() == n;
  if (n <= kMostSmall) {
    const int shared = nnls_small_shared(static_cast<int>(n));
    int room = 0;
    const cudaError_t error = nnls_shared_room(&room);
    if (error != cudaSuccess) return error_of("nnls", error);
    if (shared > room) {
      return ffi::Error(ffi::ErrorCode::kUnimplemented,
                        "lenskern.nnls: backend 'cuda' takes " + std::to_string(shared) +
                            " bytes of shared memory for " + std::to_string(n) + " unknowns, and this GPU has " +
                            std::to_string(room) + "; use backend='pallas' or 'reference'");
    }
  }
  Batch batch(x->dimensions(), 1);
  for (const ffi::AnyBuffer& operand : {Q, q, x0}) batch.add(operand);
  Lanes lanes{};
  return with_dtype("nnls", Q, "Q", batch, &lanes, [&](auto zero) {
    using D = decltype(zero);
    if (n > kMostUnknowns) return cudaErrorNotSupported;
    if (static_cast<int64_t>(scratch->size_bytes()) < nnls_scratch(lanes.count, n)) {
      return cudaErrorInvalidValue;
    }
    Problems<D> problems{lanes, static_cast<int>(n), {tol, max_iter}, batch.take<D>(), batch.take<D>(),
                         batch.take<D>()};
    if (!warm) problems.x0.data = nullptr;
    const Solutions<D> out{x->typed_data<D>(),
                           z->typed_data<D>(),
                           status->typed_data<int32_t>(),
                           iterations->typed_data<int32_t>(),
                           passes->typed_data<int32_t>(),
                           residual->typed_data<D>()};
    if (lanes.count == 0) return cudaSuccess;
    if (n <= kMostSmall) return nnls_small(stream, problems, out);
    return nnls_large(stream, problems, out, static_cast<char*>(scratch->untyped_data()));
  });
}

}  // namespace
}  // namespace lenskern::cuda

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernNnlsSolveCuda, lenskern::cuda::solve,
                              ffi::Ffi::Bind()
                                  .Ctx<LENSKERN_STREAM>()
                                  .Arg<ffi::AnyBuffer>()  // Q (..., n, n)
                                  .Arg<ffi::AnyBuffer>()  // q (..., n)
                                  .Arg<ffi::AnyBuffer>()  // x0 (..., n), or of another size for none
                                  .Ret<ffi::AnyBuffer>()  // x (..., n)
                                  .Ret<ffi::AnyBuffer>()  // z (..., n)
                                  .Ret<ffi::AnyBuffer>()  // status (...)
                                  .Ret<ffi::AnyBuffer>()  // iterations (...)
                                  .Ret<ffi::AnyBuffer>()  // passes (...)
                                  .Ret<ffi::AnyBuffer>()  // residual (...)
                                  .Ret<ffi::AnyBuffer>()  // scratch (bytes)
                                  .Attr<double>("tol")
                                  .Attr<int32_t>("max_iter"),
                              {ffi::Traits::kCmdBufferCompatible});
