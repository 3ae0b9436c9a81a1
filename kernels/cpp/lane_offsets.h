// Where the lanes of a batched call find their operands.
#pragma once

#include <cstdint>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace lenskern {

// A batch axis of size 1 is shared by all lanes along it.
class LaneOffsets {
 public:
  LaneOffsets(xla::ffi::Span<const int64_t> batch, xla::ffi::Span<const int64_t> operand, int64_t lane_size) {
    int64_t stride = lane_size;
    for (size_t axis = batch.size(); axis-- > 0;) {
      sizes_.insert(sizes_.begin(), batch[axis]);
      strides_.insert(strides_.begin(), operand[axis] == 1 ? 0 : stride);
      stride *= operand[axis];
    }
  }
  int64_t operator[](int64_t lane) const {
    int64_t offset = 0;
    for (size_t axis = sizes_.size(); axis-- > 0;) {
      offset += lane % sizes_[axis] * strides_[axis];
      lane /= sizes_[axis];
    }
    return offset;
  }

 private:
  std::vector<int64_t> sizes_, strides_;
};

}  // namespace lenskern
