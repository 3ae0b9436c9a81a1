// XLA FFI handlers of the elliptical power law on the CPU: lanes and pieces of their rays over the thread pool.
#include <cstdint>

#include "handlers.h"
#include "lane_calls.h"
#include "macro.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Result = ffi::Result<ffi::AnyBuffer>;

// Rays of a call below which another thread would cost more than it brings.
constexpr double kRaysWorthAThread = 4000;

template <class Lane>
void over_lanes(ffi::ThreadPool& pool, int64_t lanes, int64_t rays, const Lane& lane) {
  run_lanes(pool, lanes, static_cast<double>(lanes) * rays / kRaysWorthAThread, [&](int64_t i, Crew::Worker& worker) {
    lane(i, worker);
    return true;  // no memory that could run out
  });
}

// Calls run(D{}, n, batch) with the type of the rays, their number and the batch axes.
template <class Run>
ffi::Error with_rays(Result& rays, const Run& run) {
  const Dimensions batch = batch_of(rays->dimensions(), 2);
  const int64_t n = lane_of(rays->dimensions(), 2)[0];
  switch (rays->element_type()) {
    case ffi::F64: run(double{}, n, batch); break;
    case ffi::F32: run(float{}, n, batch); break;
    default:
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.deflect: a power law must be float32 or float64");
  }
  return ffi::Error::Success();
}

ffi::Error deflection(ffi::ThreadPool pool, ffi::AnyBuffer grid, ffi::AnyBuffer parameters, Result out) {
  return with_rays(out, [&](auto zero, int64_t n, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> rays(grid, batch, 2), lens(parameters, batch, 1);
    D* to = out->typed_data<D>();
    over_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
      macro_kernels<D>().deflection(macro::read(lens[i]), n, rays[i], to + i * 2 * n, worker);
    });
  });
}

ffi::Error tangent(ffi::ThreadPool pool, ffi::AnyBuffer grid, ffi::AnyBuffer parameters, ffi::AnyBuffer dgrid,
                   ffi::AnyBuffer dparameters, Result out) {
  return with_rays(out, [&](auto zero, int64_t n, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> rays(grid, batch, 2), lens(parameters, batch, 1);
    const Operand<D> drays(dgrid, batch, 2), direction(dparameters, batch, 1);
    D* to = out->typed_data<D>();
    over_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
      macro_kernels<D>().tangent(macro::read(lens[i]), n, rays[i], drays[i], macro::read(direction[i]),
                                 to + i * 2 * n, worker);
    });
  });
}

ffi::Error adjoint(ffi::ThreadPool pool, ffi::AnyBuffer grid, ffi::AnyBuffer parameters, ffi::AnyBuffer cotangent,
                   Result dgrid, Result dparameters) {
  return with_rays(dgrid, [&](auto zero, int64_t n, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> rays(grid, batch, 2), lens(parameters, batch, 1), cotangents(cotangent, batch, 2);
    D *to = dgrid->typed_data<D>(), *parts = dparameters->typed_data<D>();
    over_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
      const macro::PowerLaw sum =
          macro_kernels<D>().adjoint(macro::read(lens[i]), n, rays[i], cotangents[i], to + i * 2 * n, worker);
      macro::write(sum, parts + i * macro::kParameters);
    });
  });
}

}  // namespace
}  // namespace lenskern

// Parameters are y_c, x_c, epsilon_y, epsilon_x, B, t.
XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroDeflection, lenskern::deflection,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()    // parameters (..., 6)
                                  .Ret<ffi::AnyBuffer>());  // deflection (..., n, 2)

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroTangent, lenskern::tangent,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()    // parameters (..., 6)
                                  .Arg<ffi::AnyBuffer>()    // dgrid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()    // dparameters (..., 6)
                                  .Ret<ffi::AnyBuffer>());  // tangent (..., n, 2)

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroAdjoint, lenskern::adjoint,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()    // parameters (..., 6)
                                  .Arg<ffi::AnyBuffer>()    // cotangent (..., n, 2)
                                  .Ret<ffi::AnyBuffer>()    // dgrid (..., n, 2)
                                  .Ret<ffi::AnyBuffer>());  // dparameters (..., 6)
