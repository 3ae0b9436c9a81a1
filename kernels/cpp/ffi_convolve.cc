// XLA FFI handlers of convolutions on the CPU: lanes and pieces of their rows over the thread pool.
#include <cstdint>

#include "convolve.h"
#include "handlers.h"
#include "lane_calls.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Result = ffi::Result<ffi::AnyBuffer>;

template <class Lane>
ffi::Error over_lanes(ffi::ThreadPool& pool, int64_t lanes, double products, const Lane& lane) {
  const double worth = static_cast<double>(lanes) * products / kProductsWorthAThread;
  return result_of(run_lanes(pool, lanes, worth, lane), "lenskern.convolve");
}

// Calls run(D{}, batch) with the type of the images and the batch axes, where a lane of the result has `axes` axes.
template <class Run>
ffi::Error with_type(Result& out, const Run& run, size_t axes = 2) {
  const Dimensions batch = batch_of(out->dimensions(), axes);
  switch (out->element_type()) {
    case ffi::F64:
      return run(double{}, batch);
    case ffi::F32:
      return run(float{}, batch);
    default:
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.convolve: images must be float32 or float64");
  }
}

ffi::Error direct(ffi::ThreadPool pool, ffi::AnyBuffer image, ffi::AnyBuffer kernel, Result out, bool transposed) {
  return with_type(out, [&](auto zero, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> images(image, batch, 2), kernels(kernel, batch, 2);
    D* to = out->typed_data<D>();
    const convolve::Shape s{images.size(0), images.size(1), kernels.size(0), kernels.size(1), 1, transposed};
    const int64_t pixels = s.height * s.width;
    const double products = static_cast<double>(pixels) * s.kernel_height * s.kernel_width;
    return over_lanes(pool, product(batch), products, [&](int64_t i, Crew::Worker& worker) {
      return convolve_kernels<D>().direct(s, images[i], kernels[i], to + i * pixels, worker);
    });
  });
}

ffi::Error separable(ffi::ThreadPool pool, ffi::AnyBuffer image, ffi::AnyBuffer y, ffi::AnyBuffer x, Result out,
                     bool transposed) {
  return with_type(out, [&](auto zero, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> images(image, batch, 2), columns(y, batch, 2), rows(x, batch, 2);
    D* to = out->typed_data<D>();
    const convolve::Shape s{images.size(0), images.size(1), columns.size(1), rows.size(1), columns.size(0), transposed};
    const int64_t pixels = s.height * s.width;
    const double products = static_cast<double>(pixels) * s.rank * (s.kernel_height + s.kernel_width);
    return over_lanes(pool, product(batch), products, [&](int64_t i, Crew::Worker& worker) {
      return convolve_kernels<D>().separable(s, images[i], columns[i], rows[i], to + i * pixels, worker);
    });
  });
}

ffi::Error columns(ffi::ThreadPool pool, ffi::AnyBuffer matrix, ffi::AnyBuffer kernel, ffi::AnyBuffer inputs,
                   ffi::AnyBuffer outputs, Result out, int64_t height, int64_t width, bool transposed) {
  return with_type(out, [&](auto zero, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> matrices(matrix, batch, 2), kernels(kernel, batch, 2);
    const Operand<int32_t> from(inputs, batch, 2), at(outputs, batch, 2);
    D* to = out->typed_data<D>();
    const int64_t size = at.size(0) * matrices.size(1);
    // Of a matrix that is mostly zeros it is far less, but reading and writing it is worth threads as well.
    const double products = static_cast<double>(size) * kernels.size(0) * kernels.size(1);
    return over_lanes(pool, product(batch), products, [&](int64_t i, Crew::Worker& worker) {
      const convolve::Columns c{height,           width,        kernels.size(0), kernels.size(1), transposed,
                                matrices.size(1), from.size(0), at.size(0),      from[i],         at[i]};
      return convolve_kernels<D>().columns(c, matrices[i], kernels[i], to + i * size, worker);
    });
  });
}

// What entries of matrices and matrices have in common, from one to the other: run(kernels, c, list, from, kernel, to, worker).
template <class Run>
ffi::Error entries(ffi::ThreadPool& pool, ffi::AnyBuffer from, size_t axes, ffi::AnyBuffer rows, ffi::AnyBuffer columns,
                   ffi::AnyBuffer kernel, ffi::AnyBuffer pixels, Result& out, size_t out_axes, int64_t height,
                   int64_t width, int64_t size, const Run& run) {
  return with_type(
      out,
      [&](auto zero, Dimensions batch) {
        using D = decltype(zero);
        const Operand<D> all(from, batch, axes), kernels(kernel, batch, 2);
        const Operand<int32_t> row(rows, batch, 1), column(columns, batch, 1), at(pixels, batch, 2);
        D* to = out->typed_data<D>();
        const int64_t each = product(lane_of(out->dimensions(), out_axes));
        const double products = static_cast<double>(at.size(0)) * size * kernels.size(0) * kernels.size(1);
        return over_lanes(pool, product(batch), products, [&](int64_t i, Crew::Worker& worker) {
          const convolve::Columns c{height, width,      kernels.size(0), kernels.size(1), false,
                                    size,   at.size(0), at.size(0),      at[i],           at[i]};
          const convolve::List list{row.size(0), row[i], column[i]};
          return run(convolve_kernels<D>(), c, list, all[i], kernels[i], to + i * each, worker);
        });
      },
      out_axes);
}

ffi::Error scatter(ffi::ThreadPool pool, ffi::AnyBuffer values, ffi::AnyBuffer rows, ffi::AnyBuffer columns,
                   ffi::AnyBuffer kernel, ffi::AnyBuffer pixels, Result out, int64_t height, int64_t width) {
  const int64_t size = out->dimensions().back();
  return entries(pool, values, 1, rows, columns, kernel, pixels, out, 2, height, width, size,
                 [](auto kernels, auto&&... arguments) { return kernels.scatter(arguments...); });
}

ffi::Error gather(ffi::ThreadPool pool, ffi::AnyBuffer matrix, ffi::AnyBuffer rows, ffi::AnyBuffer columns,
                  ffi::AnyBuffer kernel, ffi::AnyBuffer pixels, Result out, int64_t height, int64_t width) {
  const int64_t size = matrix.dimensions().back();
  return entries(pool, matrix, 2, rows, columns, kernel, pixels, out, 1, height, width, size,
                 [](auto kernels, auto&&... arguments) { return kernels.gather(arguments...); });
}

}  // namespace
}  // namespace lenskern

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernConvolveDirect, lenskern::direct,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // image (..., H, W)
                                  .Arg<ffi::AnyBuffer>()  // kernel (..., kh, kw)
                                  .Ret<ffi::AnyBuffer>()  // (..., H, W)
                                  .Attr<bool>("transposed"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernConvolveSeparable, lenskern::separable,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // image (..., H, W)
                                  .Arg<ffi::AnyBuffer>()  // y (..., R, kh)
                                  .Arg<ffi::AnyBuffer>()  // x (..., R, kw)
                                  .Ret<ffi::AnyBuffer>()  // (..., H, W)
                                  .Attr<bool>("transposed"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernConvolveColumns, lenskern::columns,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // matrix (..., R, S)
                                  .Arg<ffi::AnyBuffer>()  // kernel (..., kh, kw)
                                  .Arg<ffi::AnyBuffer>()  // inputs (..., R, 2)
                                  .Arg<ffi::AnyBuffer>()  // outputs (..., N, 2)
                                  .Ret<ffi::AnyBuffer>()  // (..., N, S)
                                  .Attr<int64_t>("height")
                                  .Attr<int64_t>("width")
                                  .Attr<bool>("transposed"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernConvolveScatter, lenskern::scatter,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // values (..., E)
                                  .Arg<ffi::AnyBuffer>()  // rows (..., E)
                                  .Arg<ffi::AnyBuffer>()  // columns (..., E)
                                  .Arg<ffi::AnyBuffer>()  // kernel (..., kh, kw)
                                  .Arg<ffi::AnyBuffer>()  // pixels (..., N, 2)
                                  .Ret<ffi::AnyBuffer>()  // (..., N, S)
                                  .Attr<int64_t>("height")
                                  .Attr<int64_t>("width"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernConvolveGather, lenskern::gather,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()  // matrix (..., N, S)
                                  .Arg<ffi::AnyBuffer>()  // rows (..., E)
                                  .Arg<ffi::AnyBuffer>()  // columns (..., E)
                                  .Arg<ffi::AnyBuffer>()  // kernel (..., kh, kw)
                                  .Arg<ffi::AnyBuffer>()  // pixels (..., N, 2)
                                  .Ret<ffi::AnyBuffer>()  // (..., E)
                                  .Attr<int64_t>("height")
                                  .Attr<int64_t>("width"));
