#include "deflect_isa.h"
#include "isa.h"

namespace lenskern {

template <class D>
DeflectKernels<D> deflect_kernels() {
  switch (ActiveIsa()) {
#ifdef LENSKERN_HAS_AVX512
    case Isa::avx512: return avx512::deflect_kernels<D>();
#endif
#ifdef LENSKERN_HAS_AVX2
    case Isa::avx2: return avx2::deflect_kernels<D>();
#endif
    default: return baseline::deflect_kernels<D>();
  }
}
template DeflectKernels<float> deflect_kernels<float>();
template DeflectKernels<double> deflect_kernels<double>();

}  // namespace lenskern
