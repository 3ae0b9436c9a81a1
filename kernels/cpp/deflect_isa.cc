#include "deflect_isa.h"

#include <new>

#include "deflect_fields.h"
#include "deflect_linear.h"

namespace lenskern::LENSKERN_ISA {
namespace {

template <class D>
bool fields(const lenskern::deflect::Scene<D>& scene, const lenskern::deflect::Options& options, D* out, void* memory, Crew::Worker& worker) {
  deflect::Scratch& scratch = *static_cast<deflect::Scratch*>(memory);
  switch (options.kind) {
    case lenskern::deflect::kDeflection: return deflect::sum_fields_of_lane<lenskern::deflect::kDeflection>(scene, options, out, scratch, worker);
    case lenskern::deflect::kConvergence: return deflect::sum_fields_of_lane<lenskern::deflect::kConvergence>(scene, options, out, scratch, worker);
    case lenskern::deflect::kPotential: return deflect::sum_fields_of_lane<lenskern::deflect::kPotential>(scene, options, out, scratch, worker);
    default: return deflect::sum_fields_of_lane<lenskern::deflect::kJacobian>(scene, options, out, scratch, worker);
  }
}

template <class D>
bool adjoint(const lenskern::deflect::Scene<D>& scene, const lenskern::deflect::Options& options, const D* cotangent,
             const lenskern::deflect::Linear<D, D*>& out, void* memory, Crew::Worker& worker) {
  return deflect::adjoint_of_lane(scene, options, cotangent, out, *static_cast<deflect::Scratch*>(memory), worker);
}

}  // namespace

template <class D>
DeflectKernels<D> deflect_kernels() {
  return {fields<D>, nullptr, adjoint<D>, [] { return static_cast<void*>(new (std::nothrow) deflect::Scratch); },
          [](void* scratch) { delete static_cast<deflect::Scratch*>(scratch); }};
}
template DeflectKernels<float> deflect_kernels<float>();
template DeflectKernels<double> deflect_kernels<double>();

}  // namespace lenskern::LENSKERN_ISA
