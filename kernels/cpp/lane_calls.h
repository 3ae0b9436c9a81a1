// Batched calls of XLA on the thread pool: operands of the lanes, and how many threads they are worth.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "crew.h"
#include "lane_offsets.h"
#include "xla/ffi/api/ffi.h"

namespace lenskern {

using Dimensions = xla::ffi::Span<const int64_t>;

inline int64_t product(Dimensions shape) {
  int64_t size = 1;
  for (const int64_t n : shape) size *= n;
  return size;
}

// The batch axes of an array of which a lane has `axes` axes, and those of the lane.
inline Dimensions batch_of(Dimensions shape, size_t axes) { return Dimensions(shape.begin(), shape.size() - axes); }
inline Dimensions lane_of(Dimensions shape, size_t axes) { return Dimensions(shape.end() - axes, axes); }

// An operand of which each lane has a part of `axes` axes, or shares one.
template <class D>
class Operand {
 public:
  Operand(xla::ffi::AnyBuffer buffer, Dimensions batch, size_t axes)
      : data_(static_cast<const D*>(buffer.untyped_data())),
        shape_(lane_of(buffer.dimensions(), axes)),
        at_(batch, buffer.dimensions(), product(shape_)) {}
  const D* operator[](int64_t lane) const { return data_ + at_[lane]; }
  int64_t size(size_t axis) const { return shape_[axis]; }

 private:
  const D* data_;
  Dimensions shape_;
  LaneOffsets at_;
};

// Products in a call below which another thread would cost more than it brings.
constexpr double kProductsWorthAThread = 1e6;

// Calls lane(i, worker) for all lanes, on at most 1 + `worth` threads; false where one of them is.
template <class Lane>
bool run_lanes(xla::ffi::ThreadPool& pool, int64_t lanes, double worth, const Lane& lane) {
  const auto useful = static_cast<int64_t>(1 + std::min(1e6, worth));
  const int threads = static_cast<int>(std::min<int64_t>({pool.num_threads(), useful, 256}));
  std::atomic<bool> done{true};
  Crew::run(
      lanes, threads, [&](std::function<void()> task) { pool.Schedule(std::move(task)); },
      [&](int64_t i, Crew::Worker& worker) {
        if (!lane(i, worker)) done = false;
      });
  return done;
}

// The same for kernels with memory of their own for each worker: calls lane(i, scratch, worker).
template <class Kernels, class Lane>
bool run_lanes(xla::ffi::ThreadPool& pool, int64_t lanes, double worth, const Kernels& kernels, const Lane& lane) {
  return run_lanes(pool, lanes, worth, [&](int64_t i, Crew::Worker& worker) {
    void* scratch = worker.scratch(kernels.make_scratch, kernels.free_scratch);
    return scratch != nullptr && lane(i, scratch, worker);
  });
}

// The result of a call from whether all of its lanes are done, which takes memory alone.
inline xla::ffi::Error result_of(bool done, const char* operation) {
  if (done) return xla::ffi::Error::Success();
  return xla::ffi::Error(xla::ffi::ErrorCode::kResourceExhausted, std::string(operation) + ": out of memory");
}

}  // namespace lenskern
