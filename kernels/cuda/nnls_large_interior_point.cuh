// Mehrotra's predictor-corrector with Gondzio's correctors, as kernels/cpp/nnls_interior_point.h, by a group of blocks.
#pragma once

#include "nnls_large_factors.cuh"

namespace lenskern::cuda::large {

// Every block has the same scalars, and of the vectors its own entries.
template <class D>
class InteriorPoint {
 public:
  static constexpr int kVectors = 9;

  __device__ InteriorPoint(Problem<D>& S, Factors<D>& factors, Vectors& vectors) : S_(S), factors_(factors) {
    for (double** v : {&x, &z, &g_, &dx_, &dz_, &tx_, &tz_, &c_, &right_}) *v = vectors.take();
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
  }

  // From where float32 factors have ended, and may have lost more of the gradient's equation than the products x z allow.
  __device__ LENSKERN_NOINLINE void resume() {
    gradient();
    const double missing = lost();
    S_.group.each([&](int i) {
      const double up = sqrt(nnls::shortfall(x[i], z[i], missing));
      x[i] *= up, z[i] *= up;
    });
  }

  // One iteration from complementarity mu; false where there is no more progress in the precision of the factor.
  __device__ LENSKERN_NOINLINE bool step(double mu) {
    Group& group = S_.group;
    const int n = group.n;
    gradient();
    const double lost = this->lost();
    group.each([&](int i) { dx_[i] = z[i] / x[i]; });
    if (!factors_.set_all(dx_)) return false;

    group.each([&](int i) { c_[i] = -x[i] * z[i]; });
    double a = newton(dx_, dz_);
    const double after = sum([&](int i) { return (x[i] + a * dx_[i]) * (z[i] + a * dz_[i]); });
    const double target = nnls::mehrotra_centre(after / n / mu, mu);

    group.each([&](int i) { c_[i] = nnls::mehrotra_target(x[i], z[i], dx_[i], dz_[i], target); });
    a = newton(dx_, dz_);

    for (int k = 0; k < (factors_.single ? kCorrectors : 0); ++k) {
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
    a *= nnls::step_share(mu);
    if (!(a > nnls::kShortestStep) || (factors_.single && nnls::is_lost(a, lost, expected_, mu))) return false;
    expected_ = (1 - a) * lost;
    group.each([&](int i) { x[i] += a * dx_[i], z[i] += a * dz_[i]; });
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
  // What there is of the gradient's equation: the mean of |x (S x - h - z)|.
  __device__ double lost() {
    return sum([&](int i) { return fabs(x[i] * (g_[i] - z[i])); }) / S_.group.n;
  }
  __device__ void gradient() {
    S_.multiply(x, g_);
    S_.group.each([&](int i) { g_[i] -= S_.h[i]; });
  }
  // The direction for complementarity targets c_, and the longest step along it, of at most 1, that keeps both parts
  // non-negative.
  __device__ LENSKERN_NOINLINE double newton(double* dx, double* dz) {
    S_.group.each([&](int i) { right_[i] = nnls::newton_right_side(g_[i] - z[i], c_[i], x[i]); });
    factors_.solve(right_, dx);
    double top[1];
    S_.group.reduce(top, Largest(), [&](int i, double(&parts)[1]) {
      dz[i] = nnls::newton_dual(c_[i], x[i], z[i], dx[i]);
      parts[0] = Largest()(nnls::blocking(x[i], dx[i]), nnls::blocking(z[i], dz[i]));
    });
    return 1 / Largest()(top[0], 1.0);
  }

  Problem<D>& S_;
  Factors<D>& factors_;
  double *g_, *dx_, *dz_, *tx_, *tz_, *c_, *right_;
  double expected_ = HUGE_VAL;  // of the mean of |x (S x - h - z)|
};

}  // namespace lenskern::cuda::large
