// Mehrotra's predictor-corrector with Gondzio's correctors, as kernels/cpp/nnls_interior_point.h, by a group of blocks.
#pragma once

#include "nnls_large_factors.cuh"

namespace lenskern::cuda::large {

// Every block has the same scalars, and of the vectors its own entries. g_ is S x - h between iterations.
template <class D>
class InteriorPoint {
 public:
  static constexpr int kVectors = 10;

  __device__ InteriorPoint(Problem<D>& S, Factors<D>& factors, Vectors& vectors) : S_(S), factors_(factors) {
    for (double** v : {&x, &z, &g_, &dx_, &dz_, &tx_, &tz_, &c_, &right_, &Sdx_}) *v = vectors.take();
  }

  double *x, *z;  // the iterate, both positive

  // x about (S + I)^-1 h, by a few steps of conjugate gradients: the condition of S + I is a small number. z about the
  // gradient. Both shifted into the interior.
  __device__ LENSKERN_NOINLINE void start() {
    Group& group = S_.group;
    double *r = right_, *p = dx_, *Sp = dz_;
    group.each([&](int i) { x[i] = 0, r[i] = p[i] = S_.h[i]; });
    double rr = sum([&](int i) { return r[i] * r[i]; });
    for (int k = 0; k < nnls::kStartSteps && rr > 0; ++k) {
      S_.multiply(p, Sp);
      const double pSp = sum([&](int i) { return p[i] * (Sp[i] += p[i]); });
      if (!(pSp > 0)) break;
      const double a = rr / pSp;
      const double next = sum([&](int i) {
        x[i] += a * p[i], r[i] -= a * Sp[i];
        return r[i] * r[i];
      });
      group.each([&](int i) { p[i] = r[i] + next / rr * p[i]; });
      rr = next;
    }
    group.each([&](int i) { x[i] = x[i] > 0 ? x[i] : 0; });
    gradient();
    double sums[2];
    group.reduce(sums, Plus<double>(), [&](int i, double(&parts)[2]) { parts[0] = x[i], parts[1] = fabs(g_[i]); });
    const double shift_x = nnls::into_interior(sums[0] / group.n), shift_z = nnls::into_interior(sums[1] / group.n);
    group.each([&](int i) { x[i] += shift_x, z[i] = (g_[i] > 0 ? g_[i] : 0) + shift_z; });
    gradient();
  }

  // From where float32 factors have ended, and may have lost more of the gradient's equation than the products x z allow.
  __device__ LENSKERN_NOINLINE void resume() {
    refined_ = 0;
    gradient();
    const double missing = sum([&](int i) { return fabs(x[i] * (g_[i] - z[i])); }) / S_.group.n;
    S_.group.each([&](int i) {
      const double up = sqrt(nnls::shortfall(x[i], z[i], missing));
      x[i] *= up, z[i] *= up;
    });
    gradient();
  }

  // One iteration from complementarity mu; false where there is no more progress in the precision of the factor.
  __device__ LENSKERN_NOINLINE bool step(double mu) {
    Group& group = S_.group;
    const int n = group.n;
    group.each([&](int i) { dx_[i] = z[i] / x[i]; });
    if (!factors_.set_all(dx_)) return false;
    const bool coarse = refined_ >= nnls::kCoarseFactor;

    group.each([&](int i) { c_[i] = -x[i] * z[i]; });
    double a = newton(dx_, dz_);
    if (coarse) {
      refine(nnls::kPredicted * mu);
      a = longest(dx_, dz_);
    }
    const double after = sum([&](int i) { return (x[i] + a * dx_[i]) * (z[i] + a * dz_[i]); });
    const double target = nnls::mehrotra_centre(after / n / mu, mu);

    group.each([&](int i) { c_[i] = nnls::mehrotra_target(x[i], z[i], dx_[i], dz_[i], target); });
    a = newton(dx_, dz_);

    for (int k = 0; k < (factors_.single && !coarse ? kCorrectors : 0); ++k) {
      const double ahead = 1.08 * a + 0.08 < 1 ? 1.08 * a + 0.08 : 1;
      group.each([&](int i) {
        c_[i] += nnls::gondzio_correction((x[i] + ahead * dx_[i]) * (z[i] + ahead * dz_[i]), target);
      });
      const double longer = newton(tx_, tz_);
      if (!(longer >= a + 0.01)) break;
      a = longer;
      swap(dx_, tx_);
      swap(dz_, tz_);
    }
    if (factors_.single) {
      if (!(refine(nnls::kRefined * mu) <= nnls::kMostMissed * mu)) return false;
      if (refined_ > 0) a = longest(dx_, dz_);
    }
    a *= nnls::step_share(mu);
    if (!(a > nnls::kShortestStep)) return false;
    group.each([&](int i) { x[i] += a * dx_[i], z[i] += a * dz_[i]; });
    if (factors_.single) {
      group.each([&](int i) { g_[i] += a * Sdx_[i]; });
    } else {
      gradient();
    }
    return true;
  }

 private:
  static constexpr int kCorrectors = 2;

  __device__ static void swap(double*& a, double*& b) {
    double* t = a;
    a = b, b = t;
  }
  template <class Value>
  __device__ double sum(Value value) {
    double total[1];
    S_.group.reduce(total, Plus<double>(), [&](int i, double(&parts)[1]) { parts[0] = value(i); });
    return total[0];
  }
  __device__ void gradient() {
    S_.multiply(x, g_);
    S_.group.each([&](int i) { g_[i] -= S_.h[i]; });
  }
  // The direction for complementarity targets c_, and the longest step along it.
  __device__ LENSKERN_NOINLINE double newton(double* dx, double* dz) {
    S_.group.each([&](int i) { right_[i] = nnls::newton_right_side(g_[i] - z[i], c_[i], x[i]); });
    factors_.solve(right_, dx);
    S_.group.each([&](int i) { dz[i] = nnls::newton_dual(c_[i], x[i], z[i], dx[i]); });
    return longest(dx, dz);
  }
  // Longest step of at most 1 that keeps both parts non-negative.
  __device__ LENSKERN_NOINLINE double longest(const double* dx, const double* dz) {
    double top[1];
    S_.group.reduce(top, Largest(), [&](int i, double(&parts)[1]) {
      parts[0] = Largest()(nnls::blocking(x[i], dx[i]), nnls::blocking(z[i], dz[i]));
    });
    return 1 / Largest()(top[0], 1.0);
  }
  // Conjugate gradients, with the factor as preconditioner, until the direction at dx_ misses its equation by `goal` at
  // most in the mean of x times the error. Returns what it misses it by, and sets Sdx_ to S dx and refined_ to the
  // steps.
  __device__ LENSKERN_NOINLINE double refine(double goal) {
    Group& group = S_.group;
    S_.multiply(dx_, Sdx_);
    group.each([&](int i) {
      c_[i] = x[i] * dz_[i] + z[i] * dx_[i];  // a corrector in c_ may have been rejected
      right_[i] = nnls::newton_right_side(g_[i] - z[i], c_[i], x[i]) - Sdx_[i] - z[i] / x[i] * dx_[i];
    });
    double missing = 0, last = 1;
    for (refined_ = 0;; ++refined_) {
      missing = sum([&](int i) { return fabs(x[i] * right_[i]); }) / group.n;
      if (missing <= nnls::refine_goal(goal, refined_) || refined_ == nnls::kRefineSteps) break;
      factors_.solve(right_, tz_);
      const double next = sum([&](int i) { return right_[i] * tz_[i]; }), beta = refined_ == 0 ? 0 : next / last;
      group.each([&](int i) { tx_[i] = tz_[i] + (beta == 0 ? 0 : beta * tx_[i]); });  // anything at first
      S_.multiply(tx_, tz_);
      const double curvature = sum([&](int i) { return tx_[i] * (tz_[i] + z[i] / x[i] * tx_[i]); });
      if (!(next > 0) || !(curvature > 0)) break;
      const double a = next / curvature;
      group.each([&](int i) {
        dx_[i] += a * tx_[i], Sdx_[i] += a * tz_[i], right_[i] -= a * (tz_[i] + z[i] / x[i] * tx_[i]);
      });
      last = next;
    }
    if (refined_ > 0) {
      group.each([&](int i) { dz_[i] = nnls::newton_dual(c_[i], x[i], z[i], dx_[i]); });
    }
    return missing;
  }

  Problem<D>& S_;
  Factors<D>& factors_;
  double *g_, *dx_, *dz_, *tx_, *tz_, *c_, *right_, *Sdx_;
  int refined_ = 0;  // steps of conjugate gradients for the last direction
};

}  // namespace lenskern::cuda::large
