#include "deflect_isa.h"

#include <new>

#include "deflect_adjoint.h"
#include "deflect_fields.h"
#include "deflect_tangent.h"
#include "scratch_pool.h"

namespace lenskern::LENSKERN_ISA {
namespace {

using lenskern::deflect::Kind;

deflect::Scratch& scratch_of(void* memory) { return *static_cast<deflect::Scratch*>(memory); }

template <class D>
bool fields(const deflect::Scene<D>& scene, const deflect::Options& options, D* out, void* memory,
            Crew::Worker& worker) {
  switch (options.kind) {
    case Kind::kDeflection:
      return deflect::sum_fields_of_lane<Kind::kDeflection>(scene, options, out, scratch_of(memory), worker);
    case Kind::kConvergence:
      return deflect::sum_fields_of_lane<Kind::kConvergence>(scene, options, out, scratch_of(memory), worker);
    case Kind::kPotential:
      return deflect::sum_fields_of_lane<Kind::kPotential>(scene, options, out, scratch_of(memory), worker);
    default:
      return deflect::sum_fields_of_lane<Kind::kJacobian>(scene, options, out, scratch_of(memory), worker);
  }
}

template <class D>
bool tangent(const deflect::Scene<D>& scene, const deflect::Options& options,
             const deflect::Linear<D, const D*>& direction, D* out, void* memory, Crew::Worker& worker) {
  return deflect::tangent_of_lane(scene, options, direction, out, scratch_of(memory), worker);
}

template <class D>
bool adjoint(const deflect::Scene<D>& scene, const deflect::Options& options, const D* cotangent,
             const deflect::Linear<D, D*>& out, void* memory, Crew::Worker& worker) {
  return deflect::adjoint_of_lane(scene, options, cotangent, out, scratch_of(memory), worker);
}

// The same for float and double.
void* make_scratch() {
  void* kept = ScratchPool::take();
  return kept != nullptr ? kept : new (std::nothrow) deflect::Scratch;
}
void free_scratch(void* memory) {
  if (!ScratchPool::keep(memory, scratch_of(memory).bytes())) delete &scratch_of(memory);
}

}  // namespace

template <class D>
DeflectKernels<D> deflect_kernels() {
  return {fields<D>, tangent<D>, adjoint<D>, make_scratch, free_scratch};
}
template DeflectKernels<float> deflect_kernels<float>();
template DeflectKernels<double> deflect_kernels<double>();

}  // namespace lenskern::LENSKERN_ISA
