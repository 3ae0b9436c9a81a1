// The tangent of the deflection, with the notation and the fields of kernels/cpp/deflect_tangent.h.
#pragma once

#include "deflect_lane.cuh"

namespace lenskern::cuda {

// A halo and its tangents: of the centre, the amplitude, ds/s, and of the shape.
template <class T>
struct MovingSource : Source<T> {
  T dy, dx, damplitude, dscale, dp, dq;
};

// Fields: J (yy, yx, xx), and the part of the tangent that does not depend on that of the rays (y, x).
template <class D>
struct TangentOp {
  using T = D;
  using Halo = MovingSource<T>;
  static constexpr int kFields = 5, kTileRays = 512;

  __device__ static void add(const Halo& h, const Tables<T>& tables, T dy, T dx, Total<T> (&sums)[kFields]) {
    const T u = u_of(h, dy * dy + dx * dx), local = local_of(h, tables, u);
    const bool shaped = deflect::shape_parameters(h.profile) > 0;
    const Dual<T> g = shaped ? mean_along(h, u, h.dp, h.dq) : Dual<T>(mean_of(h, tables, u));
    const T value = h.amplitude * g.v, change = h.damplitude * g.v + h.amplitude * g.d;
    const T rise = 2 * h.amplitude * rise_of(g.v, local, u), twice = rise / u * h.inverse;
    const T ty = twice * dy, tx = twice * dx, along = change - rise * h.dscale - ty * h.dy - tx * h.dx;
    sums[0].add(value + ty * dy), sums[1].add(ty * dx), sums[2].add(value + tx * dx);
    sums[3].add(along * dy - value * h.dy), sums[4].add(along * dx - value * h.dx);
  }

  __device__ static void complete(const Lane<T>& lane, int i, Halo* halo) {
    halo->dy = lane.dcentre[2 * i], halo->dx = lane.dcentre[2 * i + 1];
    halo->damplitude = lane.damplitude[i], halo->dscale = lane.dscale[i] / lane.scale[i];
    halo->dp = lane.dshape[2 * i], halo->dq = lane.dshape[2 * i + 1];
  }

  __device__ static void finish(const Lane<T>& lane, int64_t ray, const T (&fields)[kFields], T* out, int64_t at) {
    const T dy = lane.dgrid[2 * ray], dx = lane.dgrid[2 * ray + 1];
    out[2 * at] = fields[3] + fields[0] * dy + fields[1] * dx;
    out[2 * at + 1] = fields[4] + fields[1] * dy + fields[2] * dx;
  }
};

}  // namespace lenskern::cuda
