// XLA FFI handlers of the NNLS solver on the CPU: lanes of a batch over the thread pool, one call each.
#include <cstdint>
#include <string>

#include "handlers.h"
#include "lane_calls.h"
#include "nnls_isa.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

// Work in a lane below which another thread would cost more than it brings.
constexpr double kFlopsWorthAThread = 2e6;

template <class D, class Lane>
ffi::Error over_lanes(ffi::ThreadPool& pool, int64_t lanes, int64_t n, const NnlsKernels<D>& kernel, const Lane& lane) {
  const double worth = static_cast<double>(lanes) * n * n * n / kFlopsWorthAThread;
  return result_of(run_lanes(pool, lanes, worth, kernel, lane), "lenskern.nnls");
}

template <ffi::DataType dtype>
ffi::Error solve(ffi::ThreadPool pool, ffi::AnyBuffer Q, ffi::AnyBuffer q, ffi::AnyBuffer x0, ffi::AnyBuffer x,
                 ffi::AnyBuffer z, ffi::AnyBuffer status, ffi::AnyBuffer iterations, ffi::AnyBuffer passes,
                 ffi::AnyBuffer residual, float* factor, nnls::Options options) {
  using D = ffi::NativeType<dtype>;
  const Dimensions batch = status.dimensions();
  const int64_t lanes = status.element_count(), n = x.dimensions().back();
  const Operand<D> Qs(Q, batch, 2), qs(q, batch, 1), starts(x0, batch, 1);
  const bool warm = starts.size(0) == n;
  const NnlsKernels<D> kernel = nnls_kernels<D>();
  return over_lanes(pool, lanes, n, kernel, [&](int64_t i, void* scratch, Crew::Worker& worker) {
    const nnls::Lane<D> lane{static_cast<int>(n),
                             Qs[i],
                             qs[i],
                             warm ? starts[i] : nullptr,
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
  const Dimensions batch = batch_of(y.dimensions(), 1);
  const int64_t n = y.dimensions().back(), lanes = product(batch);
  const Operand<D> Qs(Q, batch, 2), bs(b, batch, 1);
  const Operand<bool> frees(free, batch, 1);
  const Operand<float> factors(factor, batch, 1);
  const bool kept = factors.size(0) == nnls::kept_words(n);
  const NnlsKernels<D> kernel = nnls_kernels<D>();
  return over_lanes(pool, lanes, n, kernel, [&](int64_t i, void* scratch, Crew::Worker& worker) {
    const nnls::FreeLane<D> lane{static_cast<int>(n),
                                 Qs[i],
                                 frees[i],
                                 bs[i],
                                 kept ? factors[i] : nullptr,
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
                                  .Arg<ffi::AnyBuffer>()  // x0 (..., n), or of another size for none
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
                                  .Arg<ffi::AnyBuffer>()   // factor (..., kept_words(n)), or of another size for none
                                  .Ret<ffi::AnyBuffer>());  // y (..., n)
