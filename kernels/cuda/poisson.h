// Draws from Poisson distributions: what the handler hands to the kernel. Pointers are to device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "lanes.h"

namespace lenskern::cuda {

// Rates (n) and the two words of a seed of all lanes; counts (lanes, n).
template <class T>
struct Draws {
  Lanes lanes;
  int64_t n;
  Batched<uint32_t> seed;
  Batched<T> rate;
  T* counts;
};

template <class T>
cudaError_t launch_poisson(cudaStream_t stream, const Draws<T>& draws);

}  // namespace lenskern::cuda
