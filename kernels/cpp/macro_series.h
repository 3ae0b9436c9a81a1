// S(w; b) = 2F1(1, b; 2 - b; w) and its derivatives for tiles of rays, as python/lenskern/deflect/macro_series.py.
#pragma once

#include "lenskern/power_law.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {
namespace macro {

constexpr int kTile = 64;  // rays; a multiple of the vectors that one pass takes

// c_1, c_2, ... and their derivatives with respect to b.
struct Series {
  double b;
  int terms;
  double c[lenskern::macro::kMostTerms], d[lenskern::macro::kMostTerms];

  Series(const PowerLaw& lens, bool with_slopes)
      : b(lens.slope / 2), terms(make_series(lens, c, with_slopes ? d : nullptr)) {}
};

// Complex numbers of one tile.
struct Tile {
  alignas(kVectorBytes) double re[kTile], im[kTile];

  Complex operator[](int i) const { return {re[i], im[i]}; }
  void set(int i, Complex x) { re[i] = x.re, im[i] = x.im; }
};

inline void map(const Tile& w, Tile& u) {
  for (int i = 0; i < kTile; ++i) u.set(i, mapped(w[i]));
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
  for (int i = 0; i < kTile; ++i) S.set(i, angular(u[i], Q[i]));
}

inline void angular_partials(const Series& series, const Tile& w, Tile& S, Tile& by_w, Tile& by_b) {
  Tile u, Q, slopes;
  map(w, u);
  polynomial(series.c, series.terms, u, Q);
  polynomial(series.d, series.terms, u, slopes);
  const double b = series.b;
  for (int i = 0; i < kTile; ++i) {
    S.set(i, angular(u[i], Q[i]));
    by_w.set(i, angular_by_w(b, w[i], u[i], Q[i]));
    by_b.set(i, u[i] * slopes[i]);
  }
}

}  // namespace macro
}  // namespace lenskern::LENSKERN_ISA
