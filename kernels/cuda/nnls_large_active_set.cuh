// The exact end of a solve, as kernels/cpp/nnls_active_set.h, by a group of blocks.
#pragma once

#include "nnls_large_factors.cuh"

namespace lenskern::cuda::large {

// Every block has the same scalars, and of the vectors its own entries.
template <class D>
class ActiveSet {
 public:
  static constexpr int kVectors = 6;

  __device__ ActiveSet(Problem<D>& S, Factors<D>& factors, double tol, Vectors& vectors)
      : S_(S), group_(S.group), factors_(factors), tol_(tol) {
    for (double** v : {&y, &w, &p_, &Sp_, &v_}) *v = vectors.take();
    free = reinterpret_cast<bool*>(vectors.take());
    wrong_ = free + group_.n;
    before = wrong_ + group_.n;
    tried = before + group_.n;
    group_.each([&](int i) { y[i] = w[i] = 0; });
  }

  bool *free, *before, *tried;  // the set F of entries that may be positive; and two earlier ones
  double *y, *w;                // the answer on F, zero outside; the gradient S y - h
  int passes = 0;               // solves so far
  double residual = 0;          // of the last certificate
  bool settled = false;

  // From the set in `free`: solve, exchange the violators, again, as long as they are few (at most `patience` in the
  // first pass) and become fewer quickly. True when none is left and the KKT conditions hold to the tolerance;
  // `settled` when none is left, and it is rounding that stands in the way. `mu` is the complementarity that the set is
  // from.
  __device__ LENSKERN_NOINLINE bool finish(double patience, double mu = HUGE_VAL) {
    settled = false;
    for (int pass = 0; pass < nnls::kPasses; ++pass) {
      ++passes;
      if (!begin(0, false) && !begin_exact(mu)) return false;
      int wrong = violators(nnls::kCoarse, nnls::kCoarse);
      if (wrong <= nnls::kDoubtful) {
        const bool best = !factors_.single || exact_;
        if (!polish(nnls::kRounding) && (best || !begin_exact(mu) || !polish(nnls::kRounding))) return false;
        wrong = violators(nnls::kNegative, tol_);
        settled = wrong == 0;
        if (settled) return certify();
      }
      if (wrong > patience) return false;
      patience = nnls::patience_after(group_.n, wrong);
      group_.each([&](int i) { free[i] ^= wrong_[i]; });
    }
    return false;
  }

  // Whether y = 0 is certified; becomes the answer either way.
  __device__ bool accept_zero() {
    group_.each([&](int i) { y[i] = 0, w[i] = -S_.h[i]; });
    return judge();
  }
  // Whether a y >= 0 from elsewhere, zero but where it is free, is certified; becomes the answer either way.
  __device__ bool accept(const double* from, const bool* is_free) {
    group_.each([&](int i) { y[i] = is_free[i] ? from[i] : 0; });
    return certify();
  }

 private:
  template <class Combine, class Value>
  __device__ double over_all(Combine combine, Value value) {
    double total[1];
    group_.reduce(total, combine, [&](int i, double(&parts)[1]) { parts[0] = value(i); });
    return total[0];
  }
  __device__ double largest_on_free(const double* v) {
    return over_all(Largest(), [&](int i) { return free[i] ? fabs(v[i]) : 0; });
  }
  __device__ double dot_on_free(const double* u, const double* v) {
    return over_all(Plus<double>(), [&](int i) { return free[i] ? u[i] * v[i] : 0; });
  }

  // A set is wrong more often than its factor is bad: a better one where sets are decided, or for the second failure of
  // a float64 one.
  __device__ bool begin_exact(double mu) {
    return (factors_.single ? mu < nnls::kDecided : ++failures_ > 1) && begin(nnls::kExactShift, true);
  }
  // Preconditioned conjugate gradients in float64, begun coarsely here and continued by polish(). Their residual is
  // kept on all entries: it is the gradient too.
  __device__ bool begin(double shift, bool exact) {
    exact_ = exact;
    if (!factors_.set(free, shift, exact)) return false;
    group_.each([&](int i) { y[i] = p_[i] = v_[i] = 0, w[i] = -S_.h[i]; });
    h_max_ = largest_on_free(S_.h), wv_ = 1, steps_ = 0;
    return polish(nnls::kCoarse, nnls::kCoarseSteps);
  }
  __device__ LENSKERN_NOINLINE bool polish(double relative, int most = nnls::kPolishSteps) {
    while (largest_on_free(w) > relative * h_max_) {
      if (steps_ == most) return false;
      group_.each([&](int i) { Sp_[i] = free[i] ? w[i] : 0; });
      factors_.solve(Sp_, v_);
      const double next = dot_on_free(w, v_), beta = steps_ == 0 ? 0 : next / wv_;
      group_.each([&](int i) { p_[i] = free[i] ? beta * p_[i] - v_[i] : 0; });
      S_.multiply(p_, Sp_);
      const double pSp = dot_on_free(p_, Sp_);
      if (!(pSp > 0) || !(next > 0)) return false;
      const double a = next / pSp;
      group_.each([&](int i) { y[i] += a * p_[i], w[i] += a * Sp_[i]; });
      wv_ = next, ++steps_;
    }
    return true;
  }

  // Counts and marks the answers below -y_slack of the largest and the gradients below -w_slack.
  __device__ int violators(double y_slack, double w_slack) {
    const double top = largest_on_free(y);
    return static_cast<int>(over_all(Plus<double>(), [&](int i) {
      wrong_[i] = nnls::violates(free[i], y[i], w[i], y_slack * top, w_slack);
      return wrong_[i];
    }));
  }

  // Takes nothing from the recurrences: y is clipped and its gradient computed anew.
  __device__ LENSKERN_NOINLINE bool certify() {
    group_.each([&](int i) { y[i] = y[i] > 0 ? y[i] : 0; });
    S_.multiply(y, w);
    group_.each([&](int i) { w[i] -= S_.h[i]; });
    return judge();
  }
  // Whether y with its gradient w meets the KKT conditions.
  __device__ bool judge() {
    residual = over_all(Largest(), [&](int i) { return nnls::kkt_violation(y[i], w[i]); });
    return residual <= tol_;
  }

  Problem<D>& S_;
  Group& group_;
  Factors<D>& factors_;
  const double tol_;
  bool* wrong_;
  double *p_, *Sp_, *v_;
  double h_max_ = 0, wv_ = 1;  // of the conjugate gradients under way
  int steps_ = 0;
  int failures_ = 0;  // of float64 factors
  bool exact_ = false;
};

}  // namespace lenskern::cuda::large
