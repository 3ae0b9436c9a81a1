// XLA FFI handlers of the elliptical power law on the CPU: lanes and pieces of their rays over the thread pool.
#include <algorithm>
#include <cstdint>

#include "handlers.h"
#include "lane_offsets.h"
#include "macro.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Dimensions = ffi::Span<const int64_t>;
using Result = ffi::Result<ffi::AnyBuffer>;

// Rays of a call below which another thread would cost more than it brings.
constexpr double kRaysWorthAThread = 4000;

template <class Lane>
void run_lanes(ffi::ThreadPool& pool, int64_t lanes, int64_t rays, const Lane& lane) {
  const int64_t useful = static_cast<int64_t>(1 + std::min(1e6, static_cast<double>(lanes) * rays / kRaysWorthAThread));
  const int threads = static_cast<int>(std::min<int64_t>({pool.num_threads(), useful, 256}));
  Crew::run(lanes, threads, [&](std::function<void()> task) { pool.Schedule(std::move(task)); }, lane);
}

int64_t product(Dimensions shape) {
  int64_t size = 1;
  for (const int64_t n : shape) size *= n;
  return size;
}

// An operand (n, 2) or (6,) of which each lane has a part, or shares one.
template <class D>
class Operand {
 public:
  Operand(ffi::AnyBuffer buffer, Dimensions batch, int64_t size)
      : data_(buffer.typed_data<D>()), at_(batch, buffer.dimensions(), size) {}
  const D* operator[](int64_t lane) const { return data_ + at_[lane]; }

 private:
  const D* data_;
  LaneOffsets at_;
};

// Calls run(D{}, n, batch) with the type of the rays, their number and the batch axes.
template <class Run>
ffi::Error with_rays(Result& rays, const Run& run) {
  const Dimensions shape = rays->dimensions(), batch(shape.begin(), shape.size() - 2);
  const int64_t n = *(shape.end() - 2);
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
    const Operand<D> rays(grid, batch, 2 * n), lens(parameters, batch, 6);
    D* to = out->typed_data<D>();
    run_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
      macro_kernels<D>().deflection(macro::read(lens[i]), n, rays[i], to + i * 2 * n, worker);
    });
  });
}

ffi::Error tangent(ffi::ThreadPool pool, ffi::AnyBuffer grid, ffi::AnyBuffer parameters, ffi::AnyBuffer dgrid,
                   ffi::AnyBuffer dparameters, Result out) {
  return with_rays(out, [&](auto zero, int64_t n, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> rays(grid, batch, 2 * n), lens(parameters, batch, 6);
    const Operand<D> drays(dgrid, batch, 2 * n), direction(dparameters, batch, 6);
    D* to = out->typed_data<D>();
    run_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
      macro_kernels<D>().tangent(macro::read(lens[i]), n, rays[i], drays[i], macro::read(direction[i]),
                                 to + i * 2 * n, worker);
    });
  });
}

ffi::Error adjoint(ffi::ThreadPool pool, ffi::AnyBuffer grid, ffi::AnyBuffer parameters, ffi::AnyBuffer cotangent,
                   Result dgrid, Result dparameters) {
  return with_rays(dgrid, [&](auto zero, int64_t n, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> rays(grid, batch, 2 * n), lens(parameters, batch, 6), cotangents(cotangent, batch, 2 * n);
    D *to = dgrid->typed_data<D>(), *parts = dparameters->typed_data<D>();
    run_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
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
