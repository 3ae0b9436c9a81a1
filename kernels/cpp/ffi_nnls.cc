// XLA FFI handlers of the NNLS solver on the CPU: lanes of a batch over the thread pool, one call each.
#include <algorithm>
#include <cstdint>
#include <string>

#include "handlers.h"
#include "lane_offsets.h"
#include "nnls_isa.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Dimensions = ffi::Span<const int64_t>;

// Work in a lane below which another thread would cost more than it brings.
constexpr double kFlopsWorthAThread = 2e6;

template <class D, class Lane>
ffi::Error run_lanes(int64_t lanes, int64_t n, ffi::ThreadPool& pool, const NnlsKernels<D>& kernel, const Lane& lane) {
  const double flops = static_cast<double>(lanes) * n * n * n;
  const int64_t useful = static_cast<int64_t>(1 + std::min(1e6, flops / kFlopsWorthAThread));
  const int threads = static_cast<int>(std::min<int64_t>({pool.num_threads(), useful, 256}));
  std::atomic<bool> out_of_memory{false};
  Crew::run(
      lanes, threads, [&](std::function<void()> task) { pool.Schedule(std::move(task)); },
      [&](int64_t i, Crew::Worker& worker) {
        void* scratch = worker.scratch(kernel.make_scratch, kernel.free_scratch);
        if (scratch == nullptr || !lane(i, scratch, worker)) out_of_memory = true;
      });
  if (out_of_memory) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "lenskern.nnls: out of memory");
  return ffi::Error::Success();
}

template <ffi::DataType dtype>
ffi::Error solve(ffi::ThreadPool pool, ffi::AnyBuffer Q, ffi::AnyBuffer q, ffi::AnyBuffer x0, ffi::AnyBuffer x,
                 ffi::AnyBuffer z, ffi::AnyBuffer status, ffi::AnyBuffer iterations, ffi::AnyBuffer passes,
                 ffi::AnyBuffer residual, float* factor, nnls::Options options) {
  using D = ffi::NativeType<dtype>;
  const Dimensions batch = status.dimensions();
  const int64_t lanes = status.element_count(), n = x.dimensions().back();
  const bool warm = x0.dimensions().back() != 0;
  const LaneOffsets Q_at(batch, Q.dimensions(), n * n), q_at(batch, q.dimensions(), n),
      x0_at(batch, x0.dimensions(), n);
  const NnlsKernels<D> kernel = nnls_kernels<D>();
  return run_lanes(lanes, n, pool, kernel, [&](int64_t i, void* scratch, Crew::Worker& worker) {
    const nnls::Lane<D> lane{static_cast<int>(n),
                             Q.typed_data<D>() + Q_at[i],
                             q.typed_data<D>() + q_at[i],
                             warm ? x0.typed_data<D>() + x0_at[i] : nullptr,
                             x.typed_data<D>() + i * n,
                             z.typed_data<D>() + i * n,
                             factor == nullptr ? nullptr : factor + i * nnls::kept_words(n)};
    const nnls::Outcome outcome = kernel.solve(lane, options, scratch, worker);
    status.typed_data<int32_t>()[i] = outcome.status;
    iterations.typed_data<int32_t>()[i] = outcome.iterations;
    passes.typed_data<int32_t>()[i] = outcome.passes;
    residual.typed_data<D>()[i] = static_cast<D>(outcome.residual);
    return outcome.status != nnls::kOutOfMemory;
  });
}

template <ffi::DataType dtype>
ffi::Error free_solve(ffi::ThreadPool pool, ffi::AnyBuffer Q, ffi::AnyBuffer free, ffi::AnyBuffer b,
                      ffi::AnyBuffer factor, ffi::AnyBuffer y) {
  using D = ffi::NativeType<dtype>;
  const Dimensions shape = y.dimensions();
  const Dimensions batch(shape.begin(), shape.size() - 1);
  const int64_t n = shape.back(), lanes = static_cast<int64_t>(y.element_count()) / n;
  const LaneOffsets Q_at(batch, Q.dimensions(), n * n), free_at(batch, free.dimensions(), n),
      b_at(batch, b.dimensions(), n), factor_at(batch, factor.dimensions(), factor.dimensions().back());
  const bool kept = factor.dimensions().back() == nnls::kept_words(n);
  const NnlsKernels<D> kernel = nnls_kernels<D>();
  return run_lanes(lanes, n, pool, kernel, [&](int64_t i, void* scratch, Crew::Worker& worker) {
    const nnls::FreeLane<D> lane{static_cast<int>(n),
                                 Q.typed_data<D>() + Q_at[i],
                                 free.typed_data<bool>() + free_at[i],
                                 b.typed_data<D>() + b_at[i],
                                 kept ? factor.typed_data<float>() + factor_at[i] : nullptr,
                                 y.typed_data<D>() + i * n};
    return kernel.free_solve(lane, scratch, worker) != nnls::kOutOfMemory;
  });
}

ffi::Error unsupported(ffi::DataType) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.nnls: Q must be float32 or float64");
}

ffi::Error solve_any(ffi::ThreadPool pool, ffi::AnyBuffer Q, ffi::AnyBuffer q, ffi::AnyBuffer x0,
                     ffi::Result<ffi::AnyBuffer> x, ffi::Result<ffi::AnyBuffer> z, ffi::Result<ffi::AnyBuffer> status,
                     ffi::Result<ffi::AnyBuffer> iterations, ffi::Result<ffi::AnyBuffer> passes,
                     ffi::Result<ffi::AnyBuffer> residual, ffi::RemainingRets more, double tol, int32_t max_iter) {
  const nnls::Options options{tol, max_iter};
  float* factor = nullptr;
  if (more.size() == 1) {
    const auto kept = more.get<ffi::AnyBuffer>(0);
    if (kept.has_error()) return kept.error();
    if ((*kept)->dimensions().back() == nnls::kept_words((*x).dimensions().back())) {
      factor = (*kept)->typed_data<float>();
    }
  }
  switch (Q.element_type()) {
    case ffi::F64:
      return solve<ffi::F64>(pool, Q, q, x0, *x, *z, *status, *iterations, *passes, *residual, factor, options);
    case ffi::F32:
      return solve<ffi::F32>(pool, Q, q, x0, *x, *z, *status, *iterations, *passes, *residual, factor, options);
    default: return unsupported(Q.element_type());
  }
}

ffi::Error free_solve_any(ffi::ThreadPool pool, ffi::AnyBuffer Q, ffi::AnyBuffer free, ffi::AnyBuffer b,
                          ffi::AnyBuffer factor, ffi::Result<ffi::AnyBuffer> y) {
  switch (Q.element_type()) {
    case ffi::F64: return free_solve<ffi::F64>(pool, Q, free, b, factor, *y);
    case ffi::F32: return free_solve<ffi::F32>(pool, Q, free, b, factor, *y);
    default: return unsupported(Q.element_type());
  }
}

}  // namespace
}  // namespace lenskern

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernNnlsSolve, lenskern::solve_any,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // Q (..., n, n)
                                  .Arg<ffi::AnyBuffer>()  // q (..., n)
                                  .Arg<ffi::AnyBuffer>()  // x0 (..., n), or (..., 0) for none
                                  .Ret<ffi::AnyBuffer>()  // x (..., n)
                                  .Ret<ffi::AnyBuffer>()  // z (..., n)
                                  .Ret<ffi::AnyBuffer>()  // status (...)
                                  .Ret<ffi::AnyBuffer>()  // iterations (...)
                                  .Ret<ffi::AnyBuffer>()  // passes (...)
                                  .Ret<ffi::AnyBuffer>()  // residual (...)
                                  .RemainingRets()        // the factor (..., kept_words(n)), where asked for
                                  .Attr<double>("tol")
                                  .Attr<int32_t>("max_iter"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernNnlsFreeSolve, lenskern::free_solve_any,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()   // Q (..., n, n)
                                  .Arg<ffi::AnyBuffer>()   // free (..., n)
                                  .Arg<ffi::AnyBuffer>()   // b (..., n)
                                  .Arg<ffi::AnyBuffer>()   // factor (..., kept_words(n)), or (..., 0) for none
                                  .Ret<ffi::AnyBuffer>());  // y (..., n)
