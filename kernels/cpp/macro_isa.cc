#include <cstring>

#include "macro.h"
#include "macro_series.h"

namespace lenskern::LENSKERN_ISA {
namespace macro {
namespace {

// Rays that a thread takes at a time.
constexpr int64_t kPiece = 32 * kTile;

struct Complex {
  double re, im;
};
inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
inline Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
inline Complex operator*(double a, Complex b) { return {a * b.re, a * b.im}; }
inline Complex operator*(Complex a, double b) { return b * a; }

// Integers become doubles by the bits of 2^52 + 2^51, as AVX2 has no instruction for it.
constexpr double kRound = 6755399441055744.0, kLn2 = 0.6931471805599453;
constexpr uint64_t kBias = 1023;

// ln x = k ln 2 + rest.
struct Logarithm {
  double k, rest;
  double value() const { return k * kLn2 + rest; }
};

// For x > 0 that is not subnormal; anything for NaN.
inline Logarithm logarithm(double x) {
  // x = 2^k m with sqrt(1/2) <= m < sqrt(2), ln m = 2 artanh((m - 1) / (m + 1)).
  constexpr uint64_t kRootHalf = 0x3fe6a09e667f3bcd;
  uint64_t bits, integer;
  std::memcpy(&bits, &x, 8);
  const uint64_t exponent = (bits - kRootHalf + (kBias << 52)) >> 52;
  bits -= (exponent - kBias) << 52;
  std::memcpy(&integer, &kRound, 8);
  integer += exponent;
  double m, k;
  std::memcpy(&m, &bits, 8);
  std::memcpy(&k, &integer, 8);
  const double s = (m - 1) / (m + 1), v = s * s;
  double tail = 1.0 / 19;
  tail = tail * v + 1.0 / 17;
  tail = tail * v + 1.0 / 15;
  tail = tail * v + 1.0 / 13;
  tail = tail * v + 1.0 / 11;
  tail = tail * v + 1.0 / 9;
  tail = tail * v + 1.0 / 7;
  tail = tail * v + 1.0 / 5;
  tail = tail * v + 1.0 / 3;
  return {k - (kRound + kBias), 2 * s + 2 * s * (v * tail)};
}

// x^p, where it neither overflows nor is subnormal, to a few units in the last place times log2(x) p.
inline double power(Logarithm log, double p) {
  // 2^whole e^rest.
  const double shifted = p * (log.rest * (1 / kLn2) + log.k) + kRound, whole = shifted - kRound;
  const double rest = (p * log.k - whole) * kLn2 + p * log.rest;
  double e = 1.0 / 6227020800.0;
  e = e * rest + 1.0 / 479001600;
  e = e * rest + 1.0 / 39916800;
  e = e * rest + 1.0 / 3628800;
  e = e * rest + 1.0 / 362880;
  e = e * rest + 1.0 / 40320;
  e = e * rest + 1.0 / 5040;
  e = e * rest + 1.0 / 720;
  e = e * rest + 1.0 / 120;
  e = e * rest + 1.0 / 24;
  e = e * rest + 1.0 / 6;
  e = e * rest + 0.5;
  e = e * rest + 1;
  e = e * rest + 1;
  uint64_t scale;
  std::memcpy(&scale, &shifted, 8);
  scale = (scale + kBias) << 52;
  double two;
  std::memcpy(&two, &scale, 8);
  return two * e;
}
inline double power(double x, double p) { return power(logarithm(x), p); }

using Lens = lenskern::macro::PowerLaw;

// One tile of rays: zeta and D, |D|^2 clamped, and w.
struct Rays {
  Tile z, d, w;
  alignas(kVectorBytes) double v[kTile];
};

template <class D>
void place(const Lens& lens, double smallest, const D* grid, Rays& rays) {
  const double ey = lens.ell_y, ex = lens.ell_x;
  for (int i = 0; i < kTile; ++i) {
    const double y = grid[2 * i] - lens.centre_y, x = grid[2 * i + 1] - lens.centre_x;
    const double dr = x - (ex * x + ey * y), di = y + (ex * y - ey * x);
    const double square = dr * dr + di * di, v = square < smallest ? smallest : square, scale = 1 / v;
    const double cosine = (dr * dr - di * di) * scale, sine = 2 * dr * di * scale;
    rays.w.re[i] = -(ex * cosine + ey * sine);
    rays.w.im[i] = -(ex * sine - ey * cosine);
    rays.z.re[i] = x;
    rays.z.im[i] = y;
    rays.d.re[i] = dr;
    rays.d.im[i] = di;
    rays.v[i] = v;
  }
}

template <class D>
void deflection_tile(const Lens& lens, const Series& series, double smallest, const D* grid, D* out) {
  Rays rays;
  Tile S;
  place(lens, smallest, grid, rays);
  angular(series, rays.w, S);
  for (int i = 0; i < kTile; ++i) rays.v[i] = lens.strength * power(rays.v[i], -series.b);
  for (int i = 0; i < kTile; ++i) {
    out[2 * i] = static_cast<D>(rays.v[i] * (rays.d.re[i] * S.im[i] + rays.d.im[i] * S.re[i]));
    out[2 * i + 1] = static_cast<D>(rays.v[i] * (rays.d.re[i] * S.re[i] - rays.d.im[i] * S.im[i]));
  }
}

// dalpha = kappa dzeta + gamma dzeta* + unit dB + e depsilon + conjugate depsilon* + t dt, for one tile.
struct Derivatives {
  alignas(kVectorBytes) double kappa[kTile];
  Tile gamma, unit, e, conjugate, t;
};

template <class D>
void differentiate(const Lens& lens, const Series& series, double smallest, const D* grid, Derivatives& out) {
  Rays rays;
  Tile S, by_w, by_b;
  place(lens, smallest, grid, rays);
  angular_partials(series, rays.w, S, by_w, by_b);
  const double b = series.b, B = lens.strength;
  alignas(kVectorBytes) double unit[kTile], half_log[kTile], scale[kTile];
  for (int i = 0; i < kTile; ++i) {
    const double square = rays.z.re[i] * rays.z.re[i] + rays.z.im[i] * rays.z.im[i];
    scale[i] = 1 / (square < smallest ? smallest : square);
    const Logarithm log = logarithm(rays.v[i]);
    half_log[i] = 0.5 * log.value();
    unit[i] = power(log, -b);
  }
  // As in `tangent` of macro_reference.py.
  for (int i = 0; i < kTile; ++i) {
    using C = Complex;
    const C z{rays.z.re[i], rays.z.im[i]}, d{rays.d.re[i], rays.d.im[i]};
    const C s{S.re[i], S.im[i]}, sw{by_w.re[i], by_w.im[i]};
    const double G = B * unit[i], kappa = (1 - b) * G;
    const C ds = d * s, alpha = G * ds, T = C{rays.w.re[i], rays.w.im[i]} * sw;
    const C gamma = ((1 - 2 * b) * alpha - kappa * z) * z * scale[i];
    const C e = -G * (C{z.re, -z.im} * ((1 - b) * s + T));
    const C conjugate = (G / rays.v[i]) * (d * d * (z * (b * s + T) - d * sw));
    const C t = (0.5 * G) * (d * C{by_b.re[i], by_b.im[i]}) - half_log[i] * alpha;
    out.kappa[i] = kappa;
    out.gamma.re[i] = gamma.re, out.gamma.im[i] = gamma.im;
    out.unit.re[i] = unit[i] * ds.re, out.unit.im[i] = unit[i] * ds.im;
    out.e.re[i] = e.re, out.e.im[i] = e.im;
    out.conjugate.re[i] = conjugate.re, out.conjugate.im[i] = conjugate.im;
    out.t.re[i] = t.re, out.t.im[i] = t.im;
  }
}

template <class D>
void tangent_tile(const Lens& lens, const Series& series, double smallest, const D* grid, const D* dgrid,
                  const Lens& direction, D* out) {
  Derivatives by;
  differentiate(lens, series, smallest, grid, by);
  const double er = direction.ell_x, ei = direction.ell_y, B = direction.strength, t = direction.slope;
  for (int i = 0; i < kTile; ++i) {
    const double y = dgrid[2 * i] - direction.centre_y, x = dgrid[2 * i + 1] - direction.centre_x;
    const double real = (by.kappa[i] + by.gamma.re[i]) * x + by.gamma.im[i] * y + B * by.unit.re[i] + t * by.t.re[i] +
                        (by.e.re[i] + by.conjugate.re[i]) * er - (by.e.im[i] - by.conjugate.im[i]) * ei;
    const double imaginary = (by.kappa[i] - by.gamma.re[i]) * y + by.gamma.im[i] * x + B * by.unit.im[i] +
                             t * by.t.im[i] + (by.e.im[i] + by.conjugate.im[i]) * er +
                             (by.e.re[i] - by.conjugate.re[i]) * ei;
    out[2 * i] = static_cast<D>(imaginary);
    out[2 * i + 1] = static_cast<D>(real);
  }
}

// Sums over rays of the cotangents of the parameters, one for each place in a tile.
struct Sums {
  alignas(kVectorBytes) double centre_y[kTile], centre_x[kTile], ell_y[kTile], ell_x[kTile], strength[kTile];
  alignas(kVectorBytes) double slope[kTile];
};

template <class D>
void adjoint_tile(const Lens& lens, const Series& series, double smallest, const D* grid, const D* cotangent, D* dgrid,
                  Sums& sums) {
  Derivatives by;
  differentiate(lens, series, smallest, grid, by);
  for (int i = 0; i < kTile; ++i) {
    const double cy = cotangent[2 * i], cx = cotangent[2 * i + 1];
    const double x = (by.kappa[i] + by.gamma.re[i]) * cx + by.gamma.im[i] * cy;
    const double y = (by.kappa[i] - by.gamma.re[i]) * cy + by.gamma.im[i] * cx;
    dgrid[2 * i] = static_cast<D>(y);
    dgrid[2 * i + 1] = static_cast<D>(x);
    sums.centre_y[i] -= y;
    sums.centre_x[i] -= x;
    sums.ell_x[i] += (by.e.re[i] + by.conjugate.re[i]) * cx + (by.e.im[i] + by.conjugate.im[i]) * cy;
    sums.ell_y[i] += (by.e.re[i] - by.conjugate.re[i]) * cy - (by.e.im[i] - by.conjugate.im[i]) * cx;
    sums.strength[i] += by.unit.re[i] * cx + by.unit.im[i] * cy;
    sums.slope[i] += by.t.re[i] * cx + by.t.im[i] * cy;
  }
}

// Calls tile(from, to) for the whole tiles of rays [start, end), and a last one padded with zeros, of arrays (n, 2).
template <class D, int inputs, class F>
void for_each_tile(int64_t start, int64_t end, const D* const (&in)[inputs], D* out, const F& tile) {
  const D* from[inputs];
  for (; start + kTile <= end; start += kTile) {
    for (int k = 0; k < inputs; ++k) from[k] = in[k] + 2 * start;
    tile(from, out + 2 * start);
  }
  if (start == end) return;
  const size_t bytes = static_cast<size_t>(end - start) * 2 * sizeof(D);
  D padded[inputs][2 * kTile] = {}, last[2 * kTile];
  for (int k = 0; k < inputs; ++k) {
    std::memcpy(padded[k], in[k] + 2 * start, bytes);
    from[k] = padded[k];
  }
  tile(from, last);
  std::memcpy(out + 2 * start, last, bytes);
}

int64_t piece_end(int64_t piece, int64_t n) { return n < (piece + 1) * kPiece ? n : (piece + 1) * kPiece; }
int pieces(int64_t n) { return static_cast<int>((n + kPiece - 1) / kPiece); }

Series series_of(const Lens& lens, bool with_slopes) {
  return Series(lens.slope / 2, std::sqrt(lens.ell_y * lens.ell_y + lens.ell_x * lens.ell_x), with_slopes);
}

// As in macro_reference.py.
template <class D>
constexpr double kSmallest = sizeof(D) == 8 ? 1e-24 : 1e-16;

template <class D>
void deflection(const Lens& lens, int64_t n, const D* grid, D* out, Crew::Worker& worker) {
  const Series series = series_of(lens, false);
  const D* const in[] = {grid};
  worker.parallel_for(pieces(n), [&](int piece) {
    for_each_tile(piece * kPiece, piece_end(piece, n), in, out,
                  [&](const D* const* from, D* to) { deflection_tile(lens, series, kSmallest<D>, from[0], to); });
  });
}

template <class D>
void tangent(const Lens& lens, int64_t n, const D* grid, const D* dgrid, const Lens& direction, D* out,
             Crew::Worker& worker) {
  const Series series = series_of(lens, true);
  const D* const in[] = {grid, dgrid};
  worker.parallel_for(pieces(n), [&](int piece) {
    for_each_tile(piece * kPiece, piece_end(piece, n), in, out, [&](const D* const* from, D* to) {
      tangent_tile(lens, series, kSmallest<D>, from[0], from[1], direction, to);
    });
  });
}

double total(const double* values) {
  double sum = 0;
  for (int i = 0; i < kTile; ++i) sum += values[i];
  return sum;
}

template <class D>
Lens adjoint(const Lens& lens, int64_t n, const D* grid, const D* cotangent, D* dgrid, Crew::Worker& worker) {
  const Series series = series_of(lens, true);
  const D* const in[] = {grid, cotangent};
  // Pieces go to shares in order, and shares are summed in order: the result is the same for any number of threads.
  constexpr int kShares = 64;
  Lens shares[kShares] = {};
  const int64_t count = pieces(n), each = (count + kShares - 1) / kShares;
  worker.parallel_for(kShares, [&](int share) {
    const int64_t start = share * each * kPiece, next = start + each * kPiece, end = next < n ? next : n;
    if (start >= end) return;
    Sums sums{};
    for_each_tile(start, end, in, dgrid, [&](const D* const* from, D* to) {
      adjoint_tile(lens, series, kSmallest<D>, from[0], from[1], to, sums);
    });
    shares[share] = {total(sums.centre_y), total(sums.centre_x), total(sums.ell_y),
                     total(sums.ell_x),    total(sums.strength), total(sums.slope)};
  });
  Lens sum{};
  for (const Lens& share : shares) {
    sum.centre_y += share.centre_y;
    sum.centre_x += share.centre_x;
    sum.ell_y += share.ell_y;
    sum.ell_x += share.ell_x;
    sum.strength += share.strength;
    sum.slope += share.slope;
  }
  return sum;
}

}  // namespace
}  // namespace macro

template <class D>
MacroKernels<D> macro_kernels() {
  return {macro::deflection<D>, macro::tangent<D>, macro::adjoint<D>};
}
template MacroKernels<float> macro_kernels<float>();
template MacroKernels<double> macro_kernels<double>();

}  // namespace lenskern::LENSKERN_ISA
