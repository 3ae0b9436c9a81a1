// Kernels that are compiled once per instruction set, each time in the namespace of its name.
#pragma once

// Declares `Kernels<D> make<D>()`: those of each instruction set, and, outside of their namespaces, those of the
// processor that this runs on, which dispatch.cc defines.
#define LENSKERN_DECLARE_BY_ISA(Kernels, make) \
  template <class D>                           \
  Kernels<D> make();                           \
  namespace baseline {                         \
  template <class D>                           \
  Kernels<D> make();                           \
  }                                            \
  namespace avx2 {                             \
  template <class D>                           \
  Kernels<D> make();                           \
  }                                            \
  namespace avx512 {                           \
  template <class D>                           \
  Kernels<D> make();                           \
  }
