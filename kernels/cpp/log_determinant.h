// ln det of positive definite matrices, as the handler passes them to the kernel of an instruction set.
#pragma once

#include <cstdint>

#include "by_isa.h"
#include "crew.h"

namespace lenskern {

// out = ln det of matrix (n, n), of which the lower triangle is read; NaN where that is not positive definite or not
// finite. False where memory ran out.
template <class D>
using LogDeterminantKernel = bool (*)(int n, const D* matrix, D* out, Crew::Worker&);

LENSKERN_DECLARE_BY_ISA(LogDeterminantKernel, log_determinant_kernel)

}  // namespace lenskern
