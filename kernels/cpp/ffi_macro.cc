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

template <class D>
void deflection(ffi::ThreadPool& pool, ffi::AnyBuffer grid, ffi::AnyBuffer parameters, Result out) {
  const Dimensions shape = out->dimensions(), batch(shape.begin(), shape.size() - 2);
  const int64_t n = *(shape.end() - 2);
  const LaneOffsets grid_at(batch, grid.dimensions(), 2 * n), parameters_at(batch, parameters.dimensions(), 6);
  const MacroKernels<D> kernels = macro_kernels<D>();
  run_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
    const D* p = parameters.typed_data<D>() + parameters_at[i];
    const macro::PowerLaw lens{p[0], p[1], p[2], p[3], p[4], p[5]};
    kernels.deflection(lens, n, grid.typed_data<D>() + grid_at[i], out->typed_data<D>() + i * 2 * n, worker);
  });
}

template <class D>
void partials(ffi::ThreadPool& pool, ffi::AnyBuffer w, ffi::AnyBuffer parameters, Result S, Result by_w, Result by_b) {
  const Dimensions shape = S->dimensions(), batch(shape.begin(), shape.size() - 1);
  const int64_t n = shape.back();
  const LaneOffsets w_at(batch, w.dimensions(), 2 * n), parameters_at(batch, parameters.dimensions(), 2);
  const MacroKernels<D> kernels = macro_kernels<D>();
  const auto lane_of = [n](Result& result, int64_t i) { return static_cast<D*>(result->untyped_data()) + i * 2 * n; };
  run_lanes(pool, product(batch), n, [&](int64_t i, Crew::Worker& worker) {
    const D* p = parameters.typed_data<D>() + parameters_at[i];
    kernels.partials(p[0], p[1], n, static_cast<const D*>(w.untyped_data()) + w_at[i], lane_of(S, i), lane_of(by_w, i),
                     lane_of(by_b, i), worker);
  });
}

ffi::Error unsupported() {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.deflect: a power law must be float32 or float64");
}

ffi::Error deflection_any(ffi::ThreadPool pool, ffi::AnyBuffer grid, ffi::AnyBuffer parameters, Result out) {
  switch (grid.element_type()) {
    case ffi::F64: deflection<double>(pool, grid, parameters, out); break;
    case ffi::F32: deflection<float>(pool, grid, parameters, out); break;
    default: return unsupported();
  }
  return ffi::Error::Success();
}

ffi::Error partials_any(ffi::ThreadPool pool, ffi::AnyBuffer w, ffi::AnyBuffer parameters, Result S, Result by_w,
                        Result by_b) {
  switch (parameters.element_type()) {
    case ffi::F64: partials<double>(pool, w, parameters, S, by_w, by_b); break;
    case ffi::F32: partials<float>(pool, w, parameters, S, by_w, by_b); break;
    default: return unsupported();
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace lenskern

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroPowerLaw, lenskern::deflection_any,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // grid (..., n, 2)
                                  .Arg<ffi::AnyBuffer>()    // y_c, x_c, epsilon_y, epsilon_x, B, t (..., 6)
                                  .Ret<ffi::AnyBuffer>());  // deflection (..., n, 2)

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernMacroPartials, lenskern::partials_any,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // w (..., n), complex
                                  .Arg<ffi::AnyBuffer>()    // b and the upper bound of |w| (..., 2)
                                  .Ret<ffi::AnyBuffer>()    // S (..., n)
                                  .Ret<ffi::AnyBuffer>()    // dS/dw (..., n)
                                  .Ret<ffi::AnyBuffer>());  // dS/db (..., n)
