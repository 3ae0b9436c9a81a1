// A kernel on a stream, with blocks that take turns where there are more than a grid has.
#pragma once

#include "block.cuh"

namespace lenskern::cuda {

template <class Call>
inline cudaError_t launch(cudaStream_t stream, int64_t blocks, void (*kernel)(Call), const Call& call) {
  if (blocks == 0) return cudaSuccess;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, call);
}

}  // namespace lenskern::cuda
