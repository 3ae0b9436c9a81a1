// A radial function of each halo as polynomials in v = R^2 on short intervals, so that a sum over haloes takes no
// transcendental function.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "deflect.h"
#include "pack.h"
#include "simd.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

using namespace lenskern::deflect;

// A family of rows: every octave of v is cut into 2^kBits equal pieces, and the row of a piece with the midpoint c is a
// polynomial of degree kDegree in t = (v - c)/(kReach c), good for |t| <= 1, which is more than the piece.
//
// A radial function is analytic for v off the negative axis, t <= -1/kReach. The error of a row is below
// rho^-kDegree, rho = z + sqrt(z^2 - 1) with z = 1/kReach: 15.9^-12, 5.8^-20 and, of loose rows, 5.8^-14.
// Rows are made out of `kSamples` samples of a longer segment. Where a far field may make errors of 1e-10 anyway, wide
// rows are of a lower degree; they keep the places that those of full precision would have.
struct Narrow {
  static constexpr int kBits = 3, kDegree = 12, kColumns = 16, kStride = 16, kSamples = 24;
  static constexpr double kReach = 1.0 / 8;
};
struct Wide {
  static constexpr int kBits = 2, kDegree = 20, kColumns = 24, kStride = 24, kSamples = 24;
  static constexpr double kReach = 1.0 / 3;
};
struct LooseWide {
  static constexpr int kBits = 2, kDegree = 14, kColumns = 16, kStride = Wide::kStride, kSamples = 16;
  static constexpr double kReach = Wide::kReach;
};
static_assert(LooseWide::kBits == Wide::kBits);

// Calls run(family) with the family of the wide rows.
template <class Run>
inline auto with_wide(bool loose, const Run& run) {
  return loose ? run(LooseWide{}) : run(Wide{});
}

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

// Samples are at the Chebyshev points of a segment of three octaves in ln v (and what its rows reach beyond it). In
// ln v the singularities are at an imaginary part of pi, so n points give 5.05^-n: 1e-17 for 24, 6e-12 for 16.
constexpr int kSegmentOctaves = 3;
constexpr double kSegmentBegin = 0.75, kSegmentEnd = 10.0;

// Rows that are made together, to hide the latency of the products.
constexpr int kTogether = 4;

// How the rows of a family follow from the samples: Chebyshev coefficients by a product with the samples, and the
// coefficients of t^k by a product with those. In one product the rounding errors of the large coefficients of T_n
// would not be small beside the coefficients of the function.
template <class Family>
struct RowMatrices {
  static constexpr int kRows = kSegmentOctaves << Family::kBits;
  static constexpr int kColumns = Family::kColumns, kSamples = Family::kSamples;
  // Chebyshev coefficients of kTogether neighbouring rows out of the samples.
  alignas(64) double chebyshev[kRows / kTogether][kSamples][kTogether * kColumns] = {};
  alignas(64) double values[Family::kDegree + 1][kColumns] = {};  // from samples at the row's own points
  alignas(64) double power[Family::kDegree + 1][kColumns] = {};
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
      for (int n = 0; n < N; ++n)
        values[j][n] = static_cast<double>((n > 0 ? 2 : 1) * cosl(pi * n * (j + 0.5L) / N) / N);
    }
    const long double low = logl(kSegmentBegin), high = logl(kSegmentEnd);
    long double cosine[kSamples][kSamples];
    for (int n = 0; n < kSamples; ++n) {
      for (int i = 0; i < kSamples; ++i)
        cosine[n][i] = (n > 0 ? 2 : 1) * cosl(pi * n * (i + 0.5L) / kSamples) / kSamples;
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
          for (int n = 0; n < N; ++n) {
            chebyshev[r / kTogether][i][r % kTogether * kColumns + n] +=
                values[j][n] * static_cast<double>(weight);
          }
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

// out = sum_i in[i] matrix[i], vectors of length kLength.
template <int kLength, int kCount>
inline void combine(const double* in, const double (*matrix)[kLength], double* out) {
  using V = Vector<double>;
  constexpr int W = Simd<double>::width, n = kLength / W, step = n < 16 ? n : n % 12 == 0 ? 12 : 8;
  static_assert(n % step == 0);
  for (int first = 0; first < n; first += step) {
    V sum[step] = {};
    for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 16
      for (int k = 0; k < step; ++k) sum[k] += in[i] * aligned(&matrix[i][(first + k) * W]);
    }
    for (int k = 0; k < step; ++k) store(out + (first + k) * W, sum[k]);
  }
}

// Slot of the factor of v in t = factor v - 1/kReach; a row's coefficients lie before it.
template <class Family>
constexpr int kFactorSlot = Family::kDegree + 1;

// The coefficients of t^k of kTogether rows out of their Chebyshev coefficients.
template <class Family>
inline void powers(const double* chebyshev, double* out) {
  using V = Vector<double>;
  constexpr int W = Simd<double>::width, n = Family::kColumns / W, L = Family::kColumns;
  const auto& matrix = row_matrices<Family>().power;
  for (int k = 0; k < n; ++k) {
    V sum[kTogether] = {};
    // T_n has no powers above n.
    for (int i = k * W; i <= Family::kDegree; ++i) {
      const V column = aligned(&matrix[i][k * W]);
#pragma GCC unroll 16
      for (int r = 0; r < kTogether; ++r) sum[r] += chebyshev[r * L + i] * column;
    }
    for (int r = 0; r < kTogether; ++r) store(out + r * L + k * W, sum[r]);
  }
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

// Where the rows of a halo are: octave after octave, of each first the narrow rows, where there are any, and then the
// wide ones. Narrow rows begin at some octave, since blocks nearer to a halo are too wide for them. Places count from
// there.
class RowLayout {
 public:
  static constexpr int64_t kNarrow = Narrow::kStride << Narrow::kBits, kWide = Wide::kStride << Wide::kBits;

  // Narrow rows for v >= narrow_from.
  explicit RowLayout(double narrow_from = 1e300) : first_(bits_of(narrow_from) >> 52) {}

  double narrow_from() const { return from_bits(first_ << 52); }
  bool has_narrow(int64_t octave) const { return octave >= first_; }

  // Of the rows of an octave, and of one row of it.
  int64_t octave(int64_t octave) const { return (octave - first_) * (octave >= first_ ? kNarrow + kWide : kWide); }
  template <class Family>
  int64_t offset(int64_t bits) const {
    constexpr int64_t mask = (int64_t{1} << Family::kBits) - 1;
    const bool after_narrow = Family::kBits == Wide::kBits && has_narrow(bits >> 52);
    return octave(bits >> 52) + (after_narrow ? kNarrow : 0) + (bits >> (52 - Family::kBits) & mask) * Family::kStride;
  }
  // The same, without the row in the octave, for a vector.
  template <class Index>
  Index narrow_octaves(Index octaves) const {
    return (octaves - first_) * (kNarrow + kWide);
  }
  template <class Index>
  Index wide_octaves(Index octaves) const {
    const Index after = octaves >= first_;
    return (octaves - first_) * (kWide + (after & kNarrow)) + (after & kNarrow);
  }

 private:
  int64_t first_;
};

// The octaves that hold every v in [low, high].
struct Octaves {
  int64_t begin, end;
  Octaves(double low, double high) : begin(bits_of(low) >> 52), end((bits_of(high) >> 52) + 1) {}
};

// Points of a segment that functions are sampled at, for the segment that begins at v = 1.
template <int kSamples>
struct SegmentPoints {
  alignas(64) double v[kSamples];
  SegmentPoints() {
    const long double low = logl(kSegmentBegin), high = logl(kSegmentEnd), pi = 3.141592653589793238462643383279502884L;
    for (int i = 0; i < kSamples; ++i) {
      v[i] = static_cast<double>(expl((low + high + (high - low) * cosl(pi * (i + 0.5L) / kSamples)) / 2));
    }
  }
};

// Fills the rows of a halo, the wide ones of a family: sample(v, values) gives the functions at v, a number or a Pack;
// those of function j start at rows + j * distance. `smooth`: the functions are analytic in ln v as far as the samples
// of a segment need it.
template <class WideFamily, int kFunctions, class Sample>
inline void fill_rows(const Octaves& octaves, const RowLayout& layout, bool smooth, const Sample& sample, double* rows,
                      int64_t distance) {
  constexpr int kSamples = WideFamily::kSamples;
  alignas(64) double in[kFunctions][kSamples], chebyshev[kTogether * Wide::kColumns], out[kTogether * Wide::kColumns];
  const auto put = [&](auto family, int64_t row, double* to) {
    using Family = decltype(family);
    powers<Family>(chebyshev, out);
    for (int r = 0; r < kTogether; ++r) {
      out[r * Family::kColumns + kFactorSlot<Family>] = 1 / (Family::kReach * midpoint<Family>(row + r));
    }
    for (int r = 0; r < kTogether; ++r) {
      for (int k = 0; k < Family::kColumns; ++k) to[r * Family::kStride + k] = out[r * Family::kColumns + k];
    }
  };
  const auto place = [&](auto family, int64_t row, int function) {
    using Family = decltype(family);
    const int64_t at = layout.template offset<Family>(row << (52 - Family::kBits));
    return rows + function * distance + at - layout.octave(octaves.begin);
  };

  if (!smooth) {
    const auto direct = [&](auto family) {
      using Family = decltype(family);
      const auto& matrices = row_matrices<Family>();
      for (int64_t row = octaves.begin << Family::kBits; row < octaves.end << Family::kBits; row += kTogether) {
        if (Family::kBits == Narrow::kBits && !layout.has_narrow(row >> Family::kBits)) continue;
        double values[kTogether][Family::kDegree + 1][kFunctions];
        for (int r = 0; r < kTogether; ++r) {
          for (int i = 0; i <= Family::kDegree; ++i) {
            sample(midpoint<Family>(row + r) * (1 + Family::kReach * matrices.points[i]), values[r][i]);
          }
        }
        for (int j = 0; j < kFunctions; ++j) {
          for (int r = 0; r < kTogether; ++r) {
            double own[Family::kDegree + 1];
            for (int i = 0; i <= Family::kDegree; ++i) own[i] = values[r][i][j];
            combine<Family::kColumns, Family::kDegree + 1>(own, matrices.values, chebyshev + r * Family::kColumns);
          }
          put(family, row, place(family, row, j));
        }
      }
    };
    direct(Narrow{});
    direct(WideFamily{});
    return;
  }

  static_assert(kSamples % Pack::kWidth == 0);
  static const SegmentPoints<kSamples> points;
  for (int64_t first = octaves.begin / kSegmentOctaves * kSegmentOctaves; first < octaves.end;
       first += kSegmentOctaves) {
    const double unit = from_bits(first << 52);
    for (int i = 0; i < kSamples; i += Pack::kWidth) {
      Vector<double> values[kFunctions];
      for_all_lanes(unit * aligned(&points.v[i]), sample, values);
      for (int j = 0; j < kFunctions; ++j) aligned(&in[j][i]) = values[j];
    }
    for (int64_t octave = first; octave < first + kSegmentOctaves; ++octave) {
      if (octave < octaves.begin || octave >= octaves.end) continue;
      const auto family_rows = [&](auto family) {
        using Family = decltype(family);
        const auto& matrices = row_matrices<Family>();
        for (int64_t row = octave << Family::kBits; row < (octave + 1) << Family::kBits; row += kTogether) {
          for (int j = 0; j < kFunctions; ++j) {
            const int64_t group = (row - (first << Family::kBits)) / kTogether;
            combine<kTogether * Family::kColumns, kSamples>(in[j], matrices.chebyshev[group], chebyshev);
            put(family, row, place(family, row, j));
          }
        }
      };
      if constexpr (kSamples == Narrow::kSamples) {  // loose rows are for far fields, without narrow ones
        if (layout.has_narrow(octave)) family_rows(Narrow{});
      }
      family_rows(WideFamily{});
    }
  }
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
