// XLA FFI handlers of the sums over haloes on the CPU: lanes of a batch over the thread pool, one call each.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "deflect_isa.h"
#include "handlers.h"
#include "lane_calls.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lenskern {
namespace {

using Result = ffi::Result<ffi::AnyBuffer>;

// Work in a call, in pairs of a halo and a ray, below which another thread would cost more than it brings.
constexpr double kPairsWorthAThread = 2e5;

// The operands that all handlers have, in the order of Operands in python/lenskern/deflect/primitive.py.
struct Arguments {
  ffi::AnyBuffer profile, centre, amplitude, scale, shape, mask, tables, grid;
  double ln_u_min, ln_u_max, tol;
};

template <class D>
class Scenes {
 public:
  Scenes(const Arguments& a, Dimensions batch)
      : a_(a),
        profile_(a.profile, batch, 1),
        centre_(a.centre, batch, 2),
        amplitude_(a.amplitude, batch, 1),
        scale_(a.scale, batch, 1),
        shape_(a.shape, batch, 2),
        mask_(a.mask, batch, 1),
        tables_(a.tables, batch, 3),
        grid_(a.grid, batch, 2) {}

  int64_t rays() const { return grid_.size(0); }
  int64_t halos() const { return profile_.size(0); }
  // A single point stands for none, as tables are interpolated.
  bool has_tables() const { return tables_.size(2) > 1; }
  deflect::Scene<D> operator[](int64_t i) const {
    return {rays(),
            static_cast<int>(halos()),
            profile_[i],
            centre_[i],
            amplitude_[i],
            scale_[i],
            shape_[i],
            mask_[i],
            {tables_[i], has_tables() ? static_cast<int>(tables_.size(0)) : 0, static_cast<int>(tables_.size(1)),
             static_cast<int>(tables_.size(2)), a_.ln_u_min, a_.ln_u_max},
            grid_[i]};
  }

 private:
  const Arguments& a_;
  Operand<int32_t> profile_;
  Operand<D> centre_, amplitude_, scale_, shape_;
  Operand<bool> mask_;
  Operand<D> tables_, grid_;
};

template <class D, class Lane>
ffi::Error over_lanes(ffi::ThreadPool& pool, const Scenes<D>& scenes, int64_t lanes, const Lane& lane) {
  const DeflectKernels<D> kernels = deflect_kernels<D>();
  const double pairs = static_cast<double>(lanes) * (scenes.halos() + 1) * (scenes.rays() + 1);
  const auto run = [&](int64_t i, void* scratch, Crew::Worker& worker) { return lane(kernels, i, scratch, worker); };
  return result_of(run_lanes(pool, lanes, pairs / kPairsWorthAThread, kernels, run), "lenskern.deflect");
}

// Calls run(D{}) with the type of the grid.
template <class Run>
ffi::Error with_dtype(const Arguments& a, const Run& run) {
  switch (a.grid.element_type()) {
    case ffi::F64:
      return run(double{});
    case ffi::F32:
      return run(float{});
    default:
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "lenskern.deflect: the grid must be float32 or float64");
  }
}

ffi::Error fields(ffi::ThreadPool pool, ffi::AnyBuffer profile, ffi::AnyBuffer centre, ffi::AnyBuffer amplitude,
                  ffi::AnyBuffer scale, ffi::AnyBuffer shape, ffi::AnyBuffer mask, ffi::AnyBuffer tables,
                  ffi::AnyBuffer grid, Result out, double ln_u_min, double ln_u_max, double tol, int32_t kind) {
  const Arguments a{profile, centre, amplitude, scale, shape, mask, tables, grid, ln_u_min, ln_u_max, tol};
  return with_dtype(a, [&](auto zero) {
    using D = decltype(zero);
    const Dimensions batch = batch_of(out->dimensions(), 2);
    const Scenes<D> scenes(a, batch);
    D* to = out->typed_data<D>();
    const int64_t size = product(lane_of(out->dimensions(), 2));
    return over_lanes(pool, scenes, product(batch),
                      [&](const auto& kernels, int64_t i, void* scratch, Crew::Worker& worker) {
                        return kernels.fields(scenes[i], {kind, tol}, to + i * size, scratch, worker);
                      });
  });
}

ffi::Error tangent(ffi::ThreadPool pool, ffi::AnyBuffer profile, ffi::AnyBuffer centre, ffi::AnyBuffer amplitude,
                   ffi::AnyBuffer scale, ffi::AnyBuffer shape, ffi::AnyBuffer mask, ffi::AnyBuffer tables,
                   ffi::AnyBuffer grid, ffi::AnyBuffer dcentre, ffi::AnyBuffer damplitude, ffi::AnyBuffer dscale,
                   ffi::AnyBuffer dshape, ffi::AnyBuffer dtables, ffi::AnyBuffer dgrid, Result out, double ln_u_min,
                   double ln_u_max, double tol) {
  const Arguments a{profile, centre, amplitude, scale, shape, mask, tables, grid, ln_u_min, ln_u_max, tol};
  return with_dtype(a, [&](auto zero) {
    using D = decltype(zero);
    const Dimensions batch = batch_of(out->dimensions(), 2);
    const Scenes<D> scenes(a, batch);
    const Operand<D> centres(dcentre, batch, 2), amplitudes(damplitude, batch, 1), scales(dscale, batch, 1),
        shapes(dshape, batch, 2), rows(dtables, batch, 3), rays(dgrid, batch, 2);
    D* to = out->typed_data<D>();
    const int64_t size = product(lane_of(out->dimensions(), 2));
    return over_lanes(pool, scenes, product(batch),
                      [&](const auto& kernels, int64_t i, void* scratch, Crew::Worker& worker) {
                        const deflect::Linear<D, const D*> direction{centres[i], amplitudes[i], scales[i],
                                                                     shapes[i],  rows[i],       rays[i]};
                        return kernels.tangent(scenes[i], {0, tol}, direction, to + i * size, scratch, worker);
                      });
  });
}

ffi::Error adjoint(ffi::ThreadPool pool, ffi::AnyBuffer profile, ffi::AnyBuffer centre, ffi::AnyBuffer amplitude,
                   ffi::AnyBuffer scale, ffi::AnyBuffer shape, ffi::AnyBuffer mask, ffi::AnyBuffer tables,
                   ffi::AnyBuffer grid, ffi::AnyBuffer cotangent, Result dcentre, Result damplitude, Result dscale,
                   Result dshape, Result dtables, Result dgrid, double ln_u_min, double ln_u_max, double tol) {
  const Arguments a{profile, centre, amplitude, scale, shape, mask, tables, grid, ln_u_min, ln_u_max, tol};
  return with_dtype(a, [&](auto zero) {
    using D = decltype(zero);
    const Dimensions batch = batch_of(dgrid->dimensions(), 2);
    const Scenes<D> scenes(a, batch);
    const Operand<D> cotangents(cotangent, batch, 2);
    const auto part = [](Result& result, size_t core, int64_t i) {
      return result->typed_data<D>() + i * product(lane_of(result->dimensions(), core));
    };
    // Tables have no derivatives here.
    std::fill_n(dtables->typed_data<D>(), dtables->element_count(), D(0));
    return over_lanes(pool, scenes, product(batch),
                      [&](const auto& kernels, int64_t i, void* scratch, Crew::Worker& worker) {
                        const deflect::Linear<D, D*> to{part(dcentre, 2, i), part(damplitude, 1, i), part(dscale, 1, i),
                                                        part(dshape, 2, i),  part(dtables, 3, i),    part(dgrid, 2, i)};
                        return kernels.adjoint(scenes[i], {0, tol}, cotangents[i], to, scratch, worker);
                      });
  });
}

// The bindings of the common operands and attributes.
template <class Binding>
auto operands(Binding binding) {
  return std::move(binding)
      .template Arg<ffi::AnyBuffer>()   // profile (..., N)
      .template Arg<ffi::AnyBuffer>()   // centre (..., N, 2)
      .template Arg<ffi::AnyBuffer>()   // amplitude (..., N)
      .template Arg<ffi::AnyBuffer>()   // scale (..., N)
      .template Arg<ffi::AnyBuffer>()   // shape (..., N, 2)
      .template Arg<ffi::AnyBuffer>()   // mask (..., N)
      .template Arg<ffi::AnyBuffer>()   // tables (..., T, S, points)
      .template Arg<ffi::AnyBuffer>();  // grid (..., n, 2)
}
template <class Binding>
auto attributes(Binding binding) {
  return std::move(binding)
      .template Attr<double>("ln_u_min")
      .template Attr<double>("ln_u_max")
      .template Attr<double>("tol");
}

}  // namespace
}  // namespace lenskern

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernDeflectFields, lenskern::fields,
                              lenskern::attributes(lenskern::operands(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                                                       .Ret<ffi::AnyBuffer>())  // field (..., n, components)
                                  .Attr<int32_t>("kind"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernDeflectTangent, lenskern::tangent,
                              lenskern::attributes(lenskern::operands(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                                                       .Arg<ffi::AnyBuffer>()     // dcentre, and so on, as the operands
                                                       .Arg<ffi::AnyBuffer>()     // damplitude
                                                       .Arg<ffi::AnyBuffer>()     // dscale
                                                       .Arg<ffi::AnyBuffer>()     // dshape
                                                       .Arg<ffi::AnyBuffer>()     // dtables
                                                       .Arg<ffi::AnyBuffer>()     // dgrid
                                                       .Ret<ffi::AnyBuffer>()));  // (..., n, 2)

XLA_FFI_DEFINE_HANDLER_SYMBOL(LenskernDeflectAdjoint, lenskern::adjoint,
                              lenskern::attributes(lenskern::operands(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                                                       .Arg<ffi::AnyBuffer>()     // cotangent (..., n, 2)
                                                       .Ret<ffi::AnyBuffer>()     // centre (..., N, 2), and so on
                                                       .Ret<ffi::AnyBuffer>()     // amplitude
                                                       .Ret<ffi::AnyBuffer>()     // scale
                                                       .Ret<ffi::AnyBuffer>()     // shape
                                                       .Ret<ffi::AnyBuffer>()     // tables
                                                       .Ret<ffi::AnyBuffer>()));  // grid
