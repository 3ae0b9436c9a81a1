// A radial function of each halo as polynomials in v = R^2 on short intervals, so that a sum over haloes takes no
// transcendental function.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "deflect.h"
#include "simd.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

using namespace lenskern::deflect;

// A family of rows: every octave of v is cut into 2^kBits equal pieces, and the row of a piece with the midpoint c is a
// polynomial of degree kDegree in t = (v - c)/(kReach c), good for |t| <= 1, which is more than the piece.
//
// A radial function is analytic for v off the negative axis, t <= -1/kReach. The error of a row is below
// rho^-kDegree, rho = z + sqrt(z^2 - 1) with z = 1/kReach: 15.9^-12 and 5.8^-20.
struct Narrow {
  static constexpr int kBits = 3, kDegree = 12, kStride = 16;
  static constexpr double kReach = 1.0 / 8;
};
struct Wide {
  static constexpr int kBits = 2, kDegree = 20, kStride = 24;
  static constexpr double kReach = 1.0 / 3;
};

inline int64_t bits_of(double v) {
  int64_t bits;
  std::memcpy(&bits, &v, 8);
  return bits;
}
inline double from_bits(int64_t bits) {
  double v;
  std::memcpy(&v, &bits, 8);
  return v;
}

// Number of the row that v > 0 falls into, and the midpoint of a row.
template <class Family>
inline int64_t row_of(double v) {
  return bits_of(v) >> (52 - Family::kBits);
}
template <class Family>
inline double midpoint(int64_t row) {
  return from_bits((2 * row + 1) << (51 - Family::kBits));
}

// Rows are made out of samples at the Chebyshev points of a segment of four octaves in ln v (and what its rows reach
// beyond it). In ln v the singularities are at an imaginary part of pi, so kSamples points give 4.07^-26 = 1e-16.
constexpr int kSegmentOctaves = 4, kSamples = 26;
constexpr double kSegmentBegin = 0.75, kSegmentEnd = 20.0;

// How the rows of a family follow from the samples: Chebyshev coefficients by a product with the samples, and the
// coefficients of t^k by a product with those. In one product the rounding errors of the large coefficients of T_n would
// not be small beside the coefficients of the function.
template <class Family>
struct RowMatrices {
  static constexpr int kRows = kSegmentOctaves << Family::kBits;
  alignas(64) double chebyshev[kRows][kSamples][Family::kStride] = {};
  alignas(64) double values[Family::kDegree + 1][Family::kStride] = {};  // from samples at the row's own points
  alignas(64) double power[Family::kDegree + 1][Family::kStride] = {};
  double points[Family::kDegree + 1];  // Chebyshev points of t

  RowMatrices() {
    constexpr int N = Family::kDegree + 1;
    const long double pi = 3.141592653589793238462643383279502884L;
    long double T[N][N] = {};
    T[0][0] = 1;
    T[1][1] = 1;
    for (int n = 2; n < N; ++n) {
      for (int k = 0; k < N; ++k) T[n][k] = (k > 0 ? 2 * T[n - 1][k - 1] : 0) - T[n - 2][k];
    }
    for (int n = 0; n < N; ++n) {
      for (int k = 0; k < N; ++k) power[n][k] = static_cast<double>(T[n][k]);
    }
    for (int j = 0; j < N; ++j) {
      points[j] = static_cast<double>(cosl(pi * (j + 0.5L) / N));
      for (int n = 0; n < N; ++n) values[j][n] = static_cast<double>((n > 0 ? 2 : 1) * cosl(pi * n * (j + 0.5L) / N) / N);
    }
    const long double low = logl(kSegmentBegin), high = logl(kSegmentEnd);
    long double cosine[kSamples][kSamples];
    for (int n = 0; n < kSamples; ++n) {
      for (int i = 0; i < kSamples; ++i) cosine[n][i] = (n > 0 ? 2 : 1) * cosl(pi * n * (i + 0.5L) / kSamples) / kSamples;
    }
    for (int r = 0; r < kRows; ++r) {
      const long double c = midpoint<Family>((int64_t{1023} << Family::kBits) + r);
      for (int j = 0; j < N; ++j) {
        // Lagrange polynomials of the samples at point j of the row.
        const long double t = cosl(pi * (j + 0.5L) / N);
        const long double x = (2 * logl(c * (1 + Family::kReach * t)) - low - high) / (high - low);
        long double T[kSamples] = {1, x};
        for (int n = 2; n < kSamples; ++n) T[n] = 2 * x * T[n - 1] - T[n - 2];
        for (int i = 0; i < kSamples; ++i) {
          long double weight = 0;
          for (int n = 0; n < kSamples; ++n) weight += T[n] * cosine[n][i];
          for (int n = 0; n < N; ++n) chebyshev[r][i][n] += values[j][n] * static_cast<double>(weight);
        }
      }
    }
  }
};

template <class Family>
static const RowMatrices<Family>& row_matrices() {
  static const RowMatrices<Family> matrices;
  return matrices;
}

// out = sum_i in[i] matrix[i], vectors of length kStride.
template <int kStride, int kCount>
inline void combine(const double* in, const double (*matrix)[kStride], double* out) {
  using V = Vector<double>;
  constexpr int W = Simd<double>::width, n = kStride / W;
  V sum[n] = {};
  for (int i = 0; i < kCount; ++i) {
    for (int k = 0; k < n; ++k) sum[k] += in[i] * aligned(&matrix[i][k * W]);
  }
  for (int k = 0; k < n; ++k) store(out + k * W, sum[k]);
}

// Slot of the factor of v in t = factor v - 1/kReach; a row's coefficients lie before it.
template <class Family>
constexpr int kFactorSlot = Family::kDegree + 1;

template <class Family>
inline void finish_row(const double* chebyshev, double c, double* row) {
  combine<Family::kStride, Family::kDegree + 1>(chebyshev, row_matrices<Family>().power, row);
  row[kFactorSlot<Family>] = 1 / (Family::kReach * c);
}

// The value and, where asked for, the slope d/dv of a row.
template <class Family>
inline double row_value(const double* row, double v, double* slope = nullptr) {
  const double t = row[kFactorSlot<Family>] * v - 1 / Family::kReach;
  double value = row[Family::kDegree], derivative = 0;
  for (int k = Family::kDegree - 1; k >= 0; --k) {
    if (slope != nullptr) derivative = derivative * t + value;
    value = value * t + row[k];
  }
  if (slope != nullptr) *slope = derivative * row[kFactorSlot<Family>];
  return value;
}

// Rows of `functions` functions for every v in [low, high] of one halo.
struct RowRange {
  int64_t narrow_begin, narrow_end, wide_begin, wide_end;

  RowRange(double low, double high)
      : narrow_begin(row_of<Narrow>(low)),
        narrow_end(row_of<Narrow>(high) + 1),
        wide_begin(row_of<Wide>(low)),
        wide_end(row_of<Wide>(high) + 1) {}

  int64_t doubles() const {
    return (narrow_end - narrow_begin) * Narrow::kStride + (wide_end - wide_begin) * Wide::kStride;
  }
};

// Fills the rows of a halo: sample(v, values) gives the functions at v; those of function j start at rows + j * distance.
template <int kFunctions, class Sample>
inline void fill_rows(const RowRange& range, bool smooth, const Sample& sample, double* rows, int64_t distance) {
  const auto& narrow = row_matrices<Narrow>();
  const auto& wide = row_matrices<Wide>();
  double* const wide_rows = rows + (range.narrow_end - range.narrow_begin) * Narrow::kStride;
  alignas(64) double in[kFunctions][kSamples], chebyshev[Wide::kStride];

  if (!smooth) {
    const auto direct = [&](auto family, int64_t begin, int64_t end, double* out) {
      using Family = decltype(family);
      const auto& matrices = row_matrices<Family>();
      for (int64_t r = begin; r < end; ++r, out += Family::kStride) {
        const double c = midpoint<Family>(r);
        for (int i = 0; i <= Family::kDegree; ++i) {
          double values[kFunctions];
          sample(c * (1 + Family::kReach * matrices.points[i]), values);
          for (int j = 0; j < kFunctions; ++j) in[j][i] = values[j];
        }
        for (int j = 0; j < kFunctions; ++j) {
          combine<Family::kStride, Family::kDegree + 1>(in[j], matrices.values, chebyshev);
          finish_row<Family>(chebyshev, c, out + j * distance);
        }
      }
    };
    direct(Narrow{}, range.narrow_begin, range.narrow_end, rows);
    direct(Wide{}, range.wide_begin, range.wide_end, wide_rows);
    return;
  }

  struct Points {
    double v[kSamples];
    Points() {
      const long double low = logl(kSegmentBegin), high = logl(kSegmentEnd), pi = 3.141592653589793238462643383279502884L;
      for (int i = 0; i < kSamples; ++i) {
        v[i] = static_cast<double>(expl((low + high + (high - low) * cosl(pi * (i + 0.5L) / kSamples)) / 2));
      }
    }
  };
  static const Points points;

  constexpr int narrow_bits = Narrow::kBits + 2, wide_bits = Wide::kBits + 2;  // rows of a segment, as a power of two
  for (int64_t s = range.narrow_begin >> narrow_bits; s << narrow_bits < range.narrow_end; ++s) {
    const double unit = from_bits((s << 2) << 52);
    for (int i = 0; i < kSamples; ++i) {
      double values[kFunctions];
      sample(unit * points.v[i], values);
      for (int j = 0; j < kFunctions; ++j) in[j][i] = values[j];
    }
    const auto segment = [&](auto family, int bits, int64_t begin, int64_t end, const auto& matrices, double* out) {
      using Family = decltype(family);
      const int64_t first = s << bits < begin ? begin : s << bits, last = (s + 1) << bits > end ? end : (s + 1) << bits;
      for (int64_t r = first; r < last; ++r) {
        for (int j = 0; j < kFunctions; ++j) {
          combine<Family::kStride, kSamples>(in[j], matrices.chebyshev[r - (s << bits)], chebyshev);
          finish_row<Family>(chebyshev, midpoint<Family>(r), out + (r - begin) * Family::kStride + j * distance);
        }
      }
    };
    segment(Narrow{}, narrow_bits, range.narrow_begin, range.narrow_end, narrow, rows);
    segment(Wide{}, wide_bits, range.wide_begin, range.wide_end, wide, wide_rows);
  }
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
