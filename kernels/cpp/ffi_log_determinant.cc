// XLA FFI handler of ln det on the CPU: lanes and pieces of their factorisation over the thread pool.
#include <cstdint>

#include "handlers.h"
#include "lane_calls.h"
#include "log_determinant.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Result = ffi::Result<ffi::AnyBuffer>;

template <class D>
ffi::Error run(ffi::ThreadPool& pool, ffi::AnyBuffer matrix, Result& out) {
  const Dimensions batch = out->dimensions();
  const Operand<D> matrices(matrix, batch, 2);
  const auto n = static_cast<int>(matrices.size(0));
  const int64_t lanes = product(batch);
  const double products = static_cast<double>(lanes) * n * n * n / 6;
  const auto lane = [&](int64_t i, Crew::Worker& worker) {
    return log_determinant_kernel<D>()(n, matrices[i], out->typed_data<D>() + i, worker);
  };
  return result_of(run_lanes(pool, lanes, products / kProductsWorthAThread, lane), "lenskern.nnls");
}

ffi::Error log_determinant(ffi::ThreadPool pool, ffi::AnyBuffer matrix, Result out) {
  switch (out->element_type()) {
    case ffi::F64:
      return run<double>(pool, matrix, out);
    case ffi::F32:
      return run<float>(pool, matrix, out);
    default:
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.nnls: a matrix must be float32 or float64");
  }
}

}  // namespace
}  // namespace lenskern

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernNnlsLogDeterminant, lenskern::log_determinant,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // matrix (..., K, K)
                                  .Ret<ffi::AnyBuffer>());  // (...)
