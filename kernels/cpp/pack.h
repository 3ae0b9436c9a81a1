// A vector of numbers for the mathematics headers, which are written for one: arithmetic and elementary functions act
// on all lanes, and a branch goes the way of the first lane.
//
// Include it before them, so that they find these functions in `math`.
#pragma once

#include <cstdint>

#include "lenskern/dual.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {

// Lanes of 64-bit integers.
typedef int64_t Index __attribute__((vector_size(kVectorBytes), may_alias));

struct Pack {
  using V = Vector<double>;
  static constexpr int kWidth = Simd<double>::width;
  V v;

  Pack(double value = 0) : v(V{} + value) {}
  Pack(V value) : v(value) {}

  friend Pack operator-(Pack a) { return -a.v; }
  friend Pack operator+(Pack a, Pack b) { return a.v + b.v; }
  friend Pack operator-(Pack a, Pack b) { return a.v - b.v; }
  friend Pack operator*(Pack a, Pack b) { return a.v * b.v; }
  friend Pack operator/(Pack a, Pack b) { return a.v / b.v; }
  friend bool operator<(Pack a, Pack b) { return first(a.v < b.v); }
  friend bool operator>(Pack a, Pack b) { return first(a.v > b.v); }

  // Lanes that would have gone another way than the first one.
  static Index& strayed() {
    static thread_local Index lanes __attribute__((tls_model("initial-exec")));
    return lanes;
  }

 private:
  static bool first(Index taken) {
    strayed() |= taken ^ (Index{} + taken[0]);
    return taken[0] != 0;
  }
};

// values[j] of function(v, values) for all lanes: once more for lanes that strayed.
template <int kValues, class Function>
inline void for_all_lanes(Vector<double> v, const Function& function, Vector<double> (&values)[kValues]) {
  Index left = ~Index{};
  for (int j = 0; j < kValues; ++j) values[j] = Vector<double>{};
  for (int leader = 0; leader < Pack::kWidth; ++leader) {
    if (left[leader] == 0) continue;
    Pack results[kValues];
    Pack::strayed() = Index{};
    // Lanes that are done go where the leader goes.
    function(Pack(left ? v : Vector<double>{} + v[leader]), results);
    const Index now = left & ~Pack::strayed();
    for (int j = 0; j < kValues; ++j) values[j] = now ? results[j].v : values[j];
    left &= ~now;
  }
}

namespace math {

LENSKERN_INLINE Pack most(Pack a, Pack b) { return a.v < b.v ? b.v : a.v; }
LENSKERN_INLINE Pack least(Pack a, Pack b) { return b.v < a.v ? b.v : a.v; }

template <class Function>
LENSKERN_INLINE Pack each(Pack x, Function function) {
  for (int k = 0; k < Pack::kWidth; ++k) x.v[k] = function(x.v[k]);
  return x;
}
LENSKERN_INLINE Pack sinh(Pack x) {
  return each(x, [](double a) { return ::sinh(a); });
}
LENSKERN_INLINE Pack cosh(Pack x) {
  return each(x, [](double a) { return ::cosh(a); });
}
LENSKERN_INLINE Pack asinh(Pack x) {
  return each(x, [](double a) { return ::asinh(a); });
}

LENSKERN_INLINE bool any(Index lanes) {
  int64_t all = 0;
  for (int k = 0; k < Pack::kWidth; ++k) all |= lanes[k];
  return all != 0;
}

LENSKERN_INLINE Pack sqrt(Pack x) {
#if defined(__AVX512F__)
  return Pack::V(_mm512_maskz_sqrt_pd(0xff, __m512d(x.v)));
#else
  return each(x, [](double a) { return ::sqrt(a); });  // one instruction; compilers make it one for all lanes
#endif
}

// x = 2^e (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), and with s = f / (2 + f)
//   ln(1 + f) = 2 artanh(s) = f - f^2 / 2 + s (f^2 / 2 + 2 s^2 (1/3 + s^2 / 5 + ...)).
// `correction` is a small number to be added.
LENSKERN_INLINE Pack log_with(Pack x, Pack correction) {
  using V = Pack::V;
  constexpr int64_t root_half = 0x3fe6a09e667f3bcd;
  const Index bits = reinterpret_cast<const Index&>(x.v), e = (bits - root_half) >> 52;
  const Index reduced = bits - (e << 52);
  const V f = reinterpret_cast<const V&>(reduced) - 1, s = f / (2 + f), s2 = s * s, half = 0.5 * f * f;
  V series = V{} + 2.0 / 23;
  for (int n = 21; n >= 3; n -= 2) series = series * s2 + 2.0 / n;
  const V exponent = __builtin_convertvector(e, V);
  constexpr double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;
  return exponent * ln2_high - (half - (s * (half + series * s2) + (exponent * ln2_low + correction.v)) - f);
}
LENSKERN_INLINE bool is_ordinary(Pack x) { return !any(~((x.v > 1e-300) & (x.v < 1e300))); }
LENSKERN_INLINE Pack log(Pack x) {
  return is_ordinary(x) ? log_with(x, 0.0) : each(x, [](double a) { return ::log(a); });
}
LENSKERN_INLINE Pack log1p(Pack x) {
  const Pack sum = 1 + x;
  if (!is_ordinary(sum)) return each(x, [](double a) { return ::log1p(a); });
  // The larger of 1 and x comes first in what is exact.
  const Pack low = x.v > 1 ? 1 - (sum.v - x.v) : x.v - (sum.v - 1);
  return log_with(sum, low / sum);
}

// By atan(x) = a + atan((x - tan a) / (1 + x tan a)), a = 0, pi/4 or pi/2, to |t| < tan(pi/8); there the interpolant of
// (atan(t) / t - 1) / t^2 at Chebyshev points of t^2, good to 7e-18.
LENSKERN_INLINE Pack atan(Pack x) {
  using V = Pack::V;
  constexpr double kTan = 0.41421356237309503;
  constexpr double c[] = {-0.3333333333333333,  0.1999999999999552,  -0.14285714284666542, 0.11111111015256361,
                          -0.09090904578123901, 0.07692183190826087, -0.06664511447381939, 0.058581489128021295,
                          -0.05085449737939841, 0.03923165829557509, -0.019176887119047435};
  const V size = x.v < 0 ? -x.v : x.v;
  const Index middle = size > kTan, large = size > 1 / kTan;
  const V top = large ? V{} - 1 : middle ? size - 1 : size, bottom = large ? size : middle ? size + 1 : V{} + 1;
  const V t = top / bottom, t2 = t * t;
  V series = V{} + c[10];
  for (int n = 9; n >= 0; --n) series = series * t2 + c[n];
  const V high = large ? V{} + 1.5707963267948966 : middle ? V{} + 0.7853981633974483 : V{};
  const V low = large ? V{} + 6.123233995736766e-17 : middle ? V{} + 3.061616997868383e-17 : V{};
  const V result = high + (t + (t * (t2 * series) + low));
  return x.v < 0 ? -result : result;
}

}  // namespace math

// For Dual<Pack>.
using math::asinh;
using math::atan;
using math::cosh;
using math::log;
using math::log1p;
using math::sinh;
using math::sqrt;

}  // namespace lenskern::LENSKERN_ISA
