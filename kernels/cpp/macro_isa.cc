#include <cstring>

#include "macro.h"
#include "macro_series.h"

namespace lenskern::LENSKERN_ISA {
namespace macro {
namespace {

// Rays that a thread takes at a time.
constexpr int64_t kPiece = 32 * kTile;

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

using lenskern::macro::kSmallest;

// One tile of rays.
struct Rays {
  Tile z, d, w;
  alignas(kVectorBytes) double v[kTile];

  Ray operator[](int i) const { return {z[i], d[i], w[i], v[i]}; }
};

template <class D>
void place(const PowerLaw& lens, const D* grid, Rays& rays) {
  for (int i = 0; i < kTile; ++i) {
    const Ray ray = ray_of(lens, kSmallest<D>, grid[2 * i], grid[2 * i + 1]);
    rays.z.set(i, ray.z);
    rays.d.set(i, ray.d);
    rays.w.set(i, ray.w);
    rays.v[i] = ray.v;
  }
}

template <class D>
void deflection_tile(const PowerLaw& lens, const Series& series, const D* grid, D* out) {
  Rays rays;
  Tile S;
  place(lens, grid, rays);
  angular(series, rays.w, S);
  for (int i = 0; i < kTile; ++i) rays.v[i] = lens.strength * power(rays.v[i], -series.b);
  for (int i = 0; i < kTile; ++i) {
    const Complex alpha = rays.v[i] * (rays.d[i] * S[i]);
    out[2 * i] = static_cast<D>(alpha.im);
    out[2 * i + 1] = static_cast<D>(alpha.re);
  }
}

// The derivatives of one tile.
struct TileDerivatives {
  alignas(kVectorBytes) double kappa[kTile];
  Tile gamma, unit, e, conjugate, t;

  Derivatives operator[](int i) const { return {kappa[i], gamma[i], unit[i], e[i], conjugate[i], t[i]}; }
};

template <class D>
void differentiate_tile(const PowerLaw& lens, const Series& series, const D* grid, TileDerivatives& out) {
  Rays rays;
  Tile S, by_w, by_b;
  place(lens, grid, rays);
  angular_partials(series, rays.w, S, by_w, by_b);
  alignas(kVectorBytes) double unit[kTile], log_v[kTile];
  for (int i = 0; i < kTile; ++i) {
    const Logarithm log = logarithm(rays.v[i]);
    log_v[i] = log.value();
    unit[i] = power(log, -series.b);
  }
  for (int i = 0; i < kTile; ++i) {
    const Derivatives by = differentiate(lens, kSmallest<D>, rays[i], unit[i], log_v[i], S[i], by_w[i], by_b[i]);
    out.kappa[i] = by.kappa;
    out.gamma.set(i, by.gamma);
    out.unit.set(i, by.unit);
    out.e.set(i, by.e);
    out.conjugate.set(i, by.conjugate);
    out.t.set(i, by.t);
  }
}

template <class D>
void tangent_tile(const PowerLaw& lens, const Series& series, const D* grid, const D* dgrid, const PowerLaw& direction,
                  D* out) {
  TileDerivatives by;
  differentiate_tile(lens, series, grid, by);
  for (int i = 0; i < kTile; ++i) {
    const Complex change = along(by[i], direction, dgrid[2 * i], dgrid[2 * i + 1]);
    out[2 * i] = static_cast<D>(change.im);
    out[2 * i + 1] = static_cast<D>(change.re);
  }
}

// Sums over rays of the cotangents of the parameters, one for each place in a tile.
struct Sums {
  alignas(kVectorBytes) double centre_y[kTile], centre_x[kTile], ell_y[kTile], ell_x[kTile], strength[kTile];
  alignas(kVectorBytes) double slope[kTile];
};

template <class D>
void adjoint_tile(const PowerLaw& lens, const Series& series, const D* grid, const D* cotangent, D* dgrid, Sums& sums) {
  TileDerivatives by;
  differentiate_tile(lens, series, grid, by);
  for (int i = 0; i < kTile; ++i) {
    const PowerLaw part = transposed(by[i], cotangent[2 * i], cotangent[2 * i + 1]);
    dgrid[2 * i] = static_cast<D>(-part.centre_y);
    dgrid[2 * i + 1] = static_cast<D>(-part.centre_x);
    sums.centre_y[i] += part.centre_y;
    sums.centre_x[i] += part.centre_x;
    sums.ell_x[i] += part.ell_x;
    sums.ell_y[i] += part.ell_y;
    sums.strength[i] += part.strength;
    sums.slope[i] += part.slope;
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

template <class D>
void deflection(const PowerLaw& lens, int64_t n, const D* grid, D* out, Crew::Worker& worker) {
  const Series series(lens, false);
  const D* const in[] = {grid};
  worker.parallel_for(pieces(n), [&](int piece) {
    for_each_tile(piece * kPiece, piece_end(piece, n), in, out,
                  [&](const D* const* from, D* to) { deflection_tile(lens, series, from[0], to); });
  });
}

template <class D>
void tangent(const PowerLaw& lens, int64_t n, const D* grid, const D* dgrid, const PowerLaw& direction, D* out,
             Crew::Worker& worker) {
  const Series series(lens, true);
  const D* const in[] = {grid, dgrid};
  worker.parallel_for(pieces(n), [&](int piece) {
    for_each_tile(piece * kPiece, piece_end(piece, n), in, out, [&](const D* const* from, D* to) {
      tangent_tile(lens, series, from[0], from[1], direction, to);
    });
  });
}

double total(const double* values) {
  double sum = 0;
  for (int i = 0; i < kTile; ++i) sum += values[i];
  return sum;
}

template <class D>
PowerLaw adjoint(const PowerLaw& lens, int64_t n, const D* grid, const D* cotangent, D* dgrid, Crew::Worker& worker) {
  const Series series(lens, true);
  const D* const in[] = {grid, cotangent};
  // Pieces go to shares in order, and shares are summed in order: the result is the same for any number of threads.
  constexpr int kShares = 64;
  PowerLaw shares[kShares] = {};
  const int64_t count = pieces(n), each = (count + kShares - 1) / kShares;
  worker.parallel_for(kShares, [&](int share) {
    const int64_t start = share * each * kPiece, next = start + each * kPiece, end = next < n ? next : n;
    if (start >= end) return;
    Sums sums{};
    for_each_tile(start, end, in, dgrid,
                  [&](const D* const* from, D* to) { adjoint_tile(lens, series, from[0], from[1], to, sums); });
    shares[share] = {total(sums.centre_y), total(sums.centre_x), total(sums.ell_y),
                     total(sums.ell_x),    total(sums.strength), total(sums.slope)};
  });
  PowerLaw sum{};
  for (const PowerLaw& share : shares) sum = sum + share;
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
