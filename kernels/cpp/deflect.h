// Sums over haloes: what a lane of a call is, for all instruction sets.
#pragma once

#include <cstdint>

namespace lenskern::deflect {

// Mean convergence as a function of ln u at the Chebyshev points of equal segments: values (tables, segments, degree).
template <class D>
struct RadialTables {
  const D* values;
  int count, segments, points;
  double ln_u_min, ln_u_max;
};

// Haloes (count) and rays (n), positions as (y, x).
template <class D>
struct Scene {
  int64_t n;
  int count;
  const int32_t* profile;
  const D *centre, *amplitude, *scale, *shape;
  const bool* mask;
  RadialTables<D> tables;
  const D* grid;
};

// Tangents or cotangents of the real parts of a scene.
template <class D, class Pointer>
struct Linear {
  Pointer centre, amplitude, scale, shape, tables, grid;
};

struct Options {
  int kind;
  double tol;  // arcsec; below 0: the rounding level of the sum
};

}  // namespace lenskern::deflect
