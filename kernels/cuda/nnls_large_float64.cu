#include "nnls_large.cuh"

namespace lenskern::cuda {

template cudaError_t nnls_large(cudaStream_t, const Problems<double>&, const Solutions<double>&, char*);

}  // namespace lenskern::cuda
