// XLA FFI handlers of the sums over haloes on NVIDIA GPUs: kernels on the stream that XLA gives, and nothing else. They
// do not wait and take no memory, so that XLA may record them into a CUDA graph.
#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

#include "calls.h"
#include "deflect.h"
#include "handlers.h"

namespace ffi = xla::ffi;

namespace lenskern::cuda {
namespace {

using Result = ffi::Result<ffi::AnyBuffer>;
using Buffer = ffi::AnyBuffer;

// The operands that all handlers have, in the order of Operands in python/lenskern/deflect/primitive.py.
struct Arguments {
  Buffer profile, centre, amplitude, scale, shape, mask, tables, grid, order;
  double ln_u_min, ln_u_max, tol;

  void add(Batch& batch) const {
    for (const Buffer& x : {profile, centre, amplitude, scale, shape, mask, tables, grid, order}) batch.add(x);
  }

  template <class T>
  Scenes<T> take(Batch& batch, const Lanes& lanes) const {
    const auto last = [](const Buffer& x, int64_t axis) { return *(x.dimensions().end() - axis); };
    const TableSize table_size{static_cast<int>(last(tables, 3)), static_cast<int>(last(tables, 2)),
                               static_cast<int>(last(tables, 1)), ln_u_min, ln_u_max};
    Scenes<T> scenes{lanes,
                     last(grid, 2),
                     static_cast<int>(last(profile, 1)),
                     batch.take<int32_t>(),
                     batch.take<T>(),
                     batch.take<T>(),
                     batch.take<T>(),
                     batch.take<T>(),
                     batch.take<bool>(),
                     batch.take<T>(),
                     table_size,
                     batch.take<T>(),
                     batch.take<int32_t>(),
                     tol};
    if (last(order, 1) == 0) scenes.order.data = nullptr;
    return scenes;
  }
};

ffi::Error fields(cudaStream_t stream, Buffer profile, Buffer centre, Buffer amplitude, Buffer scale, Buffer shape,
                  Buffer mask, Buffer tables, Buffer grid, Buffer order, Result out, double ln_u_min, double ln_u_max,
                  double tol, int32_t kind) {
  const Arguments a{profile, centre, amplitude, scale, shape, mask, tables, grid, order, ln_u_min, ln_u_max, tol};
  Batch batch(out->dimensions(), 2);
  a.add(batch);
  Lanes lanes{};
  return with_dtype("deflect", grid, "the grid", batch, &lanes, [&](auto zero) {
    using T = decltype(zero);
    return launch_fields<T>(stream, a.take<T>(batch, lanes), kind, out->typed_data<T>());
  });
}

ffi::Error tangent(cudaStream_t stream, Buffer profile, Buffer centre, Buffer amplitude, Buffer scale, Buffer shape,
                   Buffer mask, Buffer tables, Buffer grid, Buffer order, Buffer dcentre, Buffer damplitude,
                   Buffer dscale, Buffer dshape, Buffer dgrid, Result out, double ln_u_min, double ln_u_max,
                   double tol) {
  const Arguments a{profile, centre, amplitude, scale, shape, mask, tables, grid, order, ln_u_min, ln_u_max, tol};
  Batch batch(out->dimensions(), 2);
  a.add(batch);
  for (const Buffer& x : {dcentre, damplitude, dscale, dshape, dgrid}) batch.add(x);
  Lanes lanes{};
  return with_dtype("deflect", grid, "the grid", batch, &lanes, [&](auto zero) {
    using T = decltype(zero);
    const Scenes<T> scenes = a.take<T>(batch, lanes);
    const Tangents<T> tangents{batch.take<T>(), batch.take<T>(), batch.take<T>(), batch.take<T>(), batch.take<T>()};
    return launch_tangent<T>(stream, scenes, tangents, out->typed_data<T>());
  });
}

ffi::Error adjoint(cudaStream_t stream, Buffer profile, Buffer centre, Buffer amplitude, Buffer scale, Buffer shape,
                   Buffer mask, Buffer tables, Buffer grid, Buffer order, Buffer cotangent, Result dcentre,
                   Result damplitude, Result dscale, Result dshape, Result dgrid, Result scratch, double ln_u_min,
                   double ln_u_max, double tol) {
  const Arguments a{profile, centre, amplitude, scale, shape, mask, tables, grid, order, ln_u_min, ln_u_max, tol};
  Batch batch(dgrid->dimensions(), 2);
  a.add(batch);
  batch.add(cotangent);
  Lanes lanes{};
  return with_dtype("deflect", grid, "the grid", batch, &lanes, [&](auto zero) {
    using T = decltype(zero);
    const Scenes<T> scenes = a.take<T>(batch, lanes);
    if (static_cast<int64_t>(scratch->element_count()) < adjoint_scratch(scenes.n, scenes.N) * lanes.count) {
      return cudaErrorInvalidValue;
    }
    const Cotangents<T> to{dcentre->typed_data<T>(), damplitude->typed_data<T>(), dscale->typed_data<T>(),
                           dshape->typed_data<T>(), dgrid->typed_data<T>()};
    return launch_adjoint<T>(stream, scenes, batch.take<T>(), scratch->typed_data<T>(), to);
  });
}

// The bindings of the common operands and attributes.
template <class Binding>
auto operands(Binding binding) {
  return std::move(binding)
      .template Arg<Buffer>()   // profile (..., N)
      .template Arg<Buffer>()   // centre (..., N, 2)
      .template Arg<Buffer>()   // amplitude (..., N)
      .template Arg<Buffer>()   // scale (..., N)
      .template Arg<Buffer>()   // shape (..., N, 2)
      .template Arg<Buffer>()   // mask (..., N)
      .template Arg<Buffer>()   // tables (..., T, S, terms): Chebyshev coefficients
      .template Arg<Buffer>()   // grid (..., n, 2)
      .template Arg<Buffer>();  // order (..., n), or (..., 0) for a direct sum
}
template <class Binding>
auto attributes(Binding binding) {
  return std::move(binding)
      .template Attr<double>("ln_u_min")
      .template Attr<double>("ln_u_max")
      .template Attr<double>("tol");
}
auto on_stream() { return ffi::Ffi::Bind().Ctx<LENSKERN_STREAM>(); }

}  // namespace
}  // namespace lenskern::cuda

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernDeflectFieldsCuda, lenskern::cuda::fields,
                              lenskern::cuda::attributes(lenskern::cuda::operands(lenskern::cuda::on_stream())
                                                             .Ret<ffi::AnyBuffer>())  // field (..., n, components)
                                  .Attr<int32_t>("kind"),
                              {ffi::Traits::kCmdBufferCompatible});

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernDeflectTangentCuda, lenskern::cuda::tangent,
                              lenskern::cuda::attributes(lenskern::cuda::operands(lenskern::cuda::on_stream())
                                                             .Arg<ffi::AnyBuffer>()    // dcentre, as the operands
                                                             .Arg<ffi::AnyBuffer>()    // damplitude
                                                             .Arg<ffi::AnyBuffer>()    // dscale
                                                             .Arg<ffi::AnyBuffer>()    // dshape
                                                             .Arg<ffi::AnyBuffer>()    // dgrid
                                                             .Ret<ffi::AnyBuffer>()),  // (..., n, 2)
                              {ffi::Traits::kCmdBufferCompatible});

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernDeflectAdjointCuda, lenskern::cuda::adjoint,
                              lenskern::cuda::attributes(lenskern::cuda::operands(lenskern::cuda::on_stream())
                                                             .Arg<ffi::AnyBuffer>()    // cotangent (..., n, 2)
                                                             .Ret<ffi::AnyBuffer>()    // centre (..., N, 2), and so on
                                                             .Ret<ffi::AnyBuffer>()    // amplitude
                                                             .Ret<ffi::AnyBuffer>()    // scale
                                                             .Ret<ffi::AnyBuffer>()    // shape
                                                             .Ret<ffi::AnyBuffer>()    // grid
                                                             .Ret<ffi::AnyBuffer>()),  // scratch (..., any)
                              {ffi::Traits::kCmdBufferCompatible});
