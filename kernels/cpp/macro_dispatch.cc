#include "isa.h"
#include "macro.h"

namespace lenskern {

template <class D>
MacroKernels<D> macro_kernels() {
  switch (ActiveIsa()) {
#ifdef LENSKERN_HAS_AVX512
    case Isa::avx512: return avx512::macro_kernels<D>();
#endif
#ifdef LENSKERN_HAS_AVX2
    case Isa::avx2: return avx2::macro_kernels<D>();
#endif
    default: return baseline::macro_kernels<D>();
  }
}
template MacroKernels<float> macro_kernels<float>();
template MacroKernels<double> macro_kernels<double>();

}  // namespace lenskern
