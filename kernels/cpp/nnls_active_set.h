// The exact end of a solve: the answer on an active set, exchange of what violates the KKT conditions, certificate.
#pragma once

#include <cmath>

#include "nnls_factor.h"

namespace lenskern::LENSKERN_ISA {

template <class D, class T>
class ActiveSet {
 public:
  static constexpr int kVectors = 7;

  ActiveSet(const Problem<D>& S, Factors<T>& factors, double tol, Workspace& workspace)
      : S_(S), n_(S.size()), factors_(factors), tol_(tol) {
    for (double** v : {&y, &w, &p_, &Sp_, &v_}) *v = workspace.take<double>(n_);
    index_ = workspace.take<int>(n_);
    free = workspace.take<bool>(n_);
  }

  bool* free;           // the set F of entries that may be positive
  double *y, *w;        // the answer on F, zero outside; the gradient S y - h
  int passes = 0;       // solves so far
  double residual = 0;  // of the last certificate

  // From the set in `free`: solve, exchange the violators, again, as long as they are few (at most `patience` in the
  // first pass) and become fewer quickly. True when none is left and the KKT conditions hold to the tolerance.
  bool finish(int most, double patience, Crew::Worker& worker) {
    for (int pass = 0; pass < most; ++pass) {
      ++passes;
      if (!solve(S_.h(), worker)) return false;
      const int wrong = violators();
      if (wrong == 0) return certify();
      if (wrong > patience) return false;
      patience = 0.5 * wrong > 1 ? 0.5 * wrong : 1;
      exchange();
    }
    return false;
  }

  // S[F,F] y = b on F, where alone b is read, to rounding; w = S y - b everywhere.
  bool solve(const double* b, Crew::Worker& worker) {
    m_ = 0;
    for (int i = 0; i < n_; ++i) {
      if (free[i]) index_[m_++] = i;
    }
    if (factors_.fast.set(S_, index_, m_, worker) && polish(b, factors_.fast)) return true;
    return factors_.exact.reserve(n_) && factors_.exact.set(S_, index_, m_, worker) && polish(b, factors_.exact);
  }

  // Whether y = 0 is certified; becomes the answer either way.
  bool accept_zero() {
    for (int i = 0; i < n_; ++i) y[i] = 0;
    return certify();
  }
  // Whether a y >= 0 from elsewhere is certified; becomes the answer either way.
  bool accept(const double* from) {
    for (int i = 0; i < n_; ++i) y[i] = from[i];
    return certify();
  }

 private:
  static constexpr int kPolishSteps = 40;

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

  // Preconditioned conjugate gradients in float64. Their residual is kept on all entries: it is the gradient too.
  template <class Preconditioner>
  bool polish(const double* b, const Preconditioner& preconditioner) {
    for (int i = 0; i < n_; ++i) y[i] = p_[i] = v_[i] = 0, w[i] = -b[i];
    const double enough = 1e-14 * largest_on_free(b);
    double wv = 1;
    for (int step = 0; largest_on_free(w) > enough; ++step) {
      if (step == kPolishSteps) return false;
      preconditioner.solve(w, v_);
      const double next = dot_on_free(w, v_), beta = step == 0 ? 0 : next / wv;
      for (int i = 0; i < n_; ++i) p_[i] = beta * p_[i] - v_[i];
      S_.multiply(p_, Sp_);
      const double pSp = dot_on_free(p_, Sp_);
      if (!(pSp > 0) || !(next > 0)) return false;
      const double a = next / pSp;
      for (int i = 0; i < n_; ++i) y[i] += a * p_[i], w[i] += a * Sp_[i];
      wv = next;
    }
    return true;
  }

  // An answer that is negative by more than rounding, or a gradient that is.
  bool wrong(int i, double top) const { return free[i] ? y[i] < -1e-13 * top : w[i] < -tol_; }

  int violators() const {
    const double top = largest_on_free(y);
    int count = 0;
    for (int i = 0; i < n_; ++i) count += wrong(i, top);
    return count;
  }
  void exchange() {
    const double top = largest_on_free(y);
    for (int i = 0; i < n_; ++i) free[i] ^= wrong(i, top);
  }

  // Takes nothing from the recurrences: y is clipped and its gradient computed anew.
  bool certify() {
    for (int i = 0; i < n_; ++i) y[i] = y[i] > 0 ? y[i] : 0;
    S_.multiply(y, w);
    residual = 0;
    for (int i = 0; i < n_; ++i) {
      w[i] -= S_.h()[i];
      const double r = y[i] > 0 ? std::fabs(w[i]) : -w[i];
      if (!(r <= residual)) residual = r;
    }
    return residual <= tol_;
  }

  const Problem<D>& S_;
  const int n_;
  Factors<T>& factors_;
  const double tol_;
  int m_ = 0;
  int* index_;
  double *p_, *Sp_, *v_;
};

}  // namespace lenskern::LENSKERN_ISA
