// Which instruction set's kernels run here, for every family of kernels.
#include "convolve.h"
#include "deflect_isa.h"
#include "isa.h"
#include "log_determinant.h"
#include "macro.h"
#include "nnls_isa.h"
#include "normal.h"
#include "poisson.h"

#ifdef LENSKERN_HAS_AVX512
#define LENSKERN_IF_AVX512(make) \
  case Isa::avx512: return avx512::make<D>();
#else
#define LENSKERN_IF_AVX512(make)
#endif
#ifdef LENSKERN_HAS_AVX2
#define LENSKERN_IF_AVX2(make) \
  case Isa::avx2: return avx2::make<D>();
#else
#define LENSKERN_IF_AVX2(make)
#endif

#define LENSKERN_CHOOSE(Kernels, make)     \
  template <class D>                       \
  Kernels<D> make() {                      \
    switch (ActiveIsa()) {                 \
      LENSKERN_IF_AVX512(make)             \
      LENSKERN_IF_AVX2(make)               \
      default: return baseline::make<D>(); \
    }                                      \
  }                                        \
  template Kernels<float> make<float>();   \
  template Kernels<double> make<double>();

namespace lenskern {

LENSKERN_CHOOSE(NnlsKernels, nnls_kernels)
LENSKERN_CHOOSE(NormalKernels, normal_kernels)
LENSKERN_CHOOSE(LogDeterminantKernel, log_determinant_kernel)
LENSKERN_CHOOSE(DeflectKernels, deflect_kernels)
LENSKERN_CHOOSE(MacroKernels, macro_kernels)
LENSKERN_CHOOSE(ConvolveKernels, convolve_kernels)
LENSKERN_CHOOSE(PoissonKernel, poisson_kernel)

}  // namespace lenskern
