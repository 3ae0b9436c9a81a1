// Mean convergence g, convergence k and potential w of the spherical profiles, with amplitude and scale taken out, for
// u = (R / s)^2 and shape parameters p and q: what python/lenskern/deflect/spherical.py computes and derives.
//
// T is float, double, or Dual of them, which carries one derivative.
#pragma once

#include "lenskern/forms.h"

#if defined(LENSKERN_ISA)
namespace lenskern::LENSKERN_ISA {
#else
namespace lenskern {
#endif
namespace deflect {

// As lenskern.deflect.Profile in Python.
enum ProfileCode : int {
  kProfileNfw = 0,
  kProfileTnfw = 1,
  kProfileCnfw = 2,
  kProfileTnfwc = 3,
  kProfileDpie = 4,
  kProfilePoint = 5,
  kProfileSis = 6,
  kProfileSheet = 7,
};

// u is raised to this, so that everything is finite at a centre.
template <class T>
LENSKERN_INLINE T least_u() {
  return T(kIsSingle<T> ? 1e-16 : 1e-24);
}
// The core radius, raised where it is so far below 1 and x that it changes nothing.
template <class T>
LENSKERN_INLINE T core_of(T p, T u) {
  const T least = T(kIsSingle<T> ? 1e-8 : 1e-18) * math::sqrt(math::least(u, T(1)));
  return p < least ? p + least : p;
}

template <class T>
struct Truncation {
  T r, d, angle, P;
};
template <class T>
LENSKERN_INLINE Truncation<T> truncation(T u, T tau) {
  const T x = math::sqrt(u), r = math::sqrt(tau * tau + u), over = tau / (tau * tau + 1);
  const T angle = math::log1p(tau * (1 + tau / (r + x)) / x);
  return {r, u / (r + tau), angle, over * over};
}

template <class T>
LENSKERN_OUTLINE T tnfw_mean(T u, T tau) {
  const Truncation<T> s = truncation(u, tau);
  const T pi = T(2 * kHalfPi);
  if (u > T(2)) {
    const T U = math::sqrt(u - 1), E = math::atan(1 / U), whole = (tau * tau + 1) / (U + s.r);
    const T far = pi / 2 * whole * whole / U - (U + s.r * (s.r / U)) * E + pi * tau;
    const T logs = math::log(tau * math::sqrt(u) / (s.r + tau)) - s.d / tau * s.angle;
    return 4 * s.P * ((far + (tau * tau - 1) * logs) / u);
  }
  const T logs = mean(u) - math::log1p(s.d / (2 * tau)) / u - s.angle / (tau * (s.r + tau));
  return 4 * s.P * ((tau * tau - 1) * logs + 2 * basis(u).F - pi / (s.r + tau));
}

template <class T>
LENSKERN_OUTLINE T tnfw_local(T u, T tau) {
  const Truncation<T> s = truncation(u, tau);
  const T square = tau * tau + 1, pi = T(2 * kHalfPi);
  if (u > T(2)) {
    const T down = 1 / (u - 1), U = math::sqrt(u - 1), low = 1 / (s.r * s.r), share = square / (s.r + U);
    const T e1 = down * basis(1 + down).B, e2 = tau * tau * low * basis(u * low).B;
    const T far = square * down * down * (1 - e1) + 2 * e1 * down + (tau * tau - 1) * low * (square * down - e2);
    return 2 * s.P * (far - pi / 2 * share * share * ((2 * U + s.r) * down / (U * s.r)));
  }
  const Basis<T> at = basis(u);
  return 2 * s.P * (square * at.B + 2 * at.F - pi / s.r - (tau * tau - 1) * (s.angle / (tau * s.r)));
}

template <class T>
LENSKERN_OUTLINE T tnfw_potential(T u, T tau) {
  const Truncation<T> s = truncation(u, tau);
  const T pi = T(2 * kHalfPi), e = math::log1p(s.d / (2 * tau));
  const T logs = log_square(u) + 4 * s.angle * (e - s.d / tau) - 2 * e * e - 4 * e;
  T rest;
  if (u > T(2)) {
    const T U = math::sqrt(u - 1);
    rest = 4 * math::log(4 / u) - 8 * U * math::atan(1 / U) + 4 * pi * (tau + tau * e - (tau * tau + 1) / (U + s.r));
  } else {
    rest = 4 * line(basis(u)) - 4 * pi * (s.d - tau * e);
  }
  return s.P * ((tau * tau - 1) * logs + rest);
}

// b F(u) - F(u / b^2), for large u without the terms that cancel.
template <class T>
LENSKERN_INLINE T cored_difference(T u, T b, const Basis<T>& one, const Basis<T>& two) {
  if (!(u > 2 * math::most(T(1), b * b))) return b * one.F - two.F;
  const T U1 = math::sqrt(u - 1), Ub = math::sqrt(u - b * b);
  return T(kHalfPi) * b * (1 - b * b) / (U1 * Ub * (U1 + Ub)) - b * math::atan(1 / U1) / U1 +
         b * math::atan(b / Ub) / Ub;
}
template <class T>
LENSKERN_INLINE bool near_one(T b, double reach) {
  return b > T(1 / reach) && b < T(reach);
}
template <class T>
LENSKERN_INLINE bool in_core(T u, T b) {
  return u < math::least(T(1), b * b) / 2;
}

template <class T>
LENSKERN_OUTLINE T cnfw_mean(T u, T p) {
  constexpr bool single = kIsSingle<T>;
  const T b = core_of(p, u);
  if (near_one(b, single ? 2.5 : 2.0)) {
    return between<single ? 2 : 4>(b, [u](T c, T share) { return share * 4 / (c * c) * excess(u / (c * c)); });
  }
  const T v = u / (b * b), down = 1 / ((1 - b) * (1 - b));
  if (in_core(u, b)) {
    const Reduced<T> one = reduced(u), two = reduced(v);
    return 4 * (two.H + (1 - 2 * b) * one.H + b * one.h - two.h - math::log(b) / 2) * down;
  }
  const Basis<T> one = basis(u), two = basis(v);
  return 4 * (two.h / v + (1 - 2 * b) * (one.h / u) + cored_difference(u, b, one, two)) * down;
}

template <class T>
LENSKERN_OUTLINE T cnfw_local(T u, T p) {
  constexpr bool single = kIsSingle<T>;
  const T b = core_of(p, u);
  if (near_one(b, single ? 2.5 : 2.0)) {
    return between<single ? 2 : 4>(b, [u](T c, T share) { return share * 2 / (c * c) * curvature(u / (c * c)); });
  }
  const T v = u / (b * b), down = 1 / ((1 - b) * (1 - b));
  if (in_core(u, b)) {
    const Reduced<T> one = reduced(u), two = reduced(v);
    return 2 * (b * one.h - two.h - math::log(b) + (1 - b) * one.B) * down;
  }
  const Basis<T> one = basis(u), two = basis(v);
  return 2 * (cored_difference(u, b, one, two) + (1 - b) * one.B) * down;
}

template <class T>
LENSKERN_OUTLINE T cnfw_potential(T u, T p) {
  constexpr bool single = kIsSingle<T>;
  const T b = core_of(p, u);
  if (near_one(b, single ? 2.5 : 2.0)) {
    return between<single ? 2 : 4>(b, [u](T c, T share) {
      const T v = u / (c * c);
      return share * (2 * log_square(v) - 4 * basis(v).h);
    });
  }
  const T v = u / (b * b);
  T lines;
  if (u > 2 * math::most(T(1), b * b)) {
    const T U1 = math::sqrt(u - 1), Ub = math::sqrt(u - b * b);
    lines = math::log(4 / u) * (1 - b) - 2 * b * math::log(b) + T(2 * kHalfPi) * (b * b - 1) / (U1 + Ub) -
            2 * U1 * math::atan(1 / U1) + 2 * Ub * math::atan(b / Ub);
  } else {
    lines = line(basis(u)) - b * line(basis(v));
  }
  return (b * b * log_square(v) + (1 - 2 * b) * log_square(u) + 2 * b * lines) / ((1 - b) * (1 - b));
}

// [F(v) - F(b^2 / Y)] / u, v = (u + b^2) / (u + Y), by the addition theorem, and the same over Y - b^2; b^2 >= Y / 2.
template <class T>
struct Phi {
  T value, over;
};
template <class T>
LENSKERN_INLINE Phi<T> tnfwc_phi(T u, T b, T Y, const Basis<T>& one) {
  const T R = math::sqrt(u + Y), R0 = math::sqrt(Y), d = 1 / (R + R0), low = R0 * d * u + b * b;
  const T step = d * u / low, ratio = b / low;
  const Basis<T> two = basis((u + b * b) * ratio * ratio);
  return {d * (one.F / R - R0 * two.F / low),
          d * (one.B / (R * R * R) - 1 / (R * low) - R0 * step * step * two.B / low)};
}
// That plus ln(1 + u / b^2) / 2 u, for b^2 < Y / 2.
template <class T>
LENSKERN_INLINE T tnfwc_w(T u, T b, T Y, const Basis<T>& one) {
  const T R = math::sqrt(u + Y), R0 = math::sqrt(Y), d = 1 / (R + R0), Q = math::sqrt(Y - b * b);
  const T logs = R0 * math::log1p(d * u / (R0 + Q)) - b * b / (2 * (R0 + Q)) * math::log1p(u / (b * b));
  return d / R * one.F + logs / (u * Q);
}

template <class T>
LENSKERN_OUTLINE T tnfwc_mean(T u, T p, T tau) {
  constexpr bool single = kIsSingle<T>;
  const T b = core_of(p, u), square = tau * tau;
  const bool outside = u > math::most(T(1), square);
  if (near_one(tau, 4.0 / 3)) {
    return 4 * square * between<single ? 2 : 4>(square, [u, b, outside](T Y, T) {
      if (outside) {
        const T v = (u + b * b) / (u + Y);
        return (falling(b * b / Y) - Y / (u + Y) * falling(v)) / (2 * u * Y);
      }
      const Basis<T> one = basis((u + b * b) / (u + Y));
      T over;
      if (b * b < Y / 2) {
        over = (tnfwc_w(u, b, Y, one) - math::log1p(u / (b * b)) / (2 * u)) / (Y - b * b);
      } else {
        over = tnfwc_phi(u, b, Y, one).over;
      }
      return (one.F / (u + Y) + b * b * over) / (2 * Y);
    });
  }
  const bool compact1 = b * b < T(0.5), compact2 = b * b < square / 2;
  if (outside) {
    const T change = between<single ? 2 : 4>((u + square) / (u + 1), [u, b](T c, T) {
      const T y = c * (u + 1);
      return falling((u + b * b) / y) / (2 * y);
    });
    const Basis<T> one = basis(b * b), two = basis(b * b / square);
    const T gap = compact1 && compact2 ? math::log(tau) + two.h - one.h : two.F - one.F;
    return 4 * square * ((gap / (square - 1) - change) / u);
  }
  const Basis<T> one = basis((u + b * b) / (u + 1)), two = basis((u + b * b) / (u + square));
  const T log = compact1 || compact2 ? math::log1p(u / (b * b)) / (2 * u) : T(0);
  const T w1 = compact1 ? tnfwc_w(u, b, T(1), one) : tnfwc_phi(u, b, T(1), one).value + log;
  const T w2 = compact2 ? tnfwc_w(u, b, square, two) : tnfwc_phi(u, b, square, two).value + log;
  return 4 * square * (w1 - w2) / (square - 1);
}

template <class T>
LENSKERN_OUTLINE T tnfwc_local(T u, T p, T tau) {
  const T b = core_of(p, u), square = tau * tau, ratio = (u + square) / (u + 1);
  if (near_one(ratio, 2)) {
    return square * between<kIsSingle<T> ? 2 : 4>(ratio, [u, b](T c, T) {
      const T y = c * (u + 1), v = (u + b * b) / y;
      const Basis<T> at = basis(v);
      const T slope = v > T(2) ? (1 + (v - 2) * at.F) / (v - 1) : 1 + (2 - v) * at.B;
      return slope / (y * y);
    });
  }
  const Basis<T> one = basis((u + b * b) / (u + 1)), two = basis((u + b * b) / (u + square));
  return 2 * square * (one.F / (u + 1) - two.F / (u + square)) / (square - 1);
}

// Gauss and Legendre in asinh(x / scale), scale the smallest of b, tau and 1: 16 panels of 8 nodes.
template <class T>
LENSKERN_OUTLINE T tnfwc_potential(T u, T p, T tau) {
  using R = typename RealOf<T>::type;
  const T root = math::sqrt(u);
  const T scale = math::most(math::least(math::least(p, tau), T(1)), T(1e-5) * math::least(root, T(1)));
  const T width = math::asinh(root / scale) / 16;
  T total = 0;
  for (int panel = 0; panel < 16; ++panel) {
    for (int i = 0; i < 8; ++i) {
      const double z = i < 4 ? -gauss_node(4, i) : gauss_node(4, i - 4);
      const T y = width * T(static_cast<R>(panel + (1 + z) / 2)), s = math::sinh(y), x = scale * s;
      total = total + T(static_cast<R>(gauss_weight(4, i & 3))) * s * math::cosh(y) *
                          tnfwc_mean(math::most(x * x, least_u<T>() / 100), p, tau);
    }
  }
  return total * width / 2 * scale * scale;
}

template <class T>
LENSKERN_OUTLINE T dpie_mean(T u, T p) {
  const T inner = math::sqrt(p * p + u), outer = math::sqrt(1 + u);
  return (1 - p) * (1 + (1 + p) / (inner + outer)) / ((inner + p) * (outer + 1));
}
template <class T>
LENSKERN_OUTLINE T dpie_local(T u, T p) {
  const T inner = math::sqrt(p * p + u), outer = math::sqrt(1 + u);
  return (1 - p) * (1 + p) / (2 * (inner + outer) * inner * outer);
}
template <class T>
LENSKERN_OUTLINE T dpie_potential(T u, T p) {
  const T core = core_of(p, u), inner = math::sqrt(core * core + u), outer = math::sqrt(1 + u);
  const T first = u / (inner + core), second = u / (outer + 1);
  const T ratio = u * (1 - core) * (1 + core) / ((inner + core * outer) * (outer + 1));
  const T linear = (first + second) / (inner + outer) + math::log1p(second / 2);
  return (1 - core) * linear - core * math::log1p(ratio / core);
}

// Mean convergence within R over the amplitude.
template <class T>
LENSKERN_INLINE T mean_convergence(int profile, T u, T p, T q) {
  u = math::most(u, least_u<T>());
  switch (profile) {
    case kProfileNfw: return 4 * mean(u);
    case kProfileTnfw: return tnfw_mean(u, p);
    case kProfileCnfw: return cnfw_mean(u, p);
    case kProfileTnfwc: return tnfwc_mean(u, p, q);
    case kProfileDpie: return dpie_mean(u, p);
    case kProfilePoint: return 1 / (u + p * p);
    case kProfileSis: return 1 / math::sqrt(u);
    default: return T(1);
  }
}

// Convergence at R over the amplitude.
template <class T>
LENSKERN_INLINE T convergence(int profile, T u, T p, T q) {
  u = math::most(u, least_u<T>());
  switch (profile) {
    case kProfileNfw: return 2 * basis(u).B;
    case kProfileTnfw: return tnfw_local(u, p);
    case kProfileCnfw: return cnfw_local(u, p);
    case kProfileTnfwc: return tnfwc_local(u, p, q);
    case kProfileDpie: return dpie_local(u, p);
    case kProfilePoint: {
      const T root = p / (u + p * p);
      return root * root;
    }
    case kProfileSis: return 1 / (2 * math::sqrt(u));
    default: return T(1);
  }
}

// Potential over amplitude and scale squared; zero at the centre, but for the point mass.
template <class T>
LENSKERN_INLINE T potential(int profile, T u, T p, T q) {
  u = math::most(u, least_u<T>());
  switch (profile) {
    case kProfileNfw: return log_square(u);
    case kProfileTnfw: return tnfw_potential(u, p);
    case kProfileCnfw: return cnfw_potential(u, p);
    case kProfileTnfwc: return tnfwc_potential(u, p, q);
    case kProfileDpie: return dpie_potential(u, p);
    case kProfilePoint: return math::log(u + p * p) / 2;
    case kProfileSis: return math::sqrt(u);
    default: return u / 2;
  }
}

}  // namespace deflect
#if defined(LENSKERN_ISA)
}  // namespace lenskern::LENSKERN_ISA
#else
}  // namespace lenskern
#endif
