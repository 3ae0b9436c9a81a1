#include "convolve.h"
#include "isa.h"

namespace lenskern {

template <class D>
ConvolveKernels<D> convolve_kernels() {
  switch (ActiveIsa()) {
#ifdef LENSKERN_HAS_AVX512
    case Isa::avx512:
      return avx512::convolve_kernels<D>();
#endif
#ifdef LENSKERN_HAS_AVX2
    case Isa::avx2:
      return avx2::convolve_kernels<D>();
#endif
    default:
      return baseline::convolve_kernels<D>();
  }
}
template ConvolveKernels<float> convolve_kernels<float>();
template ConvolveKernels<double> convolve_kernels<double>();

}  // namespace lenskern
