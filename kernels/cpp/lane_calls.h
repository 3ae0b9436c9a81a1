// Batched calls of XLA on the thread pool: operands of two axes, lanes, and how many threads they are worth.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <utility>

#include "crew.h"
#include "lane_offsets.h"
#include "xla/ffi/api/ffi.h"

namespace lenskern {

// An operand of which each lane has a part of two axes, or shares one.
template <class D>
class Operand {
 public:
  Operand(xla::ffi::AnyBuffer buffer, xla::ffi::Span<const int64_t> batch)
      : data_(buffer.typed_data<D>()),
        height(end(buffer)[-2]),
        width(end(buffer)[-1]),
        at_(batch, buffer.dimensions(), height * width) {}
  const D* operator[](int64_t lane) const { return data_ + at_[lane]; }

 private:
  static const int64_t* end(const xla::ffi::AnyBuffer& buffer) { return buffer.dimensions().end(); }
  const D* data_;

 public:
  const int64_t height, width;

 private:
  LaneOffsets at_;
};

// Calls lane(i, worker) for all lanes, on as many threads as the products of a lane are worth; false where one of them
// is.
template <class Lane>
bool run_lanes(xla::ffi::ThreadPool& pool, xla::ffi::Span<const int64_t> batch, double products, const Lane& lane) {
  constexpr double kProductsWorthAThread = 1e6;
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
  return done;
}

}  // namespace lenskern
