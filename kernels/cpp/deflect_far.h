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
  // `relative`: typical ratio of the error allowed for a halo and its field; `rays`: number of rays for each halo.
  FarField(double relative, double rays) {
    double least = 1e300;
    for (int p = 8; p <= kMostPoints; p += 4) {
      const double rho = std::fmax(std::pow(kConstant / relative, 1.0 / p), kLeastRho),
                   cost = p * p * (rho * rho + 4 + rays / 50);
      if (cost < least) least = cost, points_ = p;
    }
    for (int i = 0; i < points_; ++i) {
      cosine_[i] = std::cos(M_PI * (i + 0.5) / points_);
      for (int n = 0; n < points_; ++n) {
        transform_[n][i] = transposed_[i][n] = (n > 0 ? 2.0 : 1.0) / points_ * std::cos(M_PI * n * (i + 0.5) / points_);
      }
    }
  }

  int points() const { return points_; }
  int square() const { return points_ * points_; }

  // As a function of y, or of x, the field of a halo is analytic inside the ellipse with the foci at the ends of the
  // box that passes the nearest point of v <= 0. With semi-axes (rho +- 1/rho)/2, in half-widths of the box, the error
  // of the polynomial is below kConstant rho^-p times the field in the box (measured: 3.5, for a point mass). This is
  // the rho that a ratio of field and error needs.
  double rho(double ratio) const { return std::pow(kConstant * ratio, 1.0 / points_); }

  bool is_far(const Box& box, double y, double x, double rho) const {
    const double most = std::fmax(rho, kLeastRho), long_axis = (most + 1 / most) / 2,
                 short_axis = (most - 1 / most) / 2;
    const double ay = std::fabs(y - box.y), ax = std::fabs(x - box.x);
    const double ny = ay > box.hy ? ay - box.hy : 0, nx = ax > box.hx ? ax - box.hx : 0;
    // In y at fixed x the singularities are at y +- i |x - x'|, and likewise in x.
    const auto outside = [&](double along, double across, double half) {
      const double a = along / (long_axis * half), b = across / (short_axis * half);
      return half == 0 || a * a + b * b >= 1;
    };
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
    Matrix points, half, result;
    from_tiles(values, points);
    multiply(transform_, points, half);
    multiply(half, transposed_, result);
    for (int n = 0; n < points_; ++n) {
      for (int m = 0; m < points_; ++m) a[n * points_ + m] = result[n][m];
    }
  }

  // Adds to the values at the points of `child` the polynomial `a` of the box that holds it.
  void pass_down(const double* a, const Box& box, const Box& child, double* values) const {
    Matrix Ty, Tx, own, half, result;
    chebyshev_matrix(box.y, box.hy, child.y, child.hy, Ty);
    chebyshev_matrix(box.x, box.hx, child.x, child.hx, Tx);
    from_rows(a, own);
    transpose_in_place(Ty);
    multiply(Ty, own, half);
    multiply(half, Tx, result);
    for (int i = 0; i < points_; ++i) {
      for (int j = 0; j < points_; ++j) values[tile(i, j)] += result[i][j];
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

  // The transposes, which carry weights at the rays to weights at the points of the boxes around them.
  //
  // Of `evaluate`: adds to the moments b of two fields, b[n p + m] the sum of w T_n(y) T_m(x), the weights of some
  // rays.
  void gather(const Box& box, const double* y, const double* x, const double* weights, int64_t distance, int64_t points,
              double* b) const {
    using V = Vector<double>;
    constexpr int W = Simd<double>::width, kTogether = 4;
    static_assert(kMostPoints % W == 0);
    const int p = points_, n_vectors = (p + W - 1) / W;
    const double sy = inverse(box.hy), sx = inverse(box.hx);
    double Ty[kMostPoints][kTogether];
    alignas(64) double Tx[kTogether][kMostPoints] = {}, sums[2][kMostPoints][kMostPoints] = {};
    for (int64_t i = 0; i < points; i += kTogether) {
      for (int k = 0; k < kTogether; ++k) {
        const double ty = (y[i + k] - box.y) * sy, tx = (x[i + k] - box.x) * sx;
        Ty[0][k] = 1, Ty[1][k] = ty, Tx[k][0] = 1, Tx[k][1] = tx;
        for (int n = 2; n < p; ++n) {
          Ty[n][k] = 2 * ty * Ty[n - 1][k] - Ty[n - 2][k];
          Tx[k][n] = 2 * tx * Tx[k][n - 1] - Tx[k][n - 2];
        }
      }
      const double *wy = weights + i, *wx = weights + distance + i;
      for (int v = 0; v < n_vectors; ++v) {
        V column[kTogether];
        for (int k = 0; k < kTogether; ++k) column[k] = aligned(&Tx[k][v * W]);
        for (int n = 0; n < p; ++n) {
          V to_y = aligned(&sums[0][n][v * W]), to_x = aligned(&sums[1][n][v * W]);
#pragma GCC unroll 8
          for (int k = 0; k < kTogether; ++k) {
            const V row = Ty[n][k] * column[k];
            to_y += wy[k] * row;
            to_x += wx[k] * row;
          }
          aligned(&sums[0][n][v * W]) = to_y;
          aligned(&sums[1][n][v * W]) = to_x;
        }
      }
    }
    for (int f = 0; f < 2; ++f) {
      for (int n = 0; n < p; ++n) {
        for (int m = 0; m < p; ++m) b[(f * p + n) * p + m] += sums[f][n][m];
      }
    }
  }

  // Of `coefficients`, for one field.
  void weights(const double* b, double* values) const {
    Matrix own, half, result;
    from_rows(b, own);
    multiply(transposed_, own, half);
    multiply(half, transform_, result);
    for (int i = 0; i < points_; ++i) {
      for (int j = 0; j < points_; ++j) values[tile(i, j)] = result[i][j];
    }
  }

  // Of `pass_down`, for one field: adds to the moments of `box` the weights at the points of `child`.
  void pass_up(const double* values, const Box& child, const Box& box, double* b) const {
    Matrix Ty, Tx, points, half, result;
    chebyshev_matrix(box.y, box.hy, child.y, child.hy, Ty);
    chebyshev_matrix(box.x, box.hx, child.x, child.hx, Tx);
    from_tiles(values, points);
    transpose_in_place(Tx);
    multiply(points, Tx, half);
    multiply(Ty, half, result);
    for (int n = 0; n < points_; ++n) {
      for (int m = 0; m < points_; ++m) b[n * points_ + m] += result[n][m];
    }
  }

 private:
  static constexpr double kConstant = 4, kLeastRho = 2;

  int tile(int i, int j) const { return ((i / 4) * (points_ / 4) + j / 4) * 16 + i % 4 * 4 + j % 4; }
  static double inverse(double half) { return half > 0 ? 1 / half : 0; }

  // p x p, in rows of whole vectors.
  struct alignas(64) Matrix {
    double rows[kMostPoints][kMostPoints] = {};
    double* operator[](int i) { return rows[i]; }
    const double* operator[](int i) const { return rows[i]; }
  };

  void from_rows(const double* a, Matrix& to) const {
    for (int n = 0; n < points_; ++n) {
      for (int m = 0; m < points_; ++m) to[n][m] = a[n * points_ + m];
    }
  }
  void from_tiles(const double* values, Matrix& to) const {
    for (int i = 0; i < points_; ++i) {
      for (int j = 0; j < points_; ++j) to[i][j] = values[tile(i, j)];
    }
  }
  void transpose_in_place(Matrix& a) const {
    for (int i = 0; i < points_; ++i) {
      for (int j = 0; j < i; ++j) {
        const double held = a[i][j];
        a[i][j] = a[j][i], a[j][i] = held;
      }
    }
  }
  // c = a b.
  void multiply(const Matrix& a, const Matrix& b, Matrix& c) const {
    using V = Vector<double>;
    constexpr int W = Simd<double>::width, kRows = 4;
    for (int m = 0; m < points_; m += W) {
      for (int i = 0; i < points_; i += kRows) {
        V sum[kRows] = {};
        for (int k = 0; k < points_; ++k) {
          const V column = aligned(&b[k][m]);
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) sum[r] += a[i + r][k] * column;
        }
        for (int r = 0; r < kRows; ++r) aligned(&c[i + r][m]) = sum[r];
      }
    }
  }

  // T_n at the p points of the child, n first.
  void chebyshev_matrix(double centre, double half, double child, double child_half, Matrix& T) const {
    double t[kMostPoints];
    for (int i = 0; i < points_; ++i) {
      t[i] = (child + child_half * cosine_[i] - centre) * inverse(half);
      T[0][i] = 1, T[1][i] = t[i];
    }
    for (int n = 2; n < points_; ++n) {
      for (int i = 0; i < points_; ++i) T[n][i] = 2 * t[i] * T[n - 1][i] - T[n - 2][i];
    }
  }

  int points_ = 8;
  double cosine_[kMostPoints];
  Matrix transform_, transposed_;
};

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
