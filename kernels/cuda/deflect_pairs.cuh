// What one halo does at one point: its radial functions, and what they add to a field.
#pragma once

#include "block.cuh"
#include "deflect.h"

namespace lenskern::cuda {

using deflect::kTable;

// A halo as the pairs need it; the amplitude of a potential is times scale^2.
template <class T>
struct Source {
  T y, x, amplitude, inverse;  // the last is 1 / scale^2
  T p, q;
  int32_t profile;
};

// One that makes every sum NaN and reads nothing.
template <class T>
__device__ inline Source<T> bad_source() {
  return {0, 0, static_cast<T>(__builtin_nan("")), 1, 1, 1, deflect::kProfileSheet};
}

// The radial tables of a lane.
template <class T>
struct Tables {
  const T* coefficients;
  int segments, terms;
  T low, high, per_segment;  // of ln u; the last is segments per unit of ln u

  __device__ void locate(const TableSize& size, const T* data) {
    coefficients = data, segments = size.segments, terms = size.terms;
    low = static_cast<T>(size.ln_u_min), high = static_cast<T>(size.ln_u_max);
    per_segment = static_cast<T>(size.segments / (size.ln_u_max - size.ln_u_min));
  }

  // Mean convergence, and its derivative with respect to ln u.
  LENSKERN_NOINLINE __device__ T value(int table, T u, T* slope) const {
    const T ln_u = math::log(u), inside = math::least(math::most(ln_u, low), high), at = (inside - low) * per_segment;
    int segment = static_cast<int>(at);
    segment = segment < segments ? segment : segments - 1;
    const T t = 2 * (at - segment) - 1;
    const T* a = coefficients + (int64_t{table} * segments + segment) * terms;
    T b1 = 0, b2 = 0, d1 = 0, d2 = 0;  // Clenshaw's recurrence and its derivative
    for (int k = terms - 1; k >= 1; --k) {
      const T b = a[k] + 2 * t * b1 - b2, d = 2 * b1 + 2 * t * d1 - d2;
      b2 = b1, b1 = b, d2 = d1, d1 = d;
    }
    T g = a[0] + t * b1 - b2;
    *slope = 2 * per_segment * (b1 + t * d1 - d2);
    if (ln_u < low) {  // a power law
      const T power = *slope / g;
      g *= math::exp(power * (ln_u - low));
      *slope = power * g;
    } else if (ln_u > high) {  // no mass
      g *= math::exp(high - ln_u);
      *slope = -g;
    }
    return g;
  }
};

// Mean convergence, without the amplitude.
template <class T>
LENSKERN_NOINLINE __device__ T mean_of(const Source<T>& h, const Tables<T>& tables, T u) {
  T slope;
  if (h.profile >= kTable) return tables.value(h.profile - kTable, u, &slope);
  return deflect::mean_convergence<T>(h.profile, u, h.p, h.q);
}

// Convergence, without the amplitude.
template <class T>
LENSKERN_NOINLINE __device__ T local_of(const Source<T>& h, const Tables<T>& tables, T u) {
  if (h.profile >= kTable) {
    T slope;
    const T g = tables.value(h.profile - kTable, u, &slope);
    return g + slope;
  }
  return deflect::convergence<T>(h.profile, u, h.p, h.q);
}

template <class T>
__device__ inline T u_of(const Source<T>& h, T v) {
  return math::most(v * h.inverse, deflect::least_u<T>());
}

// k - g = v dg/dv; 0 where u is held.
template <class T>
__device__ inline T rise_of(T mean, T local, T u) {
  return u > deflect::least_u<T>() ? local - mean : T(0);
}

// The mean convergence and its derivative along (dp, dq).
template <class T>
LENSKERN_NOINLINE __device__ Dual<T> mean_along(const Source<T>& h, T u, T dp, T dq) {
  return deflect::mean_convergence<Dual<T>>(h.profile, u, Dual<T>(h.p, dp), Dual<T>(h.q, dq));
}

// A field. add(halo, tables, dy, dx, sums) adds what a halo does at the distance (dy, dx); complete(...) adds to a halo
// what the operation needs besides; finish(...) writes the sums of a ray.
template <class D, int kKind>
struct FieldOp {
  using T = D;
  using Halo = Source<T>;
  static constexpr int kFields = deflect::components(kKind), kTileRays = 1024;

  __device__ static void add(const Halo& h, const Tables<T>& tables, T dy, T dx, Total<T> (&sums)[kFields]) {
    const T u = u_of(h, dy * dy + dx * dx);
    if constexpr (kKind == deflect::kDeflection) {
      const T f = h.amplitude * mean_of(h, tables, u);
      sums[0].add(f * dy), sums[1].add(f * dx);
    } else if constexpr (kKind == deflect::kConvergence) {
      sums[0].add(h.amplitude * local_of(h, tables, u));
    } else if constexpr (kKind == deflect::kPotential) {
      sums[0].add(h.amplitude * deflect::potential<T>(h.profile, u, h.p, h.q));
    } else {
      // J = A [g 1 + 2 (k - g) d d^T / v]
      const T g = mean_of(h, tables, u), rise = rise_of(g, local_of(h, tables, u), u);
      const T f = h.amplitude * g, twice = 2 * h.amplitude * rise / u * h.inverse, hy = twice * dy, hx = twice * dx;
      sums[0].add(f + hy * dy), sums[1].add(hy * dx), sums[2].add(f + hx * dx);
    }
  }

  template <class Lane>
  __device__ static void complete(const Lane& lane, int i, Halo* halo) {
    if constexpr (kKind == deflect::kPotential) halo->amplitude *= lane.scale[i] * lane.scale[i];
  }

  template <class Lane>
  __device__ static void finish(const Lane& lane, int64_t ray, const T (&fields)[kFields], T* out, int64_t at) {
    if constexpr (kKind == deflect::kJacobian) {
      if (lane.weights != nullptr) {
        const T wy = lane.weights[2 * ray], wx = lane.weights[2 * ray + 1];
        out[2 * at] = fields[0] * wy + fields[1] * wx;
        out[2 * at + 1] = fields[1] * wy + fields[2] * wx;
        return;
      }
    }
    for (int f = 0; f < kFields; ++f) out[at * kFields + f] = fields[f];
  }
};

}  // namespace lenskern::cuda
