// The field of distant haloes over a box of rays: a polynomial through p x p Chebyshev points.
#pragma once

#include <cmath>
#include <cstdint>

#include "deflect_tree.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

constexpr int kMostPoints = 24, kMostSquare = kMostPoints * kMostPoints;

// Interpolation of degree p - 1 in y and in x, and which haloes it is accurate for.
class FarField {
 public:
  // `relative`: error that is allowed, relative to the halo's deflection at the distance of the box.
  explicit FarField(double relative) {
    // As a function of y, or of x, the field of a halo is analytic inside the ellipse with the foci at the ends of the
    // box that passes the nearest point of v <= 0. With semi-axes (rho +- 1/rho)/2 the error falls as rho^-p.
    double least = 1e300;
    for (int p = 8; p <= kMostPoints; p += 4) {
      const double rho = std::pow(kConstant / relative, 1.0 / p), cost = p * p * (rho * rho + 4);
      if (cost < least) least = cost, points_ = p, rho_ = rho;
    }
    long_axis_ = (rho_ + 1 / rho_) / 2, short_axis_ = (rho_ - 1 / rho_) / 2;
    for (int i = 0; i < points_; ++i) {
      cosine_[i] = std::cos(M_PI * (i + 0.5) / points_);
      for (int n = 0; n < points_; ++n) {
        transform_[n][i] = (n > 0 ? 2.0 : 1.0) / points_ * std::cos(M_PI * n * (i + 0.5) / points_);
      }
    }
  }

  int points() const { return points_; }
  int square() const { return points_ * points_; }

  bool is_far(const Box& box, double y, double x) const {
    const double ay = std::fabs(y - box.y), ax = std::fabs(x - box.x);
    const double ny = ay > box.hy ? ay - box.hy : 0, nx = ax > box.hx ? ax - box.hx : 0;
    // In y at fixed x the singularities are at y +- i |x - x'|, and likewise in x.
    return outside(ay, nx, box.hy) && outside(ax, ny, box.hx);
  }

  // The points of a box, in tiles of 4 x 4 so that blocks of kBlock are compact.
  void place(const Box& box, double* y, double* x) const {
    for (int i = 0; i < points_; ++i) {
      for (int j = 0; j < points_; ++j) {
        const int k = tile(i, j);
        y[k] = box.y + box.hy * cosine_[i], x[k] = box.x + box.hx * cosine_[j];
      }
    }
  }

  // Chebyshev coefficients out of values at the points: a[n p + m] of T_n(y) T_m(x).
  void coefficients(const double* values, double* a) const {
    const int p = points_;
    double half[kMostSquare];  // transformed in x: half[i p + m]
    for (int i = 0; i < p; ++i) {
      for (int m = 0; m < p; ++m) {
        double sum = 0;
        for (int j = 0; j < p; ++j) sum += transform_[m][j] * values[tile(i, j)];
        half[i * p + m] = sum;
      }
    }
    for (int n = 0; n < p; ++n) {
      double* row = a + n * p;
      for (int m = 0; m < p; ++m) row[m] = 0;
      for (int i = 0; i < p; ++i) {
        for (int m = 0; m < p; ++m) row[m] += transform_[n][i] * half[i * p + m];
      }
    }
  }

  // Adds to the values at the points of `child` the polynomial `a` of the box that holds it.
  void pass_down(const double* a, const Box& box, const Box& child, double* values) const {
    const int p = points_;
    double Ty[kMostSquare], Tx[kMostSquare], half[kMostSquare];
    chebyshev_matrix(box.y, box.hy, child.y, child.hy, Ty);
    chebyshev_matrix(box.x, box.hx, child.x, child.hx, Tx);
    for (int i = 0; i < p; ++i) {
      double* row = half + i * p;
      for (int m = 0; m < p; ++m) row[m] = 0;
      for (int n = 0; n < p; ++n) {
        for (int m = 0; m < p; ++m) row[m] += Ty[n * p + i] * a[n * p + m];
      }
    }
    for (int i = 0; i < p; ++i) {
      double row[kMostPoints] = {};
      for (int m = 0; m < p; ++m) {
        for (int j = 0; j < p; ++j) row[j] += half[i * p + m] * Tx[m * p + j];
      }
      for (int j = 0; j < p; ++j) values[tile(i, j)] += row[j];
    }
  }

  // Adds the polynomials a[field] at points (a multiple of kBlock) points to out[field * distance + point].
  template <int kFields>
  void evaluate(const double* a, const Box& box, const double* y, const double* x, int64_t points, double* out,
                int64_t distance) const {
    using V = Vector<double>;
    constexpr int W = Simd<double>::width;
    const int p = points_;
    const double sy = inverse(box.hy), sx = inverse(box.hx);
    for (int64_t i = 0; i < points; i += W) {
      const V ty = (load(y + i) - box.y) * sy, tx = (load(x + i) - box.x) * sx;
      V Tx[kMostPoints];
      Tx[0] = V{} + 1, Tx[1] = tx;
      for (int m = 2; m < p; ++m) Tx[m] = 2 * tx * Tx[m - 1] - Tx[m - 2];
      V sum[kFields] = {}, before = V{} + 1, now = ty;
      for (int n = 0; n < p; ++n) {
        V row[kFields][2] = {};
        for (int m = 0; m < p; m += 2) {
          for (int f = 0; f < kFields; ++f) {
            row[f][0] += a[f * p * p + n * p + m] * Tx[m];
            row[f][1] += a[f * p * p + n * p + m + 1] * Tx[m + 1];
          }
        }
        for (int f = 0; f < kFields; ++f) sum[f] += (row[f][0] + row[f][1]) * before;
        const V next = 2 * ty * now - before;
        before = now, now = next;
      }
      for (int f = 0; f < kFields; ++f) store(out + f * distance + i, load(out + f * distance + i) + sum[f]);
    }
  }

 private:
  static constexpr double kConstant = 20;

  int tile(int i, int j) const { return ((i / 4) * (points_ / 4) + j / 4) * 16 + i % 4 * 4 + j % 4; }
  static double inverse(double half) { return half > 0 ? 1 / half : 0; }

  bool outside(double along, double across, double half) const {
    const double a = along / (long_axis_ * half), b = across / (short_axis_ * half);
    return a * a + b * b >= 1 || half == 0;
  }

  // T_n at the p points of the child, n first.
  void chebyshev_matrix(double centre, double half, double child, double child_half, double* T) const {
    const int p = points_;
    for (int i = 0; i < p; ++i) {
      const double t = (child + child_half * cosine_[i] - centre) * inverse(half);
      T[i] = 1, T[p + i] = t;
      for (int n = 2; n < p; ++n) T[n * p + i] = 2 * t * T[(n - 1) * p + i] - T[(n - 2) * p + i];
    }
  }

  int points_ = 8;
  double rho_ = 1, long_axis_ = 1, short_axis_ = 0;
  double cosine_[kMostPoints], transform_[kMostPoints][kMostPoints];
};

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
