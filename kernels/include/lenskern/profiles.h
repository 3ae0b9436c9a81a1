// Stand-in: NFW, truncated NFW, point mass, isothermal sphere and sheet.
#pragma once

#include <cmath>

#if defined(LENSKERN_ISA)
namespace lenskern::LENSKERN_ISA::deflect {
#else
namespace lenskern::deflect {
#endif

template <class T>
static inline T nfw_F(T x, T q) {
  if (x < T(0.8)) {
    const T w = std::sqrt((1 - x) * (1 + x));
    return std::log((1 + w) / x) / w;
  }
  if (x < T(1.25)) {
    const T s = (1 - x) / (1 + x);
    T A = 0;
    for (int j = 16; j >= 0; --j) A = A * s + T(1) / (2 * j + 1);
    return (1 + s) * A;
  }
  const T w = std::sqrt((x - 1) * (x + 1));
  return std::atan(w) / w;
}
template <class T>
static inline T nfw_h(T x) {
  const T L = std::log(2 / x);
  if (x < T(0.8)) {
    const T w = std::sqrt((1 - x) * (1 + x)), q = x * x / (1 + w);
    return (q * L + std::log1p(-q / 2)) / w;
  }
  return nfw_F(x, x) - L;
}
template <class T>
static inline T nfw_k(T x) {
  if (x > T(0.8) && x < T(1.25)) {
    const T s = (1 - x) / (1 + x);
    T A = 0;
    for (int j = 17; j >= 1; --j) A = A * s + T(j) / (4 * j * j - 1);
    return (1 + s) * (1 + s) * A;
  }
  return (1 - nfw_F(x, x)) / (x * x - 1);
}
template <class T>
static inline T mean_convergence(int profile, T u, T p, T q) {
  const T x = std::sqrt(u);
  switch (profile) {
    case 0: return 4 * nfw_h(x) / u;
    case 1: {
      const T t = p, r = std::sqrt(t * t + u), L = -std::asinh(t / x), P = t * t / ((t * t + 1) * (t * t + 1));
      if (x < T(1.25)) {
        const T d = u / (r + t);
        return 4 * P * ((t * t - 1) * (nfw_h(x) - std::log1p(d / (2 * t)) + d / t * L) + 2 * u * nfw_F(x, x) - T(M_PI) * d) / u;
      }
      const T w = std::sqrt(u - 1);
      return 4 * P *
             (T(M_PI) * (t * t + 1) * (t * t + 1) / (2 * w * (r + w) * (r + w)) - (w * w + r * r) * std::asin(1 / x) / w + T(M_PI) * t +
              (t * t - 1) * (std::log(t) + r / t * L)) /
             u;
    }
    case 5: return 1 / (u + p * p);
    case 6: return 1 / x;
    default: return 1;
  }
}
template <class T>
static inline T convergence(int profile, T u, T p, T q) {
  const T x = std::sqrt(u);
  switch (profile) {
    case 0: return 2 * nfw_k(x);
    case 1: {
      const T t = p, r = std::sqrt(t * t + u), L = -std::asinh(t / x), P = t * t / ((t * t + 1) * (t * t + 1));
      return 2 * P * ((t * t + 1) * nfw_k(x) + 2 * nfw_F(x, x) - T(M_PI) / r + (t * t - 1) / (t * r) * L);
    }
    case 5: return p * p / ((u + p * p) * (u + p * p));
    case 6: return 1 / (2 * x);
    default: return 1;
  }
}
template <class T>
static inline T potential(int profile, T u, T p, T q) {
  return u / 2;
}
}  // namespace
