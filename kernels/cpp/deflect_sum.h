// Sums over the pairs of some haloes and one block of points.
#pragma once

#include "deflect_halos.h"
#include "deflect_tree.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// So many haloes are summed over all blocks of a leaf, or of the points of a node, before the next ones, so that rows
// which neighbouring blocks share stay in the first cache.
constexpr int kGroup = 64;

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
  // The group that begins with candidate i, a multiple of kGroup.
  Candidates group(int i) const {
    return {count - i < kGroup ? count - i : kGroup, y + i, x + i, halo + i, base + i};
  }
};

// Candidates of a group and the rows that serve all points of a block.
struct Entries {
  int count;
  const Candidates* from;
  static constexpr int kRoom = kGroup + Simd<double>::width;
  alignas(64) int64_t candidate[kRoom], row[kRoom];  // `row` is an address

  void start(const Candidates& group) { count = 0, from = &group; }
  // Appends the chosen ones of a vector of candidates.
  void append(Index candidates, Index address, Index chosen) {
    compress(candidate + count, candidates, chosen);
    compress(row + count, address, chosen);
    count += count_lanes(chosen);
  }
  double y(int e) const { return from->y[candidate[e]]; }
  double x(int e) const { return from->x[candidate[e]]; }
  int64_t halo(int e) const { return from->halo[candidate[e]]; }
  const double* row_at(int e) const { return reinterpret_cast<const double*>(static_cast<intptr_t>(row[e])); }

  // Calls add(e) for every entry, and asks for its rows, of `functions` that are `distance` apart, some entries before.
  template <class Family, class Add>
  void for_each(int functions, int64_t distance, const Add& add) const {
    constexpr int kAhead = 16;
    const auto ask = [&](int e) {
      for (int j = 0; j < functions; ++j) {
        for (int k = 0; k < Family::kColumns; k += 8) __builtin_prefetch(row_at(e) + j * distance + k);
      }
    };
    for (int e = 0; e < kAhead && e < count; ++e) ask(e);
    for (int e = 0; e < count; ++e) {
      if (e + kAhead < count) ask(e + kAhead);
      add(e);
    }
  }
};

// Narrow rows, wide rows, and haloes that need a row for each point.
struct Lists {
  Entries narrow, wide, near;
};

inline Index load_index(const int64_t* p) { return reinterpret_cast<Index>(load(reinterpret_cast<const double*>(p))); }
inline Vector<double> absolute(Vector<double> v) { return v < 0 ? -v : v; }
inline Vector<double> positive(Vector<double> v) { return v > 0 ? v : v * 0; }

// Finds for every candidate of a group the row whose reach holds its distances from all points in the box.
inline void choose_rows(const Candidates& group, const ChunkRows& chunk, const Box& box, Lists& to) {
  using V = Vector<double>;
  constexpr int W = Simd<double>::width;
  using I = Index;
  const RowLayout& layout = chunk.layout;
  const double narrow_from = layout.narrow_from();
  constexpr int64_t narrow_half = int64_t{1} << (51 - Narrow::kBits), wide_half = int64_t{1} << (51 - Wide::kBits);
  for (Entries* entries : {&to.narrow, &to.wide, &to.near}) entries->start(group);
  const I rows = I{} + static_cast<int64_t>(reinterpret_cast<intptr_t>(chunk.rows));
  I candidates;
  for (int k = 0; k < W; ++k) candidates[k] = k;
  for (int i = 0; i < group.count; i += W, candidates += W) {
    const V ay = absolute(load(group.y + i) - box.y), ax = absolute(load(group.x + i) - box.x);
    const V ny = positive(ay - box.hy), nx = positive(ax - box.hx), fy = ay + box.hy, fx = ax + box.hx;
    const V low = ny * ny + nx * nx, high = fy * fy + fx * fx, middle = 0.5 * (low + high);
    const I bits = reinterpret_cast<I>(middle);
    const I octave = bits >> 52, base = load_index(group.base + i);
    I rest = candidates < group.count;
    const I here = (middle >= chunk.least_v) & rest;
    const I has_narrow = here & (middle >= narrow_from);
    if (count_lanes(has_narrow) != 0) {
      const V narrow_mid = reinterpret_cast<V>((bits & -(2 * narrow_half)) | narrow_half);
      const I narrow = (bits >> (52 - Narrow::kBits)) & ((1 << Narrow::kBits) - 1);
      const I fits_narrow =
          has_narrow & (low >= narrow_mid * (1 - Narrow::kReach)) & (high <= narrow_mid * (1 + Narrow::kReach));
      to.narrow.append(candidates, rows + (base + layout.narrow_octaves(octave) + narrow * Narrow::kStride) * 8,
                       fits_narrow);
      rest &= ~fits_narrow;
      if (count_lanes(rest) == 0) continue;
    }
    const V wide_mid = reinterpret_cast<V>((bits & -(2 * wide_half)) | wide_half);
    const I wide = (bits >> (52 - Wide::kBits)) & ((1 << Wide::kBits) - 1);
    const I fits_wide = rest & here & (low >= wide_mid * (1 - Wide::kReach)) & (high <= wide_mid * (1 + Wide::kReach));
    if (count_lanes(fits_wide) != 0) {
      to.wide.append(candidates, rows + (base + layout.wide_octaves(octave) + wide * Wide::kStride) * 8, fits_wide);
    }
    const I near = rest & ~fits_wide;
    if (count_lanes(near) != 0) to.near.append(candidates, octave, near);  // without a row
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

// The polynomial of a row at several vectors, and its derivative where asked for. Without it the even and the odd
// powers are summed apart: more and shorter chains of products, each of which waits for the one before.
template <class Family, bool kSlope, int n>
inline void evaluate_row(const double* row, const Vector<double> (&t)[n], Vector<double> (&value)[n],
                         Vector<double> (&slope)[n]) {
  using V = Vector<double>;
  constexpr int top = Family::kDegree;
  static_assert(top % 2 == 0);
  if constexpr (!kSlope) {
    V square[n], odd[n];
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) {
      square[v] = t[v] * t[v];
      value[v] = row[top] * square[v] + row[top - 2];
      odd[v] = row[top - 1] * square[v] + row[top - 3];
    }
#pragma GCC unroll 32
    for (int k = top - 4; k >= 0; k -= 2) {
#pragma GCC unroll 8
      for (int v = 0; v < n; ++v) {
        value[v] = value[v] * square[v] + row[k];
        if (k > 0) odd[v] = odd[v] * square[v] + row[k - 1];
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) value[v] = odd[v] * t[v] + value[v];
  } else {
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) {
      value[v] = row[top] * t[v] + row[top - 1];
      if constexpr (kSlope) slope[v] = V{} + row[top];
    }
#pragma GCC unroll 32
    for (int k = top - 2; k >= 0; --k) {
#pragma GCC unroll 8
      for (int v = 0; v < n; ++v) {
        if constexpr (kSlope) slope[v] = slope[v] * t[v] + value[v];
        value[v] = value[v] * t[v] + row[k];
      }
    }
  }
}

// Calls body(i, block) for every group of candidates and every block of `points` (a multiple of kBlock) points, the one
// that begins at point i, when the lists hold the group's haloes.
template <class Body>
inline void for_blocks(const Candidates& from, const ChunkRows& chunk, const double* y, const double* x, int64_t points,
                       Lists& lists, const Body& body) {
  for (int first = 0; first < from.count; first += kGroup) {
    const Candidates group = from.group(first);
    for (int64_t i = 0; i < points; i += kBlock) {
      choose_rows(group, chunk, bounding_box(y + i, x + i, kBlock), lists);
      body(i, Block(y + i, x + i));
    }
  }
}

// What one halo does to all points of a block through one row.
template <class Family, bool kSlope, class Op>
inline void add_row(const Entries& entries, int e, const Block& block, Op& op) {
  using V = Vector<double>;
  constexpr int n = Block::kVectors;
  V dy[n], dx[n], t[n], value[n], slope[n];
  const double* row = entries.row_at(e);
  const double y = entries.y(e), x = entries.x(e), factor = row[kFactorSlot<Family>];
#pragma GCC unroll 8
  for (int v = 0; v < n; ++v) {
    dy[v] = block.y[v] - y, dx[v] = block.x[v] - x;
    t[v] = (dy[v] * dy[v] + dx[v] * dx[v]) * factor - 1 / Family::kReach;
  }
  evaluate_row<Family, kSlope>(row, t, value, slope);
#pragma GCC unroll 8
  for (int v = 0; v < n; ++v) {
    if constexpr (kSlope) slope[v] *= factor;
    op.add(v, value[v], slope[v], dy[v], dx[v]);
  }
}

// The functions of one halo, and the slope of the first, at the points of a vector: the row that serves all of them, or
// the row of each, or where there is none the closed form, closed(halo, v, values, slope).
template <class Family, bool kSlope, int kFunctions, class Closed>
inline void evaluate_points(int64_t halo, Vector<double> v2, const ChunkRows& chunk, const Closed& closed,
                            Vector<double> (&value)[kFunctions], Vector<double>& slope) {
  using V = Vector<double>;
  constexpr int W = Block::W, top = Family::kDegree;
  const double least = chunk.least_v;
  double low = v2[0], high = v2[0];
  for (int k = 1; k < W; ++k) low = v2[k] < low ? v2[k] : low, high = v2[k] > high ? v2[k] : high;
  const double middle = 0.5 * (low + high), centre = midpoint<Family>(row_of<Family>(middle));
  if (low >= least && low >= centre * (1 - Family::kReach) && high <= centre * (1 + Family::kReach)) {
    const double* row = chunk.row<Family>(halo, middle);
    const V t[1] = {v2 * row[kFactorSlot<Family>] - 1 / Family::kReach};
    V of[1], change[1];
    evaluate_row<Family, kSlope>(row, t, of, change);
    value[0] = of[0];
    if constexpr (kSlope) slope = change[0] * row[kFactorSlot<Family>];
    for (int j = 1; j < kFunctions; ++j) {
      evaluate_row<Family, false>(row + j * chunk.distance, t, of, change);
      value[j] = of[0];
    }
    return;
  }

  const double* row[W];
  for (int k = 0; k < W; ++k) row[k] = chunk.row<Family>(halo, v2[k] >= least ? v2[k] : least);
  V t{};
  for (int j = 0; j < kFunctions; ++j) {
    // Coefficient k of all points.
    V c[Family::kColumns];
#pragma GCC unroll 16
    for (int part = 0; part < Family::kColumns; part += W) {
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) c[part + k] = load(row[k] + j * chunk.distance + part);
      swap_blocks<double, 1>(c + part);
    }
    if (j == 0) t = v2 * c[kFactorSlot<Family>] - 1 / Family::kReach;
    V sum = c[top], derivative{};
#pragma GCC unroll 32
    for (int k = top - 1; k >= 0; --k) {
      if (kSlope && j == 0) derivative = derivative * t + sum;
      sum = sum * t + c[k];
    }
    value[j] = sum;
    if (kSlope && j == 0) slope = derivative * c[kFactorSlot<Family>];
  }
  for (int k = 0; k < W; ++k) {
    if (v2[k] >= least) continue;
    double exact[kFunctions], change = 0;
    closed(chunk.halos[halo], v2[k], exact, kSlope ? &change : nullptr);
    if (kSlope) slope[k] = change;
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

// Adds the fields of all candidates at the points to out[field * distance + point].
template <int kKind, class Closed>
inline void sum_fields(const Candidates& from, const ChunkRows& chunk, const Closed& closed, Lists& lists,
                       const double* y, const double* x, int64_t points, double* out, int64_t distance) {
  constexpr int W = Block::W;
  constexpr bool kSlope = FieldSum<kKind>::kSlope;
  with_wide(chunk.loose, [&](auto wide) {
    using Family = decltype(wide);
    for_blocks(from, chunk, y, x, points, lists, [&](int64_t i, const Block& block) {
      FieldSum<kKind> op;
      lists.narrow.for_each<Narrow>(1, 0, [&](int e) { add_row<Narrow, kSlope>(lists.narrow, e, block, op); });
      lists.wide.for_each<Family>(1, 0, [&](int e) { add_row<Family, kSlope>(lists.wide, e, block, op); });
      for (int e = 0; e < lists.near.count; ++e) {
        for (int v = 0; v < Block::kVectors; ++v) {
          const Vector<double> dy = block.y[v] - lists.near.y(e), dx = block.x[v] - lists.near.x(e);
          Vector<double> value[1], slope;
          evaluate_points<Family, kSlope>(lists.near.halo(e), dy * dy + dx * dx, chunk, closed, value, slope);
          op.add(v, value[0], slope, dy, dx);
        }
      }
      for (int f = 0; f < op.kFields; ++f) {
        for (int v = 0; v < Block::kVectors; ++v) {
          double* to = out + f * distance + i + v * W;
          store(to, load(to) + op.sum[f][v]);
        }
      }
    });
  });
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
