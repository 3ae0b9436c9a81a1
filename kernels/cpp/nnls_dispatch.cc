#include "isa.h"
#include "nnls_isa.h"

namespace lenskern {

template <class D>
NnlsKernels<D> nnls_kernels() {
  switch (ActiveIsa()) {
#ifdef LENSKERN_HAS_AVX512
    case Isa::avx512: return avx512::nnls_kernels<D>();
#endif
#ifdef LENSKERN_HAS_AVX2
    case Isa::avx2: return avx2::nnls_kernels<D>();
#endif
    default: return baseline::nnls_kernels<D>();
  }
}
template NnlsKernels<float> nnls_kernels<float>();
template NnlsKernels<double> nnls_kernels<double>();

}  // namespace lenskern
