// Mehrotra's predictor-corrector with Gondzio's correctors, on (x, z) with complementarity x z.
#pragma once

#include <cmath>

#include "nnls_factor.h"

namespace lenskern::LENSKERN_ISA {

// Factors are of precision T; iterates, residuals and steps are float64, and so are directions where T is not: what a
// float32 factor gives is refined. g_ is S x - h between iterations.
template <class D, class T>
class InteriorPoint {
 public:
  static constexpr int kVectors = 10;

  // `factor` has S loaded.
  InteriorPoint(const Problem<D>& S, Factor<T>& factor, Workspace& workspace)
      : S_(S), n_(S.size()), factor_(factor) {
    for (double** v : {&x, &z, &g_, &dx_, &dz_, &tx_, &tz_, &c_, &right_, &Sdx_}) *v = workspace.take<double>(n_);
  }

  double *x, *z;  // the iterate, both positive

  // x about (S + I)^-1 h, by a few steps of conjugate gradients: the condition of S + I is a small number. z about the
  // gradient. Both shifted into the interior.
  void start() {
    double *r = right_, *p = dx_, *Sp = dz_;
    double rr = 0;
    for (int i = 0; i < n_; ++i) x[i] = 0, r[i] = p[i] = S_.h()[i], rr += r[i] * r[i];
    for (int k = 0; k < nnls::kStartSteps && rr > 0; ++k) {
      S_.multiply(p, Sp);
      double pSp = 0, next = 0;
      for (int i = 0; i < n_; ++i) Sp[i] += p[i], pSp += p[i] * Sp[i];
      if (!(pSp > 0)) break;
      const double a = rr / pSp;
      for (int i = 0; i < n_; ++i) x[i] += a * p[i], r[i] -= a * Sp[i], next += r[i] * r[i];
      for (int i = 0; i < n_; ++i) p[i] = r[i] + next / rr * p[i];
      rr = next;
    }
    for (int i = 0; i < n_; ++i) x[i] = x[i] > 0 ? x[i] : 0;
    gradient();
    double mean_x = 0, mean_g = 0;
    for (int i = 0; i < n_; ++i) mean_x += x[i] / n_, mean_g += std::fabs(g_[i]) / n_;
    const double shift_x = nnls::into_interior(mean_x), shift_z = nnls::into_interior(mean_g);
    for (int i = 0; i < n_; ++i) x[i] += shift_x, z[i] = (g_[i] > 0 ? g_[i] : 0) + shift_z;
    gradient();
  }

  // As another one left it, which may have lost more of the gradient's equation than the products x z allow for.
  void start(const double* from_x, const double* from_z) {
    for (int i = 0; i < n_; ++i) x[i] = from_x[i], z[i] = from_z[i];
    gradient();
    double missing = 0;
    for (int i = 0; i < n_; ++i) missing += std::fabs(x[i] * (g_[i] - z[i])) / n_;
    for (int i = 0; i < n_; ++i) {
      const double up = std::sqrt(nnls::shortfall(x[i], z[i], missing));
      x[i] *= up, z[i] *= up;
    }
    gradient();
  }

  // One iteration from complementarity mu; false where there is no more progress in the precision of the factor.
  bool step(double mu, Crew::Worker& worker) {
    for (int i = 0; i < n_; ++i) dx_[i] = z[i] / x[i];
    if (!factor_.set_all(dx_, worker)) return false;
    const bool coarse = refined_ >= nnls::kCoarseFactor;

    for (int i = 0; i < n_; ++i) c_[i] = -x[i] * z[i];
    newton(dx_, dz_);
    if (coarse) refine(nnls::kPredicted * mu);
    double a = longest(dx_, dz_);
    for (int i = 0; i < n_; ++i) tx_[i] = x[i] + a * dx_[i], tz_[i] = z[i] + a * dz_[i];
    const double ratio = dot(tx_, tz_, n_) / n_ / mu, target = nnls::mehrotra_centre(ratio, mu);

    for (int i = 0; i < n_; ++i) c_[i] = nnls::mehrotra_target(x[i], z[i], dx_[i], dz_[i], target);
    newton(dx_, dz_);
    a = longest(dx_, dz_);

    for (int k = 0; k < (coarse ? 0 : kCorrectors); ++k) {
      const double ahead = 1.08 * a + 0.08 < 1 ? 1.08 * a + 0.08 : 1;
      for (int i = 0; i < n_; ++i) {
        c_[i] += nnls::gondzio_correction((x[i] + ahead * dx_[i]) * (z[i] + ahead * dz_[i]), target);
      }
      newton(tx_, tz_);
      const double longer = longest(tx_, tz_);
      if (!(longer >= a + 0.01)) break;
      a = longer;
      swap(dx_, tx_);
      swap(dz_, tz_);
    }
    if (sizeof(T) == 4) {
      if (!(refine(nnls::kRefined * mu) <= nnls::kMostMissed * mu)) return false;
      if (refined_ > 0) a = longest(dx_, dz_);
    }
    a *= nnls::step_share(mu);
    if (!(a > nnls::kShortestStep) || !std::isfinite(dot(dx_, dz_, n_))) return false;
    for (int i = 0; i < n_; ++i) x[i] += a * dx_[i], z[i] += a * dz_[i];
    if (sizeof(T) == 4) {
      for (int i = 0; i < n_; ++i) g_[i] += a * Sdx_[i];
    } else {
      gradient();
    }
    return true;
  }

 private:
  // Solves are cheap beside a large factorisation; beside a small one they cost more than the iterations they save.
  static constexpr int kCorrectors = sizeof(T) == 4 ? 2 : 0;

  static void swap(double*& a, double*& b) {
    double* t = a;
    a = b, b = t;
  }
  void gradient() {
    S_.multiply(x, g_);
    for (int i = 0; i < n_; ++i) g_[i] -= S_.h()[i];
  }
  // The direction for complementarity targets c_.
  void newton(double* dx, double* dz) {
    for (int i = 0; i < n_; ++i) right_[i] = nnls::newton_right_side(g_[i] - z[i], c_[i], x[i]);
    factor_.solve(right_, dx);
    for (int i = 0; i < n_; ++i) dz[i] = nnls::newton_dual(c_[i], x[i], z[i], dx[i]);
  }
  // Conjugate gradients, with the factor as preconditioner, until the direction at dx_ misses its equation by `goal` at
  // most in the mean of x times the error. Returns what it misses it by, and sets Sdx_ to S dx and refined_ to the
  // steps.
  double refine(double goal) {
    for (int i = 0; i < n_; ++i) c_[i] = x[i] * dz_[i] + z[i] * dx_[i];  // a corrector in c_ may have been rejected
    S_.multiply(dx_, Sdx_);
    for (int i = 0; i < n_; ++i) {
      right_[i] = nnls::newton_right_side(g_[i] - z[i], c_[i], x[i]) - Sdx_[i] - z[i] / x[i] * dx_[i];
    }
    double missing = 0, last = 1;
    for (refined_ = 0;; ++refined_) {
      missing = 0;
      for (int i = 0; i < n_; ++i) missing += std::fabs(x[i] * right_[i]) / n_;
      if (missing <= nnls::refine_goal(goal, refined_) || refined_ == nnls::kRefineSteps) break;
      factor_.solve(right_, tz_);
      const double next = dot(right_, tz_, n_), beta = refined_ == 0 ? 0 : next / last;
      for (int i = 0; i < n_; ++i) tx_[i] = tz_[i] + (beta == 0 ? 0 : beta * tx_[i]);  // tx_ may hold anything at first
      S_.multiply(tx_, tz_);
      double curvature = 0;
      for (int i = 0; i < n_; ++i) curvature += tx_[i] * (tz_[i] + z[i] / x[i] * tx_[i]);
      if (!(next > 0) || !(curvature > 0)) break;
      const double a = next / curvature;
      for (int i = 0; i < n_; ++i) {
        dx_[i] += a * tx_[i], Sdx_[i] += a * tz_[i], right_[i] -= a * (tz_[i] + z[i] / x[i] * tx_[i]);
      }
      last = next;
    }
    if (refined_ > 0) {
      for (int i = 0; i < n_; ++i) dz_[i] = nnls::newton_dual(c_[i], x[i], z[i], dx_[i]);
    }
    return missing;
  }
  // Longest step of at most 1 that keeps both parts non-negative.
  double longest(const double* dx, const double* dz) const {
    constexpr int W = Simd<double>::width;
    Vector<double> tops{};
    double top = 1;
    for (int part = 0; part < 2; ++part) {
      const double *v = part == 0 ? x : z, *dv = part == 0 ? dx : dz;
      int i = 0;
      for (; i + W <= n_; i += W) {
        const Vector<double> b = nnls::blocking(load(v + i), load(dv + i));
        tops = b > tops ? b : tops;
      }
      for (; i < n_; ++i) {
        const double b = nnls::blocking(v[i], dv[i]);
        top = b > top ? b : top;
      }
    }
    for (int lane = 0; lane < W; ++lane) top = tops[lane] > top ? tops[lane] : top;
    return 1 / top;
  }

  const Problem<D>& S_;
  const int n_;
  Factor<T>& factor_;
  double *g_, *dx_, *dz_, *tx_, *tz_, *c_, *right_, *Sdx_;
  int refined_ = 0;  // steps of conjugate gradients for the last direction
};

}  // namespace lenskern::LENSKERN_ISA
