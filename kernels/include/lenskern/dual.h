// A number and its derivative along one direction, and the elementary functions of the mathematics headers for it and
// for float and double, on host and device.
#pragma once

#include <math.h>

#include <type_traits>

#if defined(__CUDACC__)
#define LENSKERN_INLINE static inline __host__ __device__
#define LENSKERN_MEMBER inline __host__ __device__
#define LENSKERN_OUTLINE static __noinline__ __host__ __device__  // one copy for all kernels, which compile sooner
#else
#define LENSKERN_INLINE static inline  // internal linkage: this header is compiled for several instruction sets
#define LENSKERN_MEMBER inline
#define LENSKERN_OUTLINE LENSKERN_INLINE
#endif

#if defined(LENSKERN_ISA)
namespace lenskern::LENSKERN_ISA {
#else
namespace lenskern {
#endif

template <class R>
struct Dual {
  R v, d;
  LENSKERN_MEMBER Dual(R value = 0, R derivative = 0) : v(value), d(derivative) {}
  template <class N, std::enable_if_t<std::is_arithmetic_v<N>, int> = 0>
  LENSKERN_MEMBER Dual(N value) : v(static_cast<R>(value)), d(0) {}

  friend LENSKERN_MEMBER Dual operator-(Dual a) { return {-a.v, -a.d}; }
  friend LENSKERN_MEMBER Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
  friend LENSKERN_MEMBER Dual operator-(Dual a, Dual b) { return {a.v - b.v, a.d - b.d}; }
  friend LENSKERN_MEMBER Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
  friend LENSKERN_MEMBER Dual operator/(Dual a, Dual b) {
    const R ratio = a.v / b.v;
    return {ratio, (a.d - ratio * b.d) / b.v};
  }
  friend LENSKERN_MEMBER bool operator<(Dual a, Dual b) { return a.v < b.v; }
  friend LENSKERN_MEMBER bool operator>(Dual a, Dual b) { return a.v > b.v; }
};

// The arithmetic below a scalar.
template <class T>
struct RealOf {
  using type = T;
};
template <class R>
struct RealOf<Dual<R>> {
  using type = R;
};

namespace math {

// The C functions: those of std are inline, and the linker would keep one instruction set's copy.
LENSKERN_INLINE double sqrt(double x) { return ::sqrt(x); }
LENSKERN_INLINE double log(double x) { return ::log(x); }
LENSKERN_INLINE double exp(double x) { return ::exp(x); }
LENSKERN_INLINE double log1p(double x) { return ::log1p(x); }
LENSKERN_INLINE double atan(double x) { return ::atan(x); }
LENSKERN_INLINE double sinh(double x) { return ::sinh(x); }
LENSKERN_INLINE double cosh(double x) { return ::cosh(x); }
LENSKERN_INLINE double asinh(double x) { return ::asinh(x); }
LENSKERN_INLINE float sqrt(float x) { return ::sqrtf(x); }
LENSKERN_INLINE float log(float x) { return ::logf(x); }
LENSKERN_INLINE float exp(float x) { return ::expf(x); }
LENSKERN_INLINE float log1p(float x) { return ::log1pf(x); }
LENSKERN_INLINE float atan(float x) { return ::atanf(x); }
LENSKERN_INLINE float sinh(float x) { return ::sinhf(x); }
LENSKERN_INLINE float cosh(float x) { return ::coshf(x); }
LENSKERN_INLINE float asinh(float x) { return ::asinhf(x); }

template <class R>
LENSKERN_INLINE Dual<R> sqrt(Dual<R> x) {
  const R root = sqrt(x.v);
  return {root, x.d / (2 * root)};
}
template <class R>
LENSKERN_INLINE Dual<R> log(Dual<R> x) {
  return {log(x.v), x.d / x.v};
}
template <class R>
LENSKERN_INLINE Dual<R> log1p(Dual<R> x) {
  return {log1p(x.v), x.d / (1 + x.v)};
}
template <class R>
LENSKERN_INLINE Dual<R> atan(Dual<R> x) {
  return {atan(x.v), x.d / (1 + x.v * x.v)};
}
template <class R>
LENSKERN_INLINE Dual<R> sinh(Dual<R> x) {
  return {sinh(x.v), x.d * cosh(x.v)};
}
template <class R>
LENSKERN_INLINE Dual<R> cosh(Dual<R> x) {
  return {cosh(x.v), x.d * sinh(x.v)};
}
template <class R>
LENSKERN_INLINE Dual<R> asinh(Dual<R> x) {
  return {asinh(x.v), x.d / sqrt(1 + x.v * x.v)};
}

template <class T>
LENSKERN_INLINE T most(T a, T b) {
  return a < b ? b : a;
}
template <class T>
LENSKERN_INLINE T least(T a, T b) {
  return b < a ? b : a;
}

}  // namespace math

#if defined(LENSKERN_ISA)
}  // namespace lenskern::LENSKERN_ISA
#else
}  // namespace lenskern
#endif
