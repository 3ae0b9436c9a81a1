#include "isa.h"
#include "poisson.h"

namespace lenskern {

template <class D>
PoissonKernel<D> poisson_kernel() {
  switch (ActiveIsa()) {
#ifdef LENSKERN_HAS_AVX512
    case Isa::avx512:
      return avx512::poisson_kernel<D>();
#endif
#ifdef LENSKERN_HAS_AVX2
    case Isa::avx2:
      return avx2::poisson_kernel<D>();
#endif
    default:
      return baseline::poisson_kernel<D>();
  }
}
template PoissonKernel<float> poisson_kernel<float>();
template PoissonKernel<double> poisson_kernel<double>();

}  // namespace lenskern
