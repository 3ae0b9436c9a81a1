// Sums over the pairs of some haloes and one block of points.
#pragma once

#include "deflect_halos.h"
#include "deflect_tree.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// Haloes to be summed, by number in the chunk; positions and places of the rows once more, in order. The arrays are
// padded to whole vectors.
struct Candidates {
  int count;
  double *y, *x;
  int64_t *halo, *base;

  static constexpr int kArrays = 4;
  static Candidates at(double* memory, int64_t padded) {
    int64_t* numbers = reinterpret_cast<int64_t*>(memory + 2 * padded);
    return {0, memory, memory + padded, numbers, numbers + padded};
  }
  void put(int i, const Candidates& from, int k) {
    halo[i] = from.halo[k], y[i] = from.y[k], x[i] = from.x[k], base[i] = from.base[k];
  }
};

// Haloes and the rows that serve all points of a block. Arrays as those of Candidates, with room for one vector more.
struct Entries {
  int count;
  double *y, *x;
  int64_t *halo, *row;  // `row` is an address

  static Entries at(double* memory, int64_t padded) {
    int64_t* numbers = reinterpret_cast<int64_t*>(memory + 2 * padded);
    return {0, memory, memory + padded, numbers, numbers + padded};
  }
  // Appends the chosen ones of a vector of candidates.
  void append(const Candidates& from, int i, Index address, Index chosen) {
    compress(y + count, load(from.y + i), chosen);
    compress(x + count, load(from.x + i), chosen);
    compress(halo + count, load_index(from.halo + i), chosen);
    compress(row + count, address, chosen);
    count += count_lanes(chosen);
  }
  const double* row_at(int i) const { return reinterpret_cast<const double*>(static_cast<intptr_t>(row[i])); }

  static Index load_index(const int64_t* p) {
    return reinterpret_cast<Index>(load(reinterpret_cast<const double*>(p)));
  }
};

// Narrow rows, wide rows, and haloes that need a row for each point.
struct Lists {
  Entries narrow, wide, near;
};

inline Vector<double> absolute(Vector<double> v) { return v < 0 ? -v : v; }
inline Vector<double> positive(Vector<double> v) { return v > 0 ? v : v * 0; }

// Finds for every candidate the row whose reach holds its distances from all points in the box.
inline void choose_rows(const Candidates& from, const ChunkRows& chunk, const Box& box, Lists& to) {
  using V = Vector<double>;
  constexpr int W = Simd<double>::width;
  using I = Index;
  const RowLayout& layout = chunk.layout;
  const double narrow_from = layout.narrow_from();
  constexpr int64_t narrow_half = int64_t{1} << (51 - Narrow::kBits), wide_half = int64_t{1} << (51 - Wide::kBits);
  to.narrow.count = to.wide.count = to.near.count = 0;
  const I rows = I{} + static_cast<int64_t>(reinterpret_cast<intptr_t>(chunk.rows));
  I lane;
  for (int k = 0; k < W; ++k) lane[k] = k;
  for (int i = 0; i < from.count; i += W) {
    const V ay = absolute(load(from.y + i) - box.y), ax = absolute(load(from.x + i) - box.x);
    const V ny = positive(ay - box.hy), nx = positive(ax - box.hx), fy = ay + box.hy, fx = ax + box.hx;
    const V low = ny * ny + nx * nx, high = fy * fy + fx * fx, middle = 0.5 * (low + high);
    const I bits = reinterpret_cast<I>(middle);
    const I octave = bits >> 52, base = Entries::load_index(from.base + i);
    const I here = (middle >= chunk.least_v) & (lane < from.count - i);
    I rest = lane < from.count - i;
    const I has_narrow = rest & here & (middle >= narrow_from);
    if (count_lanes(has_narrow) != 0) {
      const V narrow_mid = reinterpret_cast<V>((bits & -(2 * narrow_half)) | narrow_half);
      const I narrow = (bits >> (52 - Narrow::kBits)) & ((1 << Narrow::kBits) - 1);
      const I fits_narrow =
          has_narrow & (low >= narrow_mid * (1 - Narrow::kReach)) & (high <= narrow_mid * (1 + Narrow::kReach));
      to.narrow.append(from, i, rows + (base + layout.narrow_octaves(octave) + narrow * Narrow::kStride) * 8,
                       fits_narrow);
      rest &= ~fits_narrow;
      if (count_lanes(rest) == 0) continue;
    }
    const V wide_mid = reinterpret_cast<V>((bits & -(2 * wide_half)) | wide_half);
    const I wide = (bits >> (52 - Wide::kBits)) & ((1 << Wide::kBits) - 1);
    const I fits_wide = rest & here & (low >= wide_mid * (1 - Wide::kReach)) & (high <= wide_mid * (1 + Wide::kReach));
    to.wide.append(from, i, rows + (base + layout.wide_octaves(octave) + wide * Wide::kStride) * 8, fits_wide);
    const I near = rest & ~fits_wide;
    if (count_lanes(near) != 0) to.near.append(from, i, octave, near);  // without a row
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

// Polynomials of `kAtOnce` haloes at all points of a block, as many at once as hide the latency of a product.
template <class Family, bool kSlope, int kAtOnce, class Op>
inline void evaluate_rows(const Entries& entries, int first, const Block& block, Op& op) {
  using V = Vector<double>;
  constexpr int n = Block::kVectors, top = Family::kDegree;
  V dy[kAtOnce][n], dx[kAtOnce][n], t[kAtOnce][n], value[kAtOnce][n], slope[kAtOnce][n];
  const double* row[kAtOnce];
#pragma GCC unroll 8
  for (int e = 0; e < kAtOnce; ++e) {
    row[e] = entries.row_at(first + e);
    const double y = entries.y[first + e], x = entries.x[first + e];
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) {
      dy[e][v] = block.y[v] - y, dx[e][v] = block.x[v] - x;
      t[e][v] = (dy[e][v] * dy[e][v] + dx[e][v] * dx[e][v]) * row[e][kFactorSlot<Family>] - 1 / Family::kReach;
      value[e][v] = row[e][top] * t[e][v] + row[e][top - 1];
      if constexpr (kSlope) slope[e][v] = V{} + row[e][top];
    }
  }
#pragma GCC unroll 32
  for (int k = top - 2; k >= 0; --k) {
#pragma GCC unroll 8
    for (int e = 0; e < kAtOnce; ++e) {
#pragma GCC unroll 8
      for (int v = 0; v < n; ++v) {
        if constexpr (kSlope) slope[e][v] = slope[e][v] * t[e][v] + value[e][v];
        value[e][v] = value[e][v] * t[e][v] + row[e][k];
      }
    }
  }
#pragma GCC unroll 8
  for (int e = 0; e < kAtOnce; ++e) {
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) {
      if constexpr (kSlope) slope[e][v] *= row[e][kFactorSlot<Family>];
      op.add(v, value[e][v], slope[e][v], dy[e][v], dx[e][v]);
    }
  }
}

template <class Family, bool kSlope, class Op>
inline void evaluate_list(const Entries& entries, const Block& block, Op& op) {
  constexpr int kAtOnce = Block::kVectors >= 4 ? 1 : 4 / Block::kVectors;
  int i = 0;
  for (; i + kAtOnce <= entries.count; i += kAtOnce) evaluate_rows<Family, kSlope, kAtOnce>(entries, i, block, op);
  for (; i < entries.count; ++i) evaluate_rows<Family, kSlope, 1>(entries, i, block, op);
}

// The functions of one halo, and the slope of the first, at the points of a vector that a single row does not serve:
// the row of each point, or where there is none the closed form, closed(halo, v, values, slope).
template <int kFunctions, class Closed>
inline void evaluate_points(int64_t halo, Vector<double> v2, const ChunkRows& chunk, const Closed& closed,
                            Vector<double> (&value)[kFunctions], Vector<double>& slope) {
  using Family = Wide;
  using V = Vector<double>;
  constexpr int W = Block::W, top = Family::kDegree;
  const double least = chunk.least_v;
  const double* row[W];
  for (int k = 0; k < W; ++k) row[k] = chunk.row<Family>(halo, v2[k] >= least ? v2[k] : least);
  V t{};
  for (int j = 0; j < kFunctions; ++j) {
    // Coefficient k of all points.
    V c[Family::kStride];
#pragma GCC unroll 16
    for (int part = 0; part < Family::kStride; part += W) {
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) c[part + k] = load(row[k] + j * chunk.distance + part);
      swap_blocks<double, 1>(c + part);
    }
    if (j == 0) t = v2 * c[kFactorSlot<Family>] - 1 / Family::kReach;
    V sum = c[top], derivative{};
#pragma GCC unroll 32
    for (int k = top - 1; k >= 0; --k) {
      if (j == 0) derivative = derivative * t + sum;
      sum = sum * t + c[k];
    }
    value[j] = sum;
    if (j == 0) slope = derivative * c[kFactorSlot<Family>];
  }
  for (int k = 0; k < W; ++k) {
    if (v2[k] >= least) continue;
    double exact[kFunctions], change = 0;
    closed(chunk.halos[halo], v2[k], exact, &change);
    slope[k] = change;
    for (int j = 0; j < kFunctions; ++j) value[j][k] = exact[j];
  }
}

// What a pair adds, and the fields it goes to.
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

// Adds the fields of all candidates at `points` (a multiple of kBlock) points to out[field * distance + point].
template <int kKind, class Closed>
inline void sum_fields(const Candidates& from, const ChunkRows& chunk, const Closed& closed, Lists& lists,
                       const double* y, const double* x, int64_t points, double* out, int64_t distance) {
  constexpr int W = Block::W;
  for (int64_t i = 0; i < points; i += kBlock) {
    choose_rows(from, chunk, bounding_box(y + i, x + i, kBlock), lists);
    const Block block(y + i, x + i);
    FieldSum<kKind> op;
    evaluate_list<Narrow, op.kSlope>(lists.narrow, block, op);
    evaluate_list<Wide, op.kSlope>(lists.wide, block, op);
    for (int e = 0; e < lists.near.count; ++e) {
      for (int v = 0; v < Block::kVectors; ++v) {
        const Vector<double> dy = block.y[v] - lists.near.y[e], dx = block.x[v] - lists.near.x[e];
        Vector<double> value[1], slope;
        evaluate_points<1>(lists.near.halo[e], dy * dy + dx * dx, chunk, closed, value, slope);
        op.add(v, value[0], slope, dy, dx);
      }
    }
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
