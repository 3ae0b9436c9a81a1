// The lanes of a call out of the shapes of its operands.
#pragma once

#include <cstdint>
#include <vector>

#include "lanes.h"
#include "xla/ffi/api/ffi.h"

namespace lenskern::cuda {

using Dimensions = xla::ffi::Span<const int64_t>;

// An operand has the batch axes of the call, of size 1 where all lanes along them share it, and `core` axes of its own.
class Batch {
 public:
  explicit Batch(Dimensions result, size_t core) : sizes_(result.begin(), result.end() - core) {}

  // First all operands are added, then `merge` tells whether the kernels can take them, then `take` gives each.
  void add(xla::ffi::AnyBuffer buffer) {
    const Dimensions shape = buffer.dimensions();
    std::vector<int64_t> strides(sizes_.size());
    int64_t stride = 1;
    for (size_t axis = shape.size(); axis-- > 0;) {
      if (axis < sizes_.size()) strides[axis] = shape[axis] == 1 ? 0 : stride;
      stride *= shape[axis];
    }
    operands_.push_back({buffer.untyped_data(), std::move(strides)});
  }

  bool merge(Lanes* lanes) {
    lanes->count = 1;
    for (const int64_t size : sizes_) lanes->count *= size;
    for (size_t axis = sizes_.size(); axis-- > 0;) {
      if (sizes_[axis] == 1) {
        remove(axis);
      } else if (axis + 1 < sizes_.size() && fits(axis)) {
        sizes_[axis + 1] *= sizes_[axis];
        remove(axis);
      }
    }
    if (sizes_.size() > kMostAxes) return false;
    lanes->axes = static_cast<int>(sizes_.size());
    for (size_t axis = 0; axis < kMostAxes; ++axis) lanes->sizes[axis] = axis < sizes_.size() ? sizes_[axis] : 1;
    return true;
  }

  template <class T>
  Batched<T> take() {
    const Operand& operand = operands_[taken_++];
    Batched<T> batched{reinterpret_cast<const T*>(operand.data), {}};
    for (size_t axis = 0; axis < sizes_.size(); ++axis) batched.strides.of[axis] = operand.strides[axis];
    return batched;
  }

 private:
  struct Operand {
    const void* data;
    std::vector<int64_t> strides;
  };

  // Whether an axis and the one after it are one for every operand.
  bool fits(size_t axis) const {
    for (const Operand& operand : operands_) {
      if (operand.strides[axis] != operand.strides[axis + 1] * sizes_[axis + 1]) return false;
    }
    return true;
  }
  void remove(size_t axis) {
    sizes_.erase(sizes_.begin() + axis);
    for (Operand& operand : operands_) operand.strides.erase(operand.strides.begin() + axis);
  }

  std::vector<int64_t> sizes_;
  std::vector<Operand> operands_;
  size_t taken_ = 0;
};

}  // namespace lenskern::cuda
