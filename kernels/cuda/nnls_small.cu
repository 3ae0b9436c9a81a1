#include "nnls_small.cuh"

namespace lenskern::cuda {

int nnls_small_shared(int n) { return small::MatrixLayout(n).end; }

cudaError_t nnls_shared_room(int* bytes) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

template <class D>
cudaError_t nnls_small(cudaStream_t stream, const Problems<D>& problems, const Solutions<D>& out) {
  // An attribute of the device, and the same for every n: calls in other threads set it too.
  const int bytes = nnls_small_shared(problems.n), most = nnls_small_shared(kMostSmall);
  int room = 0;
  cudaError_t error = nnls_shared_room(&room);
  if (error != cudaSuccess) return error;
  error = cudaFuncSetAttribute(small::solve_lanes<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               most < room ? most : room);
  if (error != cudaSuccess) return error;
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
