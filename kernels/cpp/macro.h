// The elliptical power law as the handlers pass it to the kernel of an instruction set.
#pragma once

#include <cstdint>

#include "by_isa.h"
#include "crew.h"
#include "lenskern/power_law.h"

namespace lenskern {

// Of n rays (y, x); D is the type of the arrays, the arithmetic is in double precision.
template <class D>
struct MacroKernels {
  // Deflection (n, 2).
  void (*deflection)(const macro::PowerLaw&, int64_t n, const D* grid, D* out, Crew::Worker&);
  // Its tangent (n, 2) for a direction of rays and parameters.
  void (*tangent)(const macro::PowerLaw&, int64_t n, const D* grid, const D* dgrid, const macro::PowerLaw& direction,
                  D* out, Crew::Worker&);
  // The transpose: from the cotangent (n, 2) of the deflection to dgrid (n, 2), and what is returned.
  macro::PowerLaw (*adjoint)(const macro::PowerLaw&, int64_t n, const D* grid, const D* cotangent, D* dgrid,
                             Crew::Worker&);
};

LENSKERN_DECLARE_BY_ISA(MacroKernels, macro_kernels)

}  // namespace lenskern
