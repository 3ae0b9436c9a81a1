#include "nnls_large.cuh"

namespace lenskern::cuda {

template cudaError_t nnls_large(cudaStream_t, const Problems<float>&, const Solutions<float>&, char*);

}  // namespace lenskern::cuda
