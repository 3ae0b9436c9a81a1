// The elliptical power law as the handlers pass it to the kernel of an instruction set.
#pragma once

#include <cstdint>

#include "crew.h"

namespace lenskern {
namespace macro {

// In the notation of python/lenskern/deflect/macro_primitive.py.
struct PowerLaw {
  double centre_y, centre_x;  // arcsec
  double ell_y, ell_x;        // imaginary and real part of epsilon
  double strength;            // B
  double slope;               // t
};

}  // namespace macro

// D is the type of the arrays; the arithmetic is in double precision.
template <class D>
struct MacroKernels {
  // Deflection (y, x) of n rays (y, x).
  void (*deflection)(const macro::PowerLaw&, int64_t n, const D* grid, D* out, Crew::Worker&);
  // S, dS/dw and dS/db at n complex w, for |w| of at most f.
  void (*partials)(double b, double f, int64_t n, const D* w, D* S, D* by_w, D* by_b, Crew::Worker&);
};

// Those of the processor that this runs on.
template <class D>
MacroKernels<D> macro_kernels();

namespace baseline {
template <class D>
MacroKernels<D> macro_kernels();
}
namespace avx2 {
template <class D>
MacroKernels<D> macro_kernels();
}
namespace avx512 {
template <class D>
MacroKernels<D> macro_kernels();
}

}  // namespace lenskern
