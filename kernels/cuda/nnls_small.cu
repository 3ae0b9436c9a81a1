#include "nnls_small.cuh"

namespace lenskern::cuda {

int nnls_small_shared(int n) { return small::MatrixLayout(n).end; }

template <class D>
cudaError_t nnls_small(cudaStream_t stream, const Problems<D>& problems, const Solutions<D>& out) {
  const int bytes = nnls_small_shared(problems.n);
  if (bytes > kMostShared) {  // an attribute of each device, and set without waiting
    const cudaError_t error =
        cudaFuncSetAttribute(small::solve_lanes<D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
  }
  const int64_t lanes = problems.lanes.count;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(lanes < INT32_MAX ? lanes : INT32_MAX));
  config.blockDim = dim3(small::threads_for(problems.n));
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, small::solve_lanes<D>, problems, out);
}
template cudaError_t nnls_small(cudaStream_t, const Problems<float>&, const Solutions<float>&);
template cudaError_t nnls_small(cudaStream_t, const Problems<double>&, const Solutions<double>&);

}  // namespace lenskern::cuda
