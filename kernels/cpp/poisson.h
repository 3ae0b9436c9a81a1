// Poisson draws as the handler passes them to the kernel of an instruction set.
#pragma once

#include <cstdint>

#include "by_isa.h"
#include "crew.h"

namespace lenskern {

// Counts (n,) of the rates (n,) for a seed of two words; D is the type of the arrays.
template <class D>
using PoissonKernel = void (*)(const uint32_t* seed, int64_t n, const D* rate, D* counts, Crew::Worker&);

LENSKERN_DECLARE_BY_ISA(PoissonKernel, poisson_kernel)

}  // namespace lenskern
