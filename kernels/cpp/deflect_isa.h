// The sums of one lane as each instruction set's source exports them.
#pragma once

#include "by_isa.h"
#include "crew.h"
#include "deflect.h"

namespace lenskern {

// `scratch` is the worker's own memory, made by make_scratch. False where memory ran out.
template <class D>
struct DeflectKernels {
  // out (n, components of the kind)
  bool (*fields)(const deflect::Scene<D>&, const deflect::Options&, D* out, void* scratch, Crew::Worker&);
  // out (n, 2)
  bool (*tangent)(const deflect::Scene<D>&, const deflect::Options&, const deflect::Linear<D, const D*>&, D* out,
                  void* scratch, Crew::Worker&);
  // cotangent (n, 2)
  bool (*adjoint)(const deflect::Scene<D>&, const deflect::Options&, const D* cotangent,
                  const deflect::Linear<D, D*>& out, void* scratch, Crew::Worker&);
  void* (*make_scratch)();
  void (*free_scratch)(void*);
};

LENSKERN_DECLARE_BY_ISA(DeflectKernels, deflect_kernels)

}  // namespace lenskern
