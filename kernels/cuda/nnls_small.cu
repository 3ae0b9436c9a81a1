#include "nnls.h"

namespace lenskern::cuda {

template <class D>
cudaError_t nnls_small(cudaStream_t, const Problems<D>&, const Solutions<D>&) {
  return cudaErrorNotSupported;
}
template cudaError_t nnls_small(cudaStream_t, const Problems<float>&, const Solutions<float>&);
template cudaError_t nnls_small(cudaStream_t, const Problems<double>&, const Solutions<double>&);

}  // namespace lenskern::cuda
