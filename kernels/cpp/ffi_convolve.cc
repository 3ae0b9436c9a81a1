// XLA FFI handlers of convolutions on the CPU: lanes and pieces of their rows over the thread pool.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "convolve.h"
#include "handlers.h"
#include "lane_offsets.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Dimensions = ffi::Span<const int64_t>;
using Result = ffi::Result<ffi::AnyBuffer>;

// Products of a call below which another thread would cost more than it brings.
constexpr double kProductsWorthAThread = 1e6;

// An operand of which each lane has a part of two axes, or shares one.
template <class D>
class Operand {
 public:
  Operand(ffi::AnyBuffer buffer, Dimensions batch)
      : data_(buffer.typed_data<D>()),
        height(end(buffer)[-2]),
        width(end(buffer)[-1]),
        at_(batch, buffer.dimensions(), height * width) {}
  const D* operator[](int64_t lane) const { return data_ + at_[lane]; }

 private:
  static const int64_t* end(const ffi::AnyBuffer& buffer) { return buffer.dimensions().end(); }
  const D* data_;

 public:
  const int64_t height, width;

 private:
  LaneOffsets at_;
};

// Calls lane(i, worker) for all lanes; products are those of one lane.
template <class Lane>
ffi::Error run_lanes(ffi::ThreadPool& pool, Dimensions batch, double products, const Lane& lane) {
  int64_t lanes = 1;
  for (const int64_t n : batch) lanes *= n;
  const double useful = 1 + std::min(1e6, static_cast<double>(lanes) * products / kProductsWorthAThread);
  const int threads = static_cast<int>(std::min<int64_t>({pool.num_threads(), static_cast<int64_t>(useful), 256}));
  std::atomic<bool> done{true};
  Crew::run(
      lanes, threads, [&](std::function<void()> task) { pool.Schedule(std::move(task)); },
      [&](int64_t i, Crew::Worker& worker) {
        if (!lane(i, worker)) done = false;
      });
  if (done) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "lenskern.convolve: out of memory");
}

// Calls run(D{}, batch) with the type of the images and the batch axes.
template <class Run>
ffi::Error with_type(Result& out, const Run& run) {
  const Dimensions shape = out->dimensions(), batch(shape.begin(), shape.size() - 2);
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
    const Operand<D> images(image, batch), kernels(kernel, batch);
    D* to = out->typed_data<D>();
    const convolve::Shape s{images.height, images.width, kernels.height, kernels.width, 1, transposed};
    const int64_t pixels = s.height * s.width;
    const double products = static_cast<double>(pixels) * s.kernel_height * s.kernel_width;
    return run_lanes(pool, batch, products, [&](int64_t i, Crew::Worker& worker) {
      return convolve_kernels<D>().direct(s, images[i], kernels[i], to + i * pixels, worker);
    });
  });
}

ffi::Error separable(ffi::ThreadPool pool, ffi::AnyBuffer image, ffi::AnyBuffer y, ffi::AnyBuffer x, Result out,
                     bool transposed) {
  return with_type(out, [&](auto zero, Dimensions batch) {
    using D = decltype(zero);
    const Operand<D> images(image, batch), columns(y, batch), rows(x, batch);
    D* to = out->typed_data<D>();
    const convolve::Shape s{images.height, images.width, columns.width, rows.width, columns.height, transposed};
    const int64_t pixels = s.height * s.width;
    const double products = static_cast<double>(pixels) * s.rank * (s.kernel_height + s.kernel_width);
    return run_lanes(pool, batch, products, [&](int64_t i, Crew::Worker& worker) {
      return convolve_kernels<D>().separable(s, images[i], columns[i], rows[i], to + i * pixels, worker);
    });
  });
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
