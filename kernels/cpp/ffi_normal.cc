// XLA FFI handler of normal matrices on the CPU: lanes and pieces of their columns over the thread pool.
#include <cstdint>

#include "handlers.h"
#include "lane_calls.h"
#include "normal.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Result = ffi::Result<ffi::AnyBuffer>;

template <class D>
ffi::Error run(ffi::ThreadPool& pool, ffi::AnyBuffer matrix, ffi::AnyBuffer scale, ffi::AnyBuffer order, Result& out) {
  const Dimensions batch = batch_of(out->dimensions(), 2);
  const Operand<D> matrices(matrix, batch, 2), scales(scale, batch, 1);
  const Operand<int32_t> orders(order, batch, 1);
  const int64_t rows = matrices.size(0), columns = matrices.size(1), lanes = product(batch);
  const double products = 0.5 * static_cast<double>(lanes) * rows * columns * columns;
  const auto lane = [&](int64_t i, Crew::Worker& worker) {
    return normal_kernels<D>().matrix(rows, columns, matrices[i], scales[i], orders[i],
                                      out->typed_data<D>() + i * columns * columns, worker);
  };
  return result_of(run_lanes(pool, lanes, products / kProductsWorthAThread, lane), "lenskern.nnls");
}

ffi::Error normal_matrix(ffi::ThreadPool pool, ffi::AnyBuffer matrix, ffi::AnyBuffer scale, ffi::AnyBuffer order,
                         Result out) {
  switch (out->element_type()) {
    case ffi::F64:
      return run<double>(pool, matrix, scale, order, out);
    case ffi::F32:
      return run<float>(pool, matrix, scale, order, out);
    default:
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.nnls: a matrix must be float32 or float64");
  }
}

}  // namespace
}  // namespace lenskern

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernNnlsNormalMatrix, lenskern::normal_matrix,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // matrix (..., N, S)
                                  .Arg<ffi::AnyBuffer>()    // scale (..., N)
                                  .Arg<ffi::AnyBuffer>()    // order (..., N)
                                  .Ret<ffi::AnyBuffer>());  // (..., S, S)
