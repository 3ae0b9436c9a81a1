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
  int32_t passes = 0;      // solves on an active set, one reduced factorisation each, or two
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

// How a solve proceeds, whatever does the arithmetic.

constexpr int kStartSteps = 3;             // of conjugate gradients, for the first point
constexpr double kShortestStep = 1e-8;     // of the interior point; a shorter one is no progress
constexpr int kPasses = 8;                 // of one try to end exactly
constexpr int kPolishSteps = 16;           // of conjugate gradients on an active set
constexpr int kDoubtful = 3;               // violators; so few may be due to the coarse solve
constexpr int kCoarseSteps = 6;            // of these, for the coarse solve
constexpr double kCoarse = 1e-7, kRounding = 1e-14;  // residuals of solves on an active set, of the largest right side
constexpr double kLargestExtra = 1e30;     // on the diagonal
constexpr double kExactShift = 1e-12;      // makes a good preconditioner of a singular matrix too

// A scaled Q of data D may be asymmetric by so much, and an entry so much larger than the unit diagonal.
template <class D>
LENSKERN_INLINE double asymmetry() {
  return sizeof(D) == 8 ? 1e-8 : 1e-4;
}
// An eigenvalue of -slack is what the rounding of data D explains.
template <class D>
LENSKERN_INLINE double slack(int n) {
  return 4.0 * n * (sizeof(D) == 8 ? 0x1p-52 : 0x1p-23);
}

// Shifts of the diagonal where a factorisation in precision T breaks down: by rounding alone a positive semi-definite
// matrix of unit diagonal does so far before the largest.
template <class T>
LENSKERN_INLINE double first_shift() {
  return sizeof(T) == 4 ? 1e-6 : 1e-14;
}
template <class T>
LENSKERN_INLINE double largest_shift() {
  return sizeof(T) == 4 ? 1e-2 : 1e-10;
}
template <class T>
LENSKERN_INLINE double next_shift(double shift) {
  return shift == 0 ? first_shift<T>() : 4 * shift;
}
// The least eigenvalue that factors of precision T tell from zero.
template <class T>
LENSKERN_INLINE double zero_eigenvalue() {
  return sizeof(T) == 4 ? 1e-4 : 1e-13;
}

LENSKERN_INLINE double few(int n) { return 0.01 * n > 1 ? 0.01 * n : 1; }

// When an exact end is tried: the interior point has all but decided, in that few entries have x and z within a factor
// of ten of each other; or a few more, if they no longer move (entries without data have x and z both about zero to the
// end) or factors are float64, where a try costs less than an iteration; or complementarity mu is down to rounding. With
// float32 factors a try costs as much as an iteration, and mu must have fallen far from `start`: of columns that are
// nearly equal the few that are undecided decide about others.
LENSKERN_INLINE bool undecided(double x, double z) { return x < 10 * z && z < 10 * x; }
template <class T>
LENSKERN_INLINE bool ready(int n, int changed, int undecided, double mu, double start) {
  const bool steady = changed <= few(n) || sizeof(T) == 8, far = mu <= 1e-5 * start || sizeof(T) == 8;
  return (far && (undecided <= 0.025 * n || (steady && undecided <= 0.04 * n + 10))) || mu < 1e-13;
}
// Complementarity at which nothing is left to decide: a float32 factor that fails on an active set is at fault, not the
// set.
constexpr double kDecided = 1e-15;
// Violators that the first pass may exchange, from a starting point and from the interior point; and a later one.
LENSKERN_INLINE double warm_patience(int n) { return 10 * few(n); }
LENSKERN_INLINE double patience(int n) { return 5 * few(n) + 3; }
LENSKERN_INLINE double patience_after(int n, int wrong) { return wrong > few(n) ? 0.5 * wrong : 0.5 * few(n); }

// Whether an entry belongs to the other side of an active set; `y_slack` is absolute.
LENSKERN_INLINE bool violates(bool free, double y, double w, double y_slack, double w_slack) {
  return free ? y < -y_slack : w < -w_slack;
}
constexpr double kNegative = 1e-13;  // of the largest entry: what counts as negative after a solve to rounding

// Violation of the KKT conditions by y >= 0 with the gradient w.
LENSKERN_INLINE double kkt_violation(double y, double w) { return y > 0 ? (w < 0 ? -w : w) : -w; }

// How far the first point is moved into the interior, from the mean size of its entries.
LENSKERN_INLINE double into_interior(double mean) { return 0.5 * (mean > 1e-8 ? mean : 1e-8); }

// Directions of the interior point from float32 factors, refined in float64 by conjugate gradients. What a direction
// misses of its equation, in the mean of x times the error, may be such a share of complementarity mu: of a predictor,
// of the step that is taken, and at most, where float32 factors do not make it. A factor that takes kCoarseFactor steps
// or more is coarse. What is missed may be all in a few entries then, so that a thousandth of that is allowed; the next
// predictor is refined too, for its second-order term, and correctors, which are not, are left out.
constexpr double kPredicted = 0.1, kRefined = 1e-2, kMostMissed = 0.5;
constexpr int kRefineSteps = 12, kCoarseFactor = 2;
LENSKERN_INLINE double refine_goal(double goal, int steps) { return steps < kCoarseFactor ? goal : 1e-3 * goal; }

// By how much a product x z falls short of what a search needs to go on from a point where so much is lost.
LENSKERN_INLINE double shortfall(double x, double z, double lost) { return lost > x * z ? lost / (x * z) : 1; }

// Mehrotra's complementarity after the step, from its ratio to mu after the predictor's.
LENSKERN_INLINE double mehrotra_centre(double ratio, double mu) { return ratio * ratio * ratio * mu; }

// The share of the longest step that is taken.
LENSKERN_INLINE double step_share(double mu) { return 1 - mu > 0.99 ? 1 - mu : 0.99; }

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
