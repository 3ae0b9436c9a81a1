// S(w; b) = 2F1(1, b; 2 - b; w) and its derivatives for tiles of rays, as python/lenskern/deflect/macro_series.py.
#pragma once

#include <cmath>

#include "simd.h"

namespace lenskern::LENSKERN_ISA {
namespace macro {

constexpr int kTile = 64;  // rays; a multiple of the vectors that one pass takes
constexpr int kMostTerms = 800;

// c_1, c_2, ... and their derivatives with respect to b.
struct Series {
  double b;
  int terms;
  double c[kMostTerms], d[kMostTerms];

  Series(double slope, double f, bool with_slopes) : b(slope) {
    const double root = 1 + std::sqrt(1 - f), rho = f / (root * root);
    terms = 2;
    // The tail after N terms is about rho^N / (1 - rho); the margin is for coefficients that grow with n.
    if (rho > 1e-8) terms += static_cast<int>(std::ceil(1.25 * (std::log(1.1e-16) + std::log1p(-rho)) / std::log(rho)));
    else terms += 3;
    if (terms > kMostTerms) terms = kMostTerms;
    const double forcing[] = {1, 2, 1};
    double c1 = 1, c2 = 0, d1 = 0, d2 = 0;
    for (int n = 1; n <= terms; ++n) {
      const double force = n < 3 ? forcing[n] : 0, scale = 1 / (n + 1 - b);
      const double c0 = ((6 * b - 2) * c1 + (n - 3 + b) * c2 + (1 - b) * force) * scale;
      c[n - 1] = c0;
      if (with_slopes) {
        const double d0 = (c0 + 6 * c1 + (6 * b - 2) * d1 + c2 + (n - 3 + b) * d2 - force) * scale;
        d[n - 1] = d0;
        d2 = d1, d1 = d0;
      }
      c2 = c1, c1 = c0;
    }
  }
};

// Complex numbers of one tile.
struct Tile {
  alignas(kVectorBytes) double re[kTile], im[kTile];
};

// u = w / (1 + sqrt(1 - w))^2.
inline void map(const Tile& w, Tile& u) {
  for (int i = 0; i < kTile; ++i) {
    const double real = 1 - w.re[i], imaginary = w.im[i];
    const double root = std::sqrt((std::sqrt(real * real + imaginary * imaginary) + real) / 2);
    const double br = 1 + root, bi = -imaginary / (2 * root);
    const double sr = br * br - bi * bi, si = 2 * br * bi, size = br * br + bi * bi;
    const double scale = 1 / (size * size);
    u.re[i] = (w.re[i] * sr + w.im[i] * si) * scale;
    u.im[i] = (w.im[i] * sr - w.re[i] * si) * scale;
  }
}

// Sum of a[n] u^n by Goertzel's recurrence, y_n = a_n + 2 Re(u) y_{n+1} - |u|^2 y_{n+2}.
inline void polynomial(const double* a, int terms, const Tile& u, Tile& out) {
  constexpr int W = Simd<double>::width, kVectors = 4;
  for (int first = 0; first < kTile; first += kVectors * W) {
    Vector<double> twice[kVectors], square[kVectors], y1[kVectors], y2[kVectors];
    for (int k = 0; k < kVectors; ++k) {
      const Vector<double> re = aligned(u.re + first + k * W), im = aligned(u.im + first + k * W);
      twice[k] = 2 * re;
      square[k] = re * re + im * im;
      y1[k] = y2[k] = Vector<double>{};
    }
    // Two steps at once, so that no step has to move y1 to y2.
    int n = terms;
    if (n % 2 != 0) {
      --n;
      for (int k = 0; k < kVectors; ++k) y1[k] += a[n];
    }
    while (n > 0) {
      n -= 2;
      for (int k = 0; k < kVectors; ++k) y2[k] = twice[k] * y1[k] + (a[n + 1] - square[k] * y2[k]);
      for (int k = 0; k < kVectors; ++k) y1[k] = twice[k] * y2[k] + (a[n] - square[k] * y1[k]);
    }
    for (int k = 0; k < kVectors; ++k) {
      const int at = first + k * W;
      aligned(out.im + at) = aligned(u.im + at) * y2[k];
      aligned(out.re + at) = y1[k] - aligned(u.re + at) * y2[k];
    }
  }
}

// S, and with `slopes` its derivatives.
inline void angular(const Series& series, const Tile& w, Tile& S) {
  Tile u, Q;
  map(w, u);
  polynomial(series.c, series.terms, u, Q);
  for (int i = 0; i < kTile; ++i) {
    S.re[i] = 1 + (u.re[i] * Q.re[i] - u.im[i] * Q.im[i]);
    S.im[i] = u.re[i] * Q.im[i] + u.im[i] * Q.re[i];
  }
}

inline void angular_partials(const Series& series, const Tile& w, Tile& S, Tile& by_w, Tile& by_b) {
  Tile u, Q, slopes;
  map(w, u);
  polynomial(series.c, series.terms, u, Q);
  polynomial(series.d, series.terms, u, slopes);
  const double b = series.b;
  for (int i = 0; i < kTile; ++i) {
    const double ur = u.re[i], ui = u.im[i], qr = Q.re[i], qi = Q.im[i];
    S.re[i] = 1 + (ur * qr - ui * qi);
    S.im[i] = ur * qi + ui * qr;
    by_b.re[i] = ur * slopes.re[i] - ui * slopes.im[i];
    by_b.im[i] = ur * slopes.im[i] + ui * slopes.re[i];
    // dS/dw = [b S - (1 - b) P] / (1 - w) with P = (S - 1) / w = Q (1 + u)^2 / 4.
    const double fr = (1 + ur) * (1 + ur) - ui * ui, fi = 2 * (1 + ur) * ui;
    const double tr = b * S.re[i] - (1 - b) * (qr * fr - qi * fi) / 4;
    const double ti = b * S.im[i] - (1 - b) * (qr * fi + qi * fr) / 4;
    const double er = 1 - w.re[i], ei = w.im[i], scale = 1 / (er * er + ei * ei);
    by_w.re[i] = (tr * er - ti * ei) * scale;
    by_w.im[i] = (tr * ei + ti * er) * scale;
  }
}

}  // namespace macro
}  // namespace lenskern::LENSKERN_ISA
