#include "nnls.h"

namespace lenskern::cuda {

template <class D>
cudaError_t nnls_large(cudaStream_t, const Problems<D>&, const Solutions<D>&, char*) {
  return cudaErrorNotSupported;
}
template cudaError_t nnls_large(cudaStream_t, const Problems<float>&, const Solutions<float>&, char*);
template cudaError_t nnls_large(cudaStream_t, const Problems<double>&, const Solutions<double>&, char*);

}  // namespace lenskern::cuda
