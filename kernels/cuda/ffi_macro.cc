// XLA FFI handler of the elliptical power law on NVIDIA GPUs: one kernel on the stream that XLA gives.
#include <cuda_runtime.h>

#include <cstdint>

#include "calls.h"
#include "handlers.h"
#include "macro.h"

namespace ffi = xla::ffi;

namespace lenskern::cuda {
namespace {

ffi::Error power_law(cudaStream_t stream, ffi::AnyBuffer grid, ffi::AnyBuffer parameters,
                     ffi::Result<ffi::AnyBuffer> out) {
  const ffi::Span<const int64_t> shape = out->dimensions();
  Batch batch(shape, 2);
  batch.add(grid);
  batch.add(parameters);
  Lanes lanes{};
  return with_dtype("deflect", grid, "the grid", batch, &lanes, [&](auto zero) {
    using D = decltype(zero);
    const PowerLaws<D> call{lanes, shape[shape.size() - 2], batch.take<D>(), batch.take<D>(), out->typed_data<D>()};
    return launch_power_law<D>(stream, call);
  });
}

}  // namespace
}  // namespace lenskern::cuda

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroDeflectionCuda, lenskern::cuda::power_law,
                              ffi::Ffi::Bind()
                                  .Ctx<LENSKERN_STREAM>()
                                  .Arg<ffi::AnyBuffer>()   // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()   // parameters (..., 6)
                                  .Ret<ffi::AnyBuffer>(),  // deflection (..., n, 2)
                              {ffi::Traits::kCmdBufferCompatible});
