// XLA FFI handler of the Poisson draws on NVIDIA GPUs: one kernel on the stream that XLA gives.
#include <cuda_runtime.h>

#include <cstdint>

#include "calls.h"
#include "handlers.h"
#include "poisson.h"

namespace ffi = xla::ffi;

namespace lenskern::cuda {
namespace {

ffi::Error draw_counts(cudaStream_t stream, ffi::AnyBuffer seed, ffi::AnyBuffer rate,
                       ffi::Result<ffi::AnyBuffer> counts) {
  Batch batch(counts->dimensions(), 1);
  batch.add(seed);
  batch.add(rate);
  Lanes lanes{};
  return with_dtype("simulate", rate, "rate", batch, &lanes, [&](auto zero) {
    using D = decltype(zero);
    const Draws<D> draws{lanes, counts->dimensions().back(), batch.take<uint32_t>(), batch.take<D>(),
                         counts->typed_data<D>()};
    return launch_poisson<D>(stream, draws);
  });
}

}  // namespace
}  // namespace lenskern::cuda

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernPoissonCuda, lenskern::cuda::draw_counts,
                              ffi::Ffi::Bind()
                                  .Ctx<LENSKERN_STREAM>()
                                  .Arg<ffi::AnyBuffer>()   // seed (..., 2)
                                  .Arg<ffi::AnyBuffer>()   // rate (..., n)
                                  .Ret<ffi::AnyBuffer>(),  // counts (..., n)
                              {ffi::Traits::kCmdBufferCompatible});
