// The deflection of an elliptical power law: what the handler hands to the kernel. Pointers are to device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "lanes.h"

namespace lenskern::cuda {

// Rays (n, 2) as (y, x) and parameters (6), as python/lenskern/deflect/macro_reference.py has them; out (lanes, n, 2).
template <class T>
struct PowerLaws {
  Lanes lanes;
  int64_t n;
  Batched<T> grid, parameters;
  T* out;
};

template <class T>
cudaError_t launch_power_law(cudaStream_t stream, const PowerLaws<T>& call);

}  // namespace lenskern::cuda
