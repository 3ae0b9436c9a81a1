// XLA FFI handler of the Poisson draws on the CPU: lanes and pieces of their elements over the thread pool.
#include <algorithm>
#include <cstdint>

#include "handlers.h"
#include "lane_offsets.h"
#include "poisson.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

// Elements of a call below which another thread would cost more than it brings.
constexpr double kElementsWorthAThread = 4000;

template <class D>
void draw(ffi::ThreadPool& pool, ffi::AnyBuffer seed, ffi::AnyBuffer rate, ffi::Result<ffi::AnyBuffer>& counts) {
  const ffi::Span<const int64_t> shape = counts->dimensions(), batch(shape.begin(), shape.size() - 1);
  const LaneOffsets seeds(batch, seed.dimensions(), 2), rates(batch, rate.dimensions(), shape.back());
  const int64_t n = shape.back();
  int64_t lanes = 1;
  for (const int64_t size : batch) lanes *= size;
  const auto useful = static_cast<int64_t>(1 + std::min(1e6, static_cast<double>(lanes) * n / kElementsWorthAThread));
  const int threads = static_cast<int>(std::min<int64_t>({pool.num_threads(), useful, 256}));
  const PoissonKernel<D> kernel = poisson_kernel<D>();
  Crew::run(
      lanes, threads, [&](std::function<void()> task) { pool.Schedule(std::move(task)); },
      [&](int64_t lane, Crew::Worker& worker) {
        kernel(seed.typed_data<uint32_t>() + seeds[lane], n, rate.typed_data<D>() + rates[lane],
               counts->typed_data<D>() + lane * n, worker);
      });
}

ffi::Error poisson(ffi::ThreadPool pool, ffi::AnyBuffer seed, ffi::AnyBuffer rate, ffi::Result<ffi::AnyBuffer> counts) {
  switch (counts->element_type()) {
    case ffi::F64:
      draw<double>(pool, seed, rate, counts);
      break;
    case ffi::F32:
      draw<float>(pool, seed, rate, counts);
      break;
    default:
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.simulate: rates must be float32 or float64");
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace lenskern

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernPoisson, lenskern::poisson,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()    // seed (..., 2)
                                  .Arg<ffi::AnyBuffer>()    // rate (..., n)
                                  .Ret<ffi::AnyBuffer>());  // counts (..., n)
