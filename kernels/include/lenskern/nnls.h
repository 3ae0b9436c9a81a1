// Positive-only inversion: minimise 1/2 x'Qx - q'x over x >= 0. What every kernel shares: options, statuses and the
// element-wise mathematics of the interior point.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LENSKERN_INLINE static inline __host__ __device__
#else
#define LENSKERN_INLINE static inline  // internal linkage: this header is compiled for several instruction sets
#endif

namespace lenskern::nnls {

// As lenskern.nnls.Status in Python.
enum Status : int32_t {
  kCertified = 0,
  kConverged = 1,
  kMaxIter = 2,
  kNotPositiveDefinite = 3,
  kNotSymmetric = 4,
  kNotFinite = 5,
  kStalled = 6,
  kOutOfMemory = -1,  // the call fails as a whole
};

struct Options {
  double tol;    // largest KKT residual, in the scaled problem, that is certified
  int max_iter;  // interior-point iterations
};

struct Outcome {
  int32_t status = kStalled;
  int32_t iterations = 0;  // interior-point iterations, one full-size factorisation each
  int32_t passes = 0;      // solves on an active set, one reduced factorisation each
  double residual = 0;     // KKT residual of the answer in the scaled problem
  double single_flops = 0, double_flops = 0;
};

// One problem: Q (n, n) and q (n) in, x and z (n) out. x0 (n) may be null, and so may `factor`, kept_words(n) in size,
// which keeps the last factor of the active set for derivatives.
template <class D>
struct Lane {
  int n;
  const D *Q, *q, *x0;
  D *x, *z;
  float* factor;
};

// Room for a kept factor, for any instruction set's layout: a head, four vectors and the panels of the triangle.
LENSKERN_INLINE int64_t kept_words(int64_t n) {
  const int64_t padded = (n + 31) / 32 * 32;
  return 16 + 4 * padded + padded * (padded + 32) / 2;
}

// y = Q[F,F]^-1 b on F = free, zero elsewhere.
template <class D>
struct FreeLane {
  int n;
  const D* Q;
  const bool* free;
  const D* b;
  const float* factor;  // kept by the solve, or null
  D* y;
};

// Newton's equations of the interior point, with D = diag(z / x) and complementarity target c:
//   (S + D) dx = -(S x - h - z) + c / x,    dz = (c - z dx) / x.
LENSKERN_INLINE double newton_right_side(double residual, double c, double x) { return c / x - residual; }
LENSKERN_INLINE double newton_dual(double c, double x, double z, double dx) { return (c - z * dx) / x; }

// Mehrotra's corrector: the target mu less the second-order term of the predictor.
LENSKERN_INLINE double mehrotra_target(double x, double z, double dx, double dz, double mu) {
  return mu - x * z - dx * dz;
}

// Gondzio's corrector (1996): bring a product that left [mu / 10, 10 mu] at the trial point back to its border.
LENSKERN_INLINE double gondzio_correction(double product, double mu) {
  if (product < 0.1 * mu) return 0.1 * mu - product;
  if (product > 10 * mu) {
    const double excess = 10 * mu - product;
    return excess < -10 * mu ? -10 * mu : excess;
  }
  return 0;
}

// A step along dv keeps v > 0 non-negative up to a length of 1 / blocking(v, dv), where that is positive.
template <class V>
LENSKERN_INLINE V blocking(V v, V dv) {
  return -dv / v;
}

}  // namespace lenskern::nnls
