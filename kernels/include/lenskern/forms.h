// The functions that all halo profiles are made of, as python/lenskern/deflect/forms.py, which derives them.
//
// For v > 0 and t = 1 - v: F(v) = artanh(sqrt t) / sqrt t, analytic through v = 1; L = ln(2 / sqrt v), B = (F - 1) / t,
// C = (B - 1/3) / t, h = F - L, H = h / v.
#pragma once

#include "lenskern/dual.h"

#if defined(LENSKERN_ISA)
namespace lenskern::LENSKERN_ISA {
#else
namespace lenskern {
#endif
namespace deflect {

constexpr double kHalfPi = 1.57079632679489661923;

template <class T>
constexpr bool kIsSingle = sizeof(typename RealOf<T>::type) == sizeof(float);

// L, w = sqrt(1 - v), y = v / (1 + w) and l = ln(1 - y / 2) for v <= 1/2; then w F = L + l and w + y = 1.
template <class T>
struct Small {
  T L, w, y, l, ratio;  // the last is l / v
};
template <class T>
LENSKERN_INLINE Small<T> small_pieces(T v) {
  const T w = math::sqrt(1 - v), y = v / (1 + w), l = math::log1p(-y / 2);
  // at the least v the derivative of the division would overflow
  const T ratio = v < T(kIsSingle<T> ? 1e-10 : 2e-19) ? T(-0.25) : l / v;
  return {math::log(v / 4) / -2, w, y, l, ratio};
}

// C for 1/2 <= v <= 2: the duplication theorem twice, then a series in |t| < 0.048.
template <class T>
LENSKERN_INLINE T series_c(T v) {
  constexpr int terms = kIsSingle<T> ? 6 : 12;
  const T root = math::sqrt(v), c1 = 2 / (1 + root), t1 = (1 - v) * c1 * c1 / 4;
  const T c2 = 2 / (1 + math::sqrt(c1 * root)), t2 = t1 * c2 * c2 / 4;
  T total = T(1) / T(2 * terms + 5);
  for (int j = terms - 1; j >= 0; --j) total = total * t2 + T(typename RealOf<T>::type(1) / (2 * j + 5));
  for (int i = 0; i < 2; ++i) {
    const T c = i == 0 ? c2 : c1;
    total = c * c / 4 * ((c + 2) * (c + 2) / 12 + c * c * c / 4 * total);
  }
  return total;
}

template <class T>
struct Basis {
  T v, t, L, F, B, h;
};
template <class T>
LENSKERN_INLINE Basis<T> basis(T v) {
  Basis<T> at;
  at.v = v;
  at.t = 1 - v;
  if (v < T(0.5)) {
    const Small<T> s = small_pieces(v);
    at.L = s.L;
    at.h = (s.y * s.L + s.l) / s.w;
    at.F = at.L + at.h;
    at.B = (at.F - 1) / at.t;
    return at;
  }
  at.L = math::log(v / 4) / -2;
  if (v > T(2)) {
    const T U = math::sqrt(v - 1);
    at.F = math::atan(U) / U;
    at.B = (1 - at.F) / (v - 1);
  } else {
    at.B = T(1) / T(3) + at.t * series_c(v);
    at.F = 1 + at.t * at.B;
  }
  at.h = at.F - at.L;
  return at;
}

// (1 - 3 v B) / t.
template <class T>
LENSKERN_INLINE T curvature(T v) {
  if (v < T(0.5) || v > T(2)) return (1 - 3 * v * basis(v).B) / (1 - v);
  return 1 - 3 * v * series_c(v);
}

// 1 - v B.
template <class T>
LENSKERN_INLINE T falling(T v) {
  const Basis<T> at = basis(v);
  if (v > T(2)) return (v * at.F - 1) / (v - 1);
  return 1 - v * at.B;
}

// 2 H - B.
template <class T>
LENSKERN_INLINE T excess(T v) {
  if (v < T(0.5)) {
    const Small<T> s = small_pieces(v);
    return (s.L * (s.y - 2 * v) / (s.w * (1 + s.w)) + (2 - 3 * v) * s.ratio / s.w + 1) / (1 - v);
  }
  const Basis<T> at = basis(v);
  return 2 * at.h / v - at.B;
}

// H.
template <class T>
LENSKERN_INLINE T mean(T v) {
  if (v < T(0.5)) {
    const Small<T> s = small_pieces(v);
    return (s.L / (1 + s.w) + s.ratio) / s.w;
  }
  return basis(v).h / v;
}

// h, H - L / 2 and B - L for v <= 1/2.
template <class T>
struct Reduced {
  T h, H, B;
};
template <class T>
LENSKERN_INLINE Reduced<T> reduced(T v) {
  const Small<T> s = small_pieces(v);
  const T h = (s.y * s.L + s.l) / s.w;
  return {h, (s.L * s.y * (2 + s.w) / (2 * (1 + s.w)) + s.ratio) / s.w, (h - 1 + v * s.L) / (1 - v)};
}

// 2 (L^2 - t F^2), the integral of 2 h / v.
template <class T>
LENSKERN_INLINE T log_square(T v) {
  if (v < T(0.5)) {
    const Small<T> s = small_pieces(v);
    return -2 * s.l * (2 * s.L + s.l);
  }
  const Basis<T> at = basis(v);
  return 2 * (at.L * at.L - at.t * at.F * at.F);
}

// 2 (L - t F), the integral of F over v.
template <class T>
LENSKERN_INLINE T line(const Basis<T>& at) {
  if (at.v < T(0.5)) return 2 * (at.v * at.L - at.t * at.h);
  return 2 * (at.L - at.t * at.F);
}

// Positive nodes and their weights of Gauss and Legendre, `half` = 2 or 4 of them.
LENSKERN_INLINE double gauss_node(int half, int i) {
  const double z[6] = {0.33998104358485626, 0.8611363115940526,  //
                       0.18343464249564978, 0.525532409916329, 0.7966664774136267, 0.9602898564975362};
  return z[half - 2 + i];
}
LENSKERN_INLINE double gauss_weight(int half, int i) {
  const double w[6] = {0.6521451548625464,  0.34785484513745357,  //
                       0.36268378337836166, 0.3137066458778869, 0.22238103445337443, 0.10122853629037706};
  return w[half - 2 + i];
}

// Integral over c from a to 1 of function(c, (c - a) / (1 - a)) over 1 - a, for what is singular at c = 0 and infinity
// only.
template <int kHalf, class T, class Function>
LENSKERN_INLINE T between(T a, Function function) {
  using R = typename RealOf<T>::type;
  const T r = math::sqrt(a), e = (1 - r) / (1 + r);
  T total = 0;
#if defined(__CUDA_ARCH__)
#pragma unroll 1  // the function is large
#endif
  for (int i = 0; i < 2 * kHalf; ++i) {
    const int k = i < kHalf ? kHalf - 1 - i : i - kHalf;
    const R z = static_cast<R>(i < kHalf ? -gauss_node(kHalf, k) : gauss_node(kHalf, k));
    const T below = (1 - e * z) * (1 + r);
    const T weight = 2 * r * T(static_cast<R>(gauss_weight(kHalf, k))) / (below * below);
    total = total + weight * function(r * (1 + e * z) / (1 - e * z), r * (1 + z) / below);
  }
  return total;
}

}  // namespace deflect
#if defined(LENSKERN_ISA)
}  // namespace lenskern::LENSKERN_ISA
#else
}  // namespace lenskern
#endif
