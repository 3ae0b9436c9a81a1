// The elliptical power law at one ray, in double precision, on host and device: in the notation of
// python/lenskern/deflect/macro_reference.py, with the series of macro_series.py, which the kernels sum each in their way.
#pragma once

#include "lenskern/dual.h"

namespace lenskern::macro {

constexpr int kParameters = 6;
constexpr int kMostTerms = 800;

// In the order of the arrays; or a derivative by each of these.
struct PowerLaw {
  double centre_y, centre_x;  // arcsec
  double ell_y, ell_x;        // imaginary and real part of epsilon
  double strength;            // B
  double slope;               // t
};

// Squared distances from the centre are clamped to this, as in macro_reference.py.
template <class T>
constexpr double kSmallest = sizeof(T) == 8 ? 1e-24 : 1e-16;

template <class T>
LENSKERN_INLINE PowerLaw read(const T* p) {
  return {p[0], p[1], p[2], p[3], p[4], p[5]};
}
template <class T>
LENSKERN_INLINE void write(const PowerLaw& lens, T* p) {
  p[0] = static_cast<T>(lens.centre_y), p[1] = static_cast<T>(lens.centre_x), p[2] = static_cast<T>(lens.ell_y);
  p[3] = static_cast<T>(lens.ell_x), p[4] = static_cast<T>(lens.strength), p[5] = static_cast<T>(lens.slope);
}
LENSKERN_INLINE PowerLaw operator+(const PowerLaw& a, const PowerLaw& b) {
  return {a.centre_y + b.centre_y, a.centre_x + b.centre_x, a.ell_y + b.ell_y,
          a.ell_x + b.ell_x,       a.strength + b.strength, a.slope + b.slope};
}

}  // namespace lenskern::macro

#if defined(LENSKERN_ISA)
namespace lenskern::LENSKERN_ISA::macro {
using lenskern::macro::PowerLaw;
#else
namespace lenskern::macro {
#endif

struct Complex {
  double re, im;
};
LENSKERN_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
LENSKERN_INLINE Complex operator+(double a, Complex b) { return {a + b.re, b.im}; }
LENSKERN_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
LENSKERN_INLINE Complex operator-(double a, Complex b) { return {a - b.re, -b.im}; }
LENSKERN_INLINE Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
LENSKERN_INLINE Complex operator*(double a, Complex b) { return {a * b.re, a * b.im}; }
LENSKERN_INLINE Complex conj(Complex a) { return {a.re, -a.im}; }
LENSKERN_INLINE double square(Complex a) { return a.re * a.re + a.im * a.im; }
LENSKERN_INLINE Complex operator/(Complex a, Complex b) { return 1 / square(b) * (a * conj(b)); }

// c_1, c_2, ... of the series, and where d is not null their derivatives with respect to b; their number is returned.
LENSKERN_INLINE int make_series(const PowerLaw& lens, double* c, double* d) {
  const double b = lens.slope / 2, f = math::sqrt(lens.ell_y * lens.ell_y + lens.ell_x * lens.ell_x);
  const double root = 1 + math::sqrt(1 - f), rho = f / (root * root);
  int terms = 5;
  // The tail after N terms is about rho^N / (1 - rho); the margin is for coefficients that grow with n.
  if (rho > 1e-8) {
    terms = 2 + static_cast<int>(::ceil(1.25 * (math::log(1.1e-16) + math::log1p(-rho)) / math::log(rho)));
  }
  if (terms > lenskern::macro::kMostTerms) terms = lenskern::macro::kMostTerms;
  double c1 = 1, c2 = 0, d1 = 0, d2 = 0;
  for (int n = 1; n <= terms; ++n) {
    const double force = n == 1 ? 2 : n == 2 ? 1 : 0, scale = 1 / (n + 1 - b);
    const double c0 = ((6 * b - 2) * c1 + (n - 3 + b) * c2 + (1 - b) * force) * scale;
    c[n - 1] = c0;
    if (d != nullptr) {
      const double d0 = (c0 + 6 * c1 + (6 * b - 2) * d1 + c2 + (n - 3 + b) * d2 - force) * scale;
      d[n - 1] = d0;
      d2 = d1, d1 = d0;
    }
    c2 = c1, c1 = c0;
  }
  return terms;
}

// zeta, D and w of a ray, and |D|^2 clamped.
struct Ray {
  Complex z, d, w;
  double v;
};

LENSKERN_INLINE Ray ray_of(const PowerLaw& lens, double smallest, double y, double x) {
  const Complex z{x - lens.centre_x, y - lens.centre_y}, e{lens.ell_x, lens.ell_y}, d = z - e * conj(z);
  const double v = math::most(square(d), smallest);
  return {z, d, (-1 / v) * (conj(e) * (d * d)), v};
}

// u = w / (1 + sqrt(1 - w))^2, in whose powers the series is.
LENSKERN_INLINE Complex mapped(Complex w) {
  const Complex a = 1 - w;
  const double root = math::sqrt((math::sqrt(square(a)) + a.re) / 2);
  const Complex b{1 + root, a.im / (2 * root)};
  return w / (b * b);
}

// S out of Q = sum of c_n u^(n - 1).
LENSKERN_INLINE Complex angular(Complex u, Complex Q) { return 1 + u * Q; }

// dS/dw = [b S - (1 - b) P] / (1 - w) with P = (S - 1) / w = Q (1 + u)^2 / 4.
LENSKERN_INLINE Complex angular_by_w(double b, Complex w, Complex u, Complex Q) {
  const Complex root = 1 + u;
  return (b * angular(u, Q) - (1 - b) / 4 * (Q * (root * root))) / (1 - w);
}

// dalpha = kappa dzeta + gamma dzeta* + unit dB + e depsilon + conjugate depsilon* + t dt.
struct Derivatives {
  double kappa;
  Complex gamma, unit, e, conjugate, t;
};

// As in `tangent` of macro_reference.py; `unit` is |D|^-t.
LENSKERN_INLINE Derivatives differentiate(const PowerLaw& lens, double smallest, const Ray& ray, double unit,
                                          double log_v, Complex S, Complex by_w, Complex by_b) {
  const double b = lens.slope / 2, G = lens.strength * unit, kappa = (1 - b) * G;
  const Complex z = ray.z, d = ray.d, ds = d * S, alpha = G * ds, T = ray.w * by_w;
  return {kappa,
          1 / math::most(square(z), smallest) * (((1 - 2 * b) * alpha - kappa * z) * z),
          unit * ds,
          -G * (conj(z) * ((1 - b) * S + T)),
          G / ray.v * (d * d * (z * (b * S + T) - d * by_w)),
          0.5 * (G * (d * by_b) - log_v * alpha)};
}

// The tangent for that of the ray and those of the parameters.
LENSKERN_INLINE Complex along(const Derivatives& by, const PowerLaw& direction, double y, double x) {
  const Complex z{x - direction.centre_x, y - direction.centre_y}, e{direction.ell_x, direction.ell_y};
  return by.kappa * z + by.gamma * conj(z) + direction.strength * by.unit + by.e * e + by.conjugate * conj(e) +
         direction.slope * by.t;
}

// Its transpose: from the cotangent of the deflection to those of the parameters. That of the ray is minus the centre's.
LENSKERN_INLINE PowerLaw transposed(const Derivatives& by, double y, double x) {
  const Complex c{x, y}, z = by.kappa * c + by.gamma * conj(c), e = c * conj(by.e) + by.conjugate * conj(c);
  return {-z.im, -z.re, e.im, e.re, by.unit.re * x + by.unit.im * y, by.t.re * x + by.t.im * y};
}

}  // namespace macro
