// Sums over the pairs of some haloes and one block of points.
#pragma once

#include "deflect_halos.h"
#include "deflect_tree.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// Haloes to be summed, by number in the chunk; positions once more, in order. Arrays are padded to whole vectors.
struct Candidates {
  int count;
  const int32_t* halo;
  const double *y, *x;
};

// A halo and the row that serves all points of a block.
struct Entry {
  const double* row;
  double y, x;
  int32_t halo;
};

struct Entries {
  Entry *narrow, *wide, *near;
  int narrows, wides, nears;
};

inline Vector<double> absolute(Vector<double> v) { return v < 0 ? -v : v; }
inline Vector<double> positive(Vector<double> v) { return v > 0 ? v : v * 0; }

// Finds for every candidate the row whose reach holds its distances from all points in the box.
inline void choose_rows(const Candidates& from, const ChunkRows& chunk, const Box& box, Entries& to) {
  using V = Vector<double>;
  constexpr int W = Simd<double>::width;
  typedef int64_t I __attribute__((vector_size(kVectorBytes), may_alias));
  to.narrows = to.wides = to.nears = 0;
  const int64_t narrow_half = int64_t{1} << (51 - Narrow::kBits), wide_half = int64_t{1} << (51 - Wide::kBits);
  for (int i = 0; i < from.count; i += W) {
    const V ay = absolute(load(from.y + i) - box.y), ax = absolute(load(from.x + i) - box.x);
    const V ny = positive(ay - box.hy), nx = positive(ax - box.hx), fy = ay + box.hy, fx = ax + box.hx;
    const V low = ny * ny + nx * nx, high = fy * fy + fx * fx, middle = 0.5 * (low + high);
    const I bits = reinterpret_cast<I>(middle);
    const I narrow = bits >> (52 - Narrow::kBits), wide = bits >> (52 - Wide::kBits);
    const V narrow_mid = reinterpret_cast<V>((bits & -(2 * narrow_half)) | narrow_half);
    const V wide_mid = reinterpret_cast<V>((bits & -(2 * wide_half)) | wide_half);
    const I far = middle >= chunk.least_v;
    const I fits_narrow = far & (low >= narrow_mid * (1 - Narrow::kReach)) & (high <= narrow_mid * (1 + Narrow::kReach));
    const I fits_wide = far & (low >= wide_mid * (1 - Wide::kReach)) & (high <= wide_mid * (1 + Wide::kReach));
    const int lanes = from.count - i < W ? from.count - i : W;
    for (int k = 0; k < lanes; ++k) {
      const int32_t halo = from.halo[i + k];
      const int is_narrow = fits_narrow[k] != 0, is_wide = !is_narrow & (fits_wide[k] != 0);
      to.narrow[to.narrows] = {chunk.rows + chunk.narrow_at[halo] + narrow[k] * Narrow::kStride, from.y[i + k], from.x[i + k], halo};
      to.narrows += is_narrow;
      if (is_narrow) continue;
      const double* row = is_wide ? chunk.rows + chunk.wide_at[halo] + wide[k] * Wide::kStride : nullptr;
      const Entry entry{row, from.y[i + k], from.x[i + k], halo};
      if (is_wide) {
        to.wide[to.wides++] = entry;
      } else {
        to.near[to.nears++] = entry;
      }
    }
  }
}

// The points of a block, in vectors.
struct Block {
  static constexpr int W = Simd<double>::width, kVectors = kBlock / W;
  Vector<double> y[kVectors], x[kVectors];

  Block(const double* py, const double* px) {
    for (int v = 0; v < kVectors; ++v) y[v] = load(py + v * W), x[v] = load(px + v * W);
  }
};

// Polynomials of `kEntries` haloes at all points of a block, as many at once as hide the latency of a product.
template <class Family, bool kSlope, int kEntries, class Op>
inline void evaluate_rows(const Entry* entries, const Block& block, Op& op) {
  using V = Vector<double>;
  constexpr int n = Block::kVectors, top = Family::kDegree;
  V dy[kEntries][n], dx[kEntries][n], t[kEntries][n], value[kEntries][n], slope[kEntries][n];
#pragma GCC unroll 8
  for (int e = 0; e < kEntries; ++e) {
    const Entry& entry = entries[e];
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) {
      dy[e][v] = block.y[v] - entry.y, dx[e][v] = block.x[v] - entry.x;
      t[e][v] = (dy[e][v] * dy[e][v] + dx[e][v] * dx[e][v]) * entry.row[kFactorSlot<Family>] - 1 / Family::kReach;
      value[e][v] = entry.row[top] * t[e][v] + entry.row[top - 1];
      if constexpr (kSlope) slope[e][v] = V{} + entry.row[top];
    }
  }
#pragma GCC unroll 32
  for (int k = top - 2; k >= 0; --k) {
#pragma GCC unroll 8
    for (int e = 0; e < kEntries; ++e) {
#pragma GCC unroll 8
      for (int v = 0; v < n; ++v) {
        if constexpr (kSlope) slope[e][v] = slope[e][v] * t[e][v] + value[e][v];
        value[e][v] = value[e][v] * t[e][v] + entries[e].row[k];
      }
    }
  }
#pragma GCC unroll 8
  for (int e = 0; e < kEntries; ++e) {
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) {
      if constexpr (kSlope) slope[e][v] *= entries[e].row[kFactorSlot<Family>];
      op.add(v, value[e][v], slope[e][v], dy[e][v], dx[e][v]);
    }
  }
}

template <class Family, bool kSlope, class Op>
inline void evaluate_list(const Entry* entries, int count, const Block& block, Op& op) {
  constexpr int kAtOnce = Block::kVectors >= 4 ? 1 : 4 / Block::kVectors;
  int i = 0;
  for (; i + kAtOnce <= count; i += kAtOnce) evaluate_rows<Family, kSlope, kAtOnce>(entries + i, block, op);
  for (; i < count; ++i) evaluate_rows<Family, kSlope, 1>(entries + i, block, op);
}

// What is added for a pair, and the fields it goes to. `scalar` gives the radial function of a halo at v < least_v.
template <int kKind>
struct FieldSum {
  static constexpr bool kSlope = kKind == kJacobian;
  static constexpr int kFields = kKind == kDeflection ? 2 : kKind == kJacobian ? 3 : 1;
  Vector<double> sum[kFields][Block::kVectors] = {};

  inline void add(int v, Vector<double> value, Vector<double> slope, Vector<double> dy, Vector<double> dx) {
    if constexpr (kKind == kDeflection) {
      sum[0][v] += value * dy;
      sum[1][v] += value * dx;
    } else if constexpr (kKind == kJacobian) {
      const Vector<double> sy = (slope + slope) * dy;
      sum[0][v] += value + sy * dy;
      sum[1][v] += sy * dx;
      sum[2][v] += value + (slope + slope) * dx * dx;
    } else {
      sum[0][v] += value;
    }
  }
};

// A halo so near that one row does not serve the block: a row for each point, or the closed form.
template <class Closed, class Op>
inline void evaluate_near(const Entry& entry, const ChunkRows& chunk, const Block& block, const Closed& closed, Op& op) {
  using V = Vector<double>;
  constexpr int W = Block::W;
  for (int v = 0; v < Block::kVectors; ++v) {
    const V dy = block.y[v] - entry.y, dx = block.x[v] - entry.x, d2 = dy * dy + dx * dx;
    V value{}, slope{};
    for (int k = 0; k < W; ++k) {
      double s = 0;
      if (d2[k] >= chunk.least_v) {
        const double* row = chunk.row<Narrow>(entry.halo, d2[k]);
        value[k] = Op::kSlope ? row_value<Narrow>(row, d2[k], &s) : row_value<Narrow>(row, d2[k]);
      } else {
        value[k] = closed(entry.halo, d2[k], Op::kSlope ? &s : nullptr);
      }
      slope[k] = s;
    }
    op.add(v, value, slope, dy, dx);
  }
}

// Adds the fields of all candidates at `points` (a multiple of kBlock) points to out[field * distance + point].
template <int kKind, class Closed>
inline void sum_fields(const Candidates& from, const ChunkRows& chunk, const Closed& closed, Entries& entries, const double* y,
                       const double* x, int64_t points, double* out, int64_t distance) {
  constexpr int W = Block::W;
  for (int64_t i = 0; i < points; i += kBlock) {
    choose_rows(from, chunk, bounding_box(y + i, x + i, kBlock), entries);
    const Block block(y + i, x + i);
    FieldSum<kKind> op;
    evaluate_list<Narrow, op.kSlope>(entries.narrow, entries.narrows, block, op);
    evaluate_list<Wide, op.kSlope>(entries.wide, entries.wides, block, op);
    for (int e = 0; e < entries.nears; ++e) evaluate_near(entries.near[e], chunk, block, closed, op);
    for (int f = 0; f < op.kFields; ++f) {
      for (int v = 0; v < Block::kVectors; ++v) {
        double* to = out + f * distance + i + v * W;
        store(to, load(to) + op.sum[f][v]);
      }
    }
  }
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
