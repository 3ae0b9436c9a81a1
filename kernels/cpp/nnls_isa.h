// The solver of one lane as each instruction set's source exports it.
#pragma once

#include "by_isa.h"
#include "crew.h"
#include "lenskern/nnls.h"

namespace lenskern {

// `scratch` is the worker's own memory, made by make_scratch.
template <class D>
struct NnlsKernels {
  nnls::Outcome (*solve)(const nnls::Lane<D>&, const nnls::Options&, void* scratch, Crew::Worker&);
  nnls::Status (*free_solve)(const nnls::FreeLane<D>&, void* scratch, Crew::Worker&);
  // L L' = A, both row-major (n, n); of A the upper triangle is read. False where A is not positive definite.
  // `seconds` receives the time of the factorisation alone, without packing and unpacking.
  bool (*cholesky)(int n, const D* A, D* L, double* seconds, Crew::Worker&);
  void* (*make_scratch)();
  void (*free_scratch)(void*);
};

LENSKERN_DECLARE_BY_ISA(NnlsKernels, nnls_kernels)

}  // namespace lenskern
