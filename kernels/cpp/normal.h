// Normal matrices of weighted least squares, as the handler passes them to an instruction set.
#pragma once

#include <cstdint>

#include "by_isa.h"
#include "crew.h"

namespace lenskern {

template <class D>
struct NormalKernels {
  // out (columns, columns) = sum over the rows r of matrix (rows, columns) of scale[r]^2 m[r]' m[r]. The rows are taken
  // in the order `order`, of which neighbours should have their zeros in the same columns. False where memory ran out.
  bool (*matrix)(int64_t rows, int64_t columns, const D* matrix, const D* scale, const int32_t* order, D* out,
                 Crew::Worker&);
};

LENSKERN_DECLARE_BY_ISA(NormalKernels, normal_kernels)

}  // namespace lenskern
