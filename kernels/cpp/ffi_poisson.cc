// XLA FFI handler of the Poisson draws on the CPU: lanes and pieces of their elements over the thread pool.
#include <cstdint>

#include "handlers.h"
#include "lane_calls.h"
#include "poisson.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

// Elements of a call below which another thread would cost more than it brings.
constexpr double kElementsWorthAThread = 4000;

template <class D>
void draw(ffi::ThreadPool& pool, ffi::AnyBuffer seed, ffi::AnyBuffer rate, ffi::Result<ffi::AnyBuffer>& counts) {
  const Dimensions batch = batch_of(counts->dimensions(), 1);
  const Operand<uint32_t> seeds(seed, batch, 1);
  const Operand<D> rates(rate, batch, 1);
  const int64_t n = rates.size(0), lanes = product(batch);
  const double worth = static_cast<double>(lanes) * n / kElementsWorthAThread;
  const PoissonKernel<D> kernel = poisson_kernel<D>();
  run_lanes(pool, lanes, worth, [&](int64_t i, Crew::Worker& worker) {
    kernel(seeds[i], n, rates[i], counts->typed_data<D>() + i * n, worker);
    return true;  // no memory that could run out
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
