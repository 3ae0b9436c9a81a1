#include "normal.h"
#include "isa.h"

namespace lenskern {

template <class D>
NormalKernels<D> normal_kernels() {
  switch (ActiveIsa()) {
#ifdef LENSKERN_HAS_AVX512
    case Isa::avx512:
      return avx512::normal_kernels<D>();
#endif
#ifdef LENSKERN_HAS_AVX2
    case Isa::avx2:
      return avx2::normal_kernels<D>();
#endif
    default:
      return baseline::normal_kernels<D>();
  }
}
template NormalKernels<float> normal_kernels<float>();
template NormalKernels<double> normal_kernels<double>();

}  // namespace lenskern
