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
bool run(ffi::ThreadPool& pool, ffi::AnyBuffer matrix, ffi::AnyBuffer scale, ffi::AnyBuffer order, Result& out) {
  const ffi::Span<const int64_t> shape = out->dimensions(), batch(shape.begin(), shape.size() - 2);
  const Operand<D> matrices(matrix, batch);
  const int64_t rows = matrices.height, columns = matrices.width;
  const LaneOffsets scale_at(batch, scale.dimensions(), rows), order_at(batch, order.dimensions(), rows);
  const double products = 0.5 * static_cast<double>(rows) * columns * columns;
  return run_lanes(pool, batch, products, [&](int64_t i, Crew::Worker& worker) {
    return normal_kernels<D>().matrix(rows, columns, matrices[i], scale.typed_data<D>() + scale_at[i],
                                      order.typed_data<int32_t>() + order_at[i],
                                      out->typed_data<D>() + i * columns * columns, worker);
  });
}

ffi::Error normal_matrix(ffi::ThreadPool pool, ffi::AnyBuffer matrix, ffi::AnyBuffer scale, ffi::AnyBuffer order,
                         Result out) {
  bool done = false;
  switch (out->element_type()) {
    case ffi::F64:
      done = run<double>(pool, matrix, scale, order, out);
      break;
    case ffi::F32:
      done = run<float>(pool, matrix, scale, order, out);
      break;
    default:
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.nnls: a matrix must be float32 or float64");
  }
  if (done) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "lenskern.nnls: out of memory");
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
