// Where the lanes of a batched call find their operands, as kernels are told.
#pragma once

#include <cstdint>

#include "lenskern/dual.h"

namespace lenskern::cuda {

constexpr int kMostAxes = 6;

// Offsets into an operand for each batch axis; 0 along the axes that its lanes share it on.
struct Strides {
  int64_t of[kMostAxes];
};

// Where a lane is along each axis.
struct Place {
  int64_t at[kMostAxes];

  LENSKERN_MEMBER int64_t offset(const Strides& strides) const {
    int64_t offset = 0;
    for (int axis = 0; axis < kMostAxes; ++axis) offset += at[axis] * strides.of[axis];
    return offset;
  }
};

// The batch axes, merged where all operands allow it; those after `axes` have the size 1 and strides of 0.
struct Lanes {
  int64_t count;
  int axes;
  int64_t sizes[kMostAxes];

  LENSKERN_MEMBER Place place(int64_t lane) const {
    Place place{};
#if defined(__CUDA_ARCH__)
#pragma unroll 1
#endif
    for (int axis = axes - 1; axis > 0; --axis) {
      place.at[axis] = lane % sizes[axis];
      lane /= sizes[axis];
    }
    place.at[0] = lane;
    return place;
  }
};

// An operand of all lanes.
template <class T>
struct Batched {
  const T* data;
  Strides strides;

  LENSKERN_MEMBER const T* operator()(const Place& place) const {
    return data == nullptr ? nullptr : data + place.offset(strides);
  }
};

}  // namespace lenskern::cuda
