#include <cstring>

#include "macro.h"
#include "macro_series.h"

namespace lenskern::LENSKERN_ISA {
namespace macro {
namespace {

// Rays that a thread takes at a time.
constexpr int64_t kPiece = 32 * kTile;

// x^p for x > 0 that is neither subnormal nor so large or small that the result overflows; NaN stays.
// The error is a few units in the last place times log2(x) p.
inline double power(double x, double p) {
  // x = 2^k m with sqrt(1/2) <= m < sqrt(2). Integers become doubles by the bits of 2^52 + 2^51, as AVX2 has no
  // instruction for it.
  constexpr uint64_t kRootHalf = 0x3fe6a09e667f3bcd, kBias = 1023;
  constexpr double kRound = 6755399441055744.0;
  uint64_t bits, integer;
  std::memcpy(&bits, &x, 8);
  const uint64_t exponent = (bits - kRootHalf + (kBias << 52)) >> 52;
  bits -= (exponent - kBias) << 52;
  std::memcpy(&integer, &kRound, 8);
  integer += exponent;
  double m, k;
  std::memcpy(&m, &bits, 8);
  std::memcpy(&k, &integer, 8);
  k -= kRound + kBias;
  const double s = (m - 1) / (m + 1), v = s * s;
  double log = 1.0 / 19;
  log = log * v + 1.0 / 17;
  log = log * v + 1.0 / 15;
  log = log * v + 1.0 / 13;
  log = log * v + 1.0 / 11;
  log = log * v + 1.0 / 9;
  log = log * v + 1.0 / 7;
  log = log * v + 1.0 / 5;
  log = log * v + 1.0 / 3;
  log = 2 * s + 2 * s * (v * log);
  // x^p = 2^whole e^rest.
  const double power = p * (log * 1.4426950408889634 + k);
  const double shifted = power + kRound, whole = shifted - kRound;
  const double rest = (p * k - whole) * 0.6931471805599453 + p * log;
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

template <class D>
void deflection_tile(const lenskern::macro::PowerLaw& lens, const Series& series, double smallest, const D* grid,
                     D* out) {
  const double ey = lens.ell_y, ex = lens.ell_x, p = -series.b;
  alignas(kVectorBytes) double G[kTile];
  Tile d, w, S;
  for (int i = 0; i < kTile; ++i) {
    const double y = grid[2 * i] - lens.centre_y, x = grid[2 * i + 1] - lens.centre_x;
    const double dr = x - (ex * x + ey * y), di = y + (ex * y - ey * x);
    const double square = dr * dr + di * di, v = square < smallest ? smallest : square, scale = 1 / v;
    const double cosine = (dr * dr - di * di) * scale, sine = 2 * dr * di * scale;
    w.re[i] = -(ex * cosine + ey * sine);
    w.im[i] = -(ex * sine - ey * cosine);
    d.re[i] = dr;
    d.im[i] = di;
    G[i] = v;
  }
  angular(series, w, S);
  for (int i = 0; i < kTile; ++i) G[i] = lens.strength * power(G[i], p);
  for (int i = 0; i < kTile; ++i) {
    out[2 * i] = static_cast<D>(G[i] * (d.re[i] * S.im[i] + d.im[i] * S.re[i]));
    out[2 * i + 1] = static_cast<D>(G[i] * (d.re[i] * S.re[i] - d.im[i] * S.im[i]));
  }
}

template <class D>
void deflection(const lenskern::macro::PowerLaw& lens, int64_t n, const D* grid, D* out, Crew::Worker& worker) {
  const Series series(lens.slope / 2, std::sqrt(lens.ell_y * lens.ell_y + lens.ell_x * lens.ell_x), false);
  // As in python/lenskern/deflect/macro_primitive.py.
  const double smallest = sizeof(D) == 8 ? 1e-24 : 1e-16;
  worker.parallel_for(static_cast<int>((n + kPiece - 1) / kPiece), [&](int piece) {
    const int64_t end = n < (piece + 1) * kPiece ? n : (piece + 1) * kPiece;
    int64_t i = piece * kPiece;
    for (; i + kTile <= end; i += kTile) deflection_tile(lens, series, smallest, grid + 2 * i, out + 2 * i);
    if (i == end) return;
    D in[2 * kTile] = {}, last[2 * kTile];
    std::memcpy(in, grid + 2 * i, (end - i) * 2 * sizeof(D));
    deflection_tile(lens, series, smallest, in, last);
    std::memcpy(out + 2 * i, last, (end - i) * 2 * sizeof(D));
  });
}

template <class D>
void store(const Tile& tile, int count, D* out) {
  for (int i = 0; i < count; ++i) {
    out[2 * i] = static_cast<D>(tile.re[i]);
    out[2 * i + 1] = static_cast<D>(tile.im[i]);
  }
}

template <class D>
void partials(double b, double f, int64_t n, const D* w, D* S, D* by_w, D* by_b, Crew::Worker& worker) {
  const Series series(b, f, true);
  worker.parallel_for(static_cast<int>((n + kPiece - 1) / kPiece), [&](int piece) {
    const int64_t end = n < (piece + 1) * kPiece ? n : (piece + 1) * kPiece;
    for (int64_t i = piece * kPiece; i < end; i += kTile) {
      const int count = static_cast<int>(end - i < kTile ? end - i : kTile);
      Tile at{}, value, slope_w, slope_b;
      for (int k = 0; k < count; ++k) at.re[k] = w[2 * (i + k)], at.im[k] = w[2 * (i + k) + 1];
      angular_partials(series, at, value, slope_w, slope_b);
      store(value, count, S + 2 * i);
      store(slope_w, count, by_w + 2 * i);
      store(slope_b, count, by_b + 2 * i);
    }
  });
}

}  // namespace
}  // namespace macro

template <class D>
MacroKernels<D> macro_kernels() {
  return {macro::deflection<D>, macro::partials<D>};
}
template MacroKernels<float> macro_kernels<float>();
template MacroKernels<double> macro_kernels<double>();

}  // namespace lenskern::LENSKERN_ISA
