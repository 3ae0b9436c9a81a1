// XLA FFI handlers of the elliptical power law on NVIDIA GPUs: kernels on the stream that XLA gives. They do not wait and
// take no memory, so that XLA may record them into a CUDA graph.
#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>

#include "calls.h"
#include "handlers.h"
#include "macro.h"

namespace ffi = xla::ffi;

namespace lenskern::cuda {
namespace {

using Buffer = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;

// Calls run(lenses, batch) with the first two operands; batch then gives the others.
template <class Run>
ffi::Error with_lenses(const Result& rays, std::initializer_list<Buffer> operands, const Run& run) {
  const ffi::Span<const int64_t> shape = rays->dimensions();
  Batch batch(shape, 2);
  for (const Buffer& x : operands) batch.add(x);
  Lanes lanes{};
  return with_dtype("deflect", *operands.begin(), "the grid", batch, &lanes, [&](auto zero) {
    using D = decltype(zero);
    return run(PowerLaws<D>{lanes, shape[shape.size() - 2], batch.take<D>(), batch.take<D>()}, batch);
  });
}

ffi::Error deflection(cudaStream_t stream, Buffer grid, Buffer parameters, Result out) {
  return with_lenses(out, {grid, parameters}, [&]<class D>(const PowerLaws<D>& lenses, Batch&) {
    return launch_power_law<D>(stream, lenses, out->typed_data<D>());
  });
}

ffi::Error tangent(cudaStream_t stream, Buffer grid, Buffer parameters, Buffer dgrid, Buffer dparameters, Result out) {
  const auto run = [&]<class D>(const PowerLaws<D>& lenses, Batch& batch) {
    const Batched<D> drays = batch.take<D>(), direction = batch.take<D>();
    return launch_power_law_tangent<D>(stream, lenses, drays, direction, out->typed_data<D>());
  };
  return with_lenses(out, {grid, parameters, dgrid, dparameters}, run);
}

ffi::Error adjoint(cudaStream_t stream, Buffer grid, Buffer parameters, Buffer cotangent, Result dgrid,
                   Result dparameters, Result scratch) {
  const auto run = [&]<class D>(const PowerLaws<D>& lenses, Batch& batch) {
    if (static_cast<int64_t>(scratch->size_bytes()) < power_law_scratch(lenses.lanes.count, lenses.n)) {
      return cudaErrorInvalidValue;
    }
    return launch_power_law_adjoint<D>(stream, lenses, batch.take<D>(), static_cast<double*>(scratch->untyped_data()),
                                       dgrid->typed_data<D>(), dparameters->typed_data<D>());
  };
  return with_lenses(dgrid, {grid, parameters, cotangent}, run);
}

}  // namespace
}  // namespace lenskern::cuda

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroDeflectionCuda, lenskern::cuda::deflection,
                              ffi::Ffi::Bind()
                                  .Ctx<LENSKERN_STREAM>()
                                  .Arg<ffi::AnyBuffer>()   // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()   // parameters (..., 6)
                                  .Ret<ffi::AnyBuffer>(),  // deflection (..., n, 2)
                              {ffi::Traits::kCmdBufferCompatible});

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroTangentCuda, lenskern::cuda::tangent,
                              ffi::Ffi::Bind()
                                  .Ctx<LENSKERN_STREAM>()
                                  .Arg<ffi::AnyBuffer>()   // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()   // parameters (..., 6)
                                  .Arg<ffi::AnyBuffer>()   // dgrid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()   // dparameters (..., 6)
                                  .Ret<ffi::AnyBuffer>(),  // tangent (..., n, 2)
                              {ffi::Traits::kCmdBufferCompatible});

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroAdjointCuda, lenskern::cuda::adjoint,
                              ffi::Ffi::Bind()
                                  .Ctx<LENSKERN_STREAM>()
                                  .Arg<ffi::AnyBuffer>()   // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()   // parameters (..., 6)
                                  .Arg<ffi::AnyBuffer>()   // cotangent (..., n, 2)
                                  .Ret<ffi::AnyBuffer>()   // dgrid (..., n, 2)
                                  .Ret<ffi::AnyBuffer>()   // dparameters (..., 6)
                                  .Ret<ffi::AnyBuffer>(),  // scratch, bytes
                              {ffi::Traits::kCmdBufferCompatible});
