// The exact end of a solve: the answer on an active set, exchange of what violates the KKT conditions, certificate.
#pragma once

#include <cmath>

#include "nnls_factor.h"

namespace lenskern::LENSKERN_ISA {

template <class D, class T>
class ActiveSet {
 public:
  static constexpr int kVectors = 9;

  // `factors.fast` has S loaded.
  ActiveSet(const Problem<D>& S, Factors<T>& factors, double tol, Workspace& workspace)
      : S_(S), n_(S.size()), factors_(factors), tol_(tol) {
    for (double** v : {&y, &w, &p_, &Sp_, &v_}) *v = workspace.take<double>(n_);
    for (int i = 0; i < n_; ++i) y[i] = w[i] = 0;
    index_ = workspace.take<int>(n_);
    positions_ = workspace.take<int>(n_);
    free = workspace.take<bool>(n_);
    wrong_ = workspace.take<bool>(n_);
  }

  bool* free;           // the set F of entries that may be positive
  double *y, *w;        // the answer on F, zero outside; the gradient S y - h
  int passes = 0;       // solves so far
  double residual = 0;  // of the last certificate
  bool settled = false;

  // From the set in `free`: solve, exchange the violators, again, as long as they are few (at most `patience` in the
  // first pass) and become fewer quickly. True when none is left and the KKT conditions hold to the tolerance;
  // `settled` when none is left, and it is rounding that stands in the way. `mu` is the complementarity that the set is
  // from.
  bool finish(double patience, Crew::Worker& worker, double mu = HUGE_VAL) {
    settled = false;
    // A set is wrong more often than its factor is bad: a better one where sets are decided, or for the second failure
    // of a float64 one.
    const auto exactly = [&] {
      return (sizeof(T) == 4 ? mu < nnls::kDecided : ++failures_ > 1) && begin_exact(S_.h(), worker);
    };
    for (int pass = 0; pass < nnls::kPasses; ++pass) {
      ++passes;
      if (!begin_fast(S_.h(), worker) && !exactly()) return false;
      int wrong = violators(nnls::kCoarse, nnls::kCoarse);
      if (wrong <= nnls::kDoubtful) {
        const bool best = sizeof(T) == 8 || exact_;
        if (!polish(nnls::kRounding) && (best || !exactly() || !polish(nnls::kRounding))) return false;
        wrong = violators(nnls::kNegative, tol_);
        settled = wrong == 0;
        if (settled) return certify();
      }
      if (wrong > patience) return false;
      patience = nnls::patience_after(n_, wrong);
      for (int i = 0; i < n_; ++i) free[i] ^= wrong_[i];
    }
    return false;
  }

  // S[F,F] y = b on F, where alone b is read, to rounding; w = S y - b everywhere.
  bool solve(const double* b, Crew::Worker& worker) {
    return (begin_fast(b, worker) && polish(nnls::kRounding)) || (begin_exact(b, worker) && polish(nnls::kRounding));
  }

  // The same with the factor that a solve kept, of this F or a larger one. False where it does not do.
  bool solve_kept(const double* b, const float* kept) {
    if constexpr (sizeof(T) == sizeof(float)) {
      return factors_.fast.restore(n_, kept) && begin(factors_.fast, b) && polish(nnls::kRounding);
    }
    return false;
  }
  // Keeps the factor of F for that.
  void keep(bool certified, float* kept) const {
    reinterpret_cast<int*>(kept)[0] = 0;  // nothing kept
    if constexpr (sizeof(T) == sizeof(float)) {
      if (certified && !exact_) factors_.fast.save(kept);
    }
  }

  // Whether y = 0 is certified; becomes the answer either way.
  bool accept_zero() {
    for (int i = 0; i < n_; ++i) y[i] = 0, w[i] = -S_.h()[i];
    return judge();
  }
  // Whether a y >= 0 from elsewhere, zero but where it is free, is certified; becomes the answer either way.
  bool accept(const double* from, const bool* is_free) {
    for (int i = 0; i < n_; ++i) y[i] = is_free[i] ? from[i] : 0;
    return certify();
  }

 private:
  double largest_on_free(const double* v) const {
    double top = 0;
    for (int i = 0; i < m_; ++i) top = std::fabs(v[index_[i]]) > top ? std::fabs(v[index_[i]]) : top;
    return top;
  }
  double dot_on_free(const double* u, const double* v) const {
    double s = 0;
    for (int i = 0; i < m_; ++i) s += u[index_[i]] * v[index_[i]];
    return s;
  }

  bool begin_fast(const double* b, Crew::Worker& worker) { return begin(factors_.fast, 0, b, worker); }
  bool begin_exact(const double* b, Crew::Worker& worker) {
    return factors_.exact.load(S_) && begin(factors_.exact, nnls::kExactShift, b, worker);
  }

  template <class P>
  bool begin(Factor<P>& factor, double shift, const double* b, Crew::Worker& worker) {
    int m = 0;
    for (int k = 0; k < n_; ++k) {
      if (free[S_.order()[k]]) positions_[m++] = k;
    }
    return factor.set(positions_, m, shift, worker) && begin(factor, b);
  }
  // Preconditioned conjugate gradients in float64, begun coarsely here and continued by polish(). Their residual is
  // kept on all entries: it is the gradient too.
  template <class P>
  bool begin(const Factor<P>& factor, const double* b) {
    m_ = 0;
    for (int i = 0; i < n_; ++i) {
      if (free[i]) index_[m_++] = i;
      y[i] = p_[i] = v_[i] = 0, w[i] = -b[i];
    }
    b_max_ = largest_on_free(b), wv_ = 1, steps_ = 0;
    exact_ = static_cast<const void*>(&factor) == &factors_.exact;
    return polish(nnls::kCoarse, nnls::kCoarseSteps);
  }
  bool polish(double relative, int most = nnls::kPolishSteps) {
    while (largest_on_free(w) > relative * b_max_) {
      if (steps_ == most) return false;
      for (int i = 0; i < n_; ++i) Sp_[i] = free[i] ? w[i] : 0;  // a kept factor may be that of a larger set
      if (exact_) {
        factors_.exact.solve(Sp_, v_);
      } else {
        factors_.fast.solve(Sp_, v_);
      }
      const double next = dot_on_free(w, v_), beta = steps_ == 0 ? 0 : next / wv_;
      for (int i = 0; i < n_; ++i) p_[i] = free[i] ? beta * p_[i] - v_[i] : 0;
      S_.multiply(p_, Sp_);
      const double pSp = dot_on_free(p_, Sp_);
      if (!(pSp > 0) || !(next > 0)) return false;
      const double a = next / pSp;
      for (int i = 0; i < n_; ++i) y[i] += a * p_[i], w[i] += a * Sp_[i];
      wv_ = next, ++steps_;
    }
    return true;
  }

  // Counts and marks the answers below -y_slack of the largest and the gradients below -w_slack.
  int violators(double y_slack, double w_slack) {
    const double top = largest_on_free(y);
    int count = 0;
    for (int i = 0; i < n_; ++i) {
      wrong_[i] = nnls::violates(free[i], y[i], w[i], y_slack * top, w_slack);
      count += wrong_[i];
    }
    return count;
  }

  // Takes nothing from the recurrences: y is clipped and its gradient computed anew.
  bool certify() {
    for (int i = 0; i < n_; ++i) y[i] = y[i] > 0 ? y[i] : 0;
    S_.multiply(y, w);
    for (int i = 0; i < n_; ++i) w[i] -= S_.h()[i];
    return judge();
  }
  // Whether y with its gradient w meets the KKT conditions.
  bool judge() {
    residual = 0;
    for (int i = 0; i < n_; ++i) {
      const double r = nnls::kkt_violation(y[i], w[i]);
      if (!(r <= residual)) residual = r;
    }
    return residual <= tol_;
  }

  const Problem<D>& S_;
  const int n_;
  Factors<T>& factors_;
  const double tol_;
  int failures_ = 0;
  int m_ = 0;
  int *index_, *positions_;  // of F: the entries, and their positions in the order of the unknowns
  bool* wrong_;
  double *p_, *Sp_, *v_;
  double b_max_ = 0, wv_ = 1;  // of the conjugate gradients under way
  int steps_ = 0;
  bool exact_ = false;
};

}  // namespace lenskern::LENSKERN_ISA
