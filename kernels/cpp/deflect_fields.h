// Fields of the haloes of one lane on its rays.
#pragma once

#include "deflect_plane.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

constexpr double kNaN = __builtin_nan("");

// The haloes that are not masked, as `Halo`s. Their number, or -1 where one of them is invalid.
template <class D>
inline int read_halos(const Scene<D>& scene, Halo* halos, int32_t* number) {
  int count = 0;
  for (int i = 0; i < scene.count; ++i) {
    if (!scene.mask[i]) continue;
    halos[count] = read_halo(scene, i);
    if (!is_valid(halos[count], scene.tables.count)) return -1;
    number[count++] = i;
  }
  return count;
}

// Square of the radius below which a few of the rays in a box are expected: closed forms serve them.
inline double least_distance(const Box& box, int64_t rays) {
  const double side = std::fmax(box.hy, box.hx);
  const double area = 4 * std::fmax(box.hy, side / rays) * std::fmax(box.hx, side / rays);
  return std::fmax(area / rays, 1e-280);
}

// Least and greatest v of a halo over a box.
inline RowRange range_of(const Halo& halo, const Box& box, double least) {
  const double ay = std::fabs(halo.y - box.y), ax = std::fabs(halo.x - box.x);
  const double ny = std::fmax(ay - box.hy, 0), nx = std::fmax(ax - box.hx, 0), fy = ay + box.hy, fx = ax + box.hx;
  // A little more, for points that rounding puts outside the box.
  const double high = std::fmax((fy * fy + fx * fx) * (1 + 1e-9), least);
  const double low = std::fmin(std::fmax((ny * ny + nx * nx) * (1 - 1e-9), least), high);
  return RowRange(low, high);
}

// A chunk of haloes: as many as their rows leave room for. `sample(halo, v, values)` gives kFunctions functions.
template <int kFunctions, class Sample>
inline bool fill_chunk(const Halo* halos, int left, const Box& box, double least, const Sample& sample, Scratch& scratch,
                       Crew::Worker& worker, ChunkRows* chunk) {
  const int most = left < kHalosAtOnce ? left : kHalosAtOnce;
  int64_t* at = scratch.offsets.template reserve<int64_t>(2 * most);
  if (at == nullptr) return false;
  *chunk = {halos, 0, kFunctions, least, nullptr, 0, at, at + most};
  int64_t total = 0;
  for (; chunk->count < most; ++chunk->count) {
    const RowRange range = range_of(halos[chunk->count], box, least);
    if (chunk->count > 0 && (total + range.doubles()) * kFunctions > kRowDoublesAtOnce) break;
    chunk->narrow_at[chunk->count] = total - range.narrow_begin * Narrow::kStride;
    chunk->wide_at[chunk->count] =
        total + (range.narrow_end - range.narrow_begin) * Narrow::kStride - range.wide_begin * Wide::kStride;
    total += range.doubles();
  }
  double* rows = scratch.rows.template reserve<double>(total * kFunctions);
  if (rows == nullptr) return false;
  chunk->rows = rows;
  chunk->distance = total;
  constexpr int kTogether = 8;
  worker.parallel_for((chunk->count + kTogether - 1) / kTogether, [&](int group) {
    for (int i = group * kTogether; i < (group + 1) * kTogether && i < chunk->count; ++i) {
      const RowRange range = range_of(halos[i], box, least);
      double* to = rows + chunk->narrow_at[i] + range.narrow_begin * Narrow::kStride;
      fill_rows<kFunctions>(range, halos[i].profile < kTable, [&](double v, double* values) { sample(halos[i], v, values); }, to,
                            total);
    }
  });
  return true;
}

// Sum over the haloes of their largest deflection on the rays, which `tol` is shared out by. A halo of amplitude a has
// rows of the mean convergence (times what `factor` gives) in the chunk.
inline double largest_deflections(const ChunkRows& chunk, const Box& box, double least) {
  double sum = 0;
  for (int i = 0; i < chunk.count; ++i) {
    if (chunk.halos[i].profile == kSheet) continue;  // a polynomial
    const RowRange range = range_of(chunk.halos[i], box, least);
    double most = 0;
    for (int64_t r = range.wide_begin; r < range.wide_end; ++r) {
      const double v = midpoint<Wide>(r);
      if (v < 30 * least && r + 1 < range.wide_end) continue;
      most = std::fmax(most, std::fabs(chunk.rows[chunk.wide_at[i] + r * Wide::kStride]) * std::sqrt(v));
    }
    sum += most;
  }
  return sum;
}

// A field at the points of the nodes and at the rays.
template <int kKind, class Closed>
struct FieldsOfTree {
  static constexpr int kFields = FieldSum<kKind>::kFields;
  const RayTree& tree;
  const ChunkRows& chunk;
  const Closed& closed;
  double* out;

  void at_points(const Candidates& from, Entries& entries, int, const double* y, const double* x, int points, double* values, int) const {
    sum_fields<kKind>(from, chunk, closed, entries, y, x, points, values, points);
  }
  void at_rays(const Candidates& from, Entries& entries, int64_t begin, int64_t end, int) const {
    sum_fields<kKind>(from, chunk, closed, entries, tree.y() + begin, tree.x() + begin, end - begin, out + begin, tree.slots());
  }
};

template <int kKind, class D>
bool sum_fields_of_lane(const Scene<D>& scene, const Options& options, D* out, Scratch& scratch, Crew::Worker& worker) {
  constexpr int kFields = FieldSum<kKind>::kFields;
  Halo* halos = scratch.halos.template reserve<Halo>(scene.count + scene.count / 8 + 1);
  if (halos == nullptr) return false;
  int32_t* number = reinterpret_cast<int32_t*>(halos + scene.count);
  const int count = read_halos(scene, halos, number);
  for (int64_t i = 0; i < scene.n * kFields; ++i) out[i] = static_cast<D>(kNaN);
  if (count < 0) return true;

  const Radial<D> radial{scene.tables};
  const auto value_at = [&](const Halo& halo, double v) {
    if constexpr (kKind == kConvergence) {
      return halo.amplitude * radial.local(halo, v);
    } else if constexpr (kKind == kPotential) {
      return halo.amplitude * radial.integral(halo, v);
    } else {
      return halo.amplitude * radial.mean(halo, v);
    }
  };
  const auto closed = [&](const Halo& halo, double v, double* slope) {
    const double value = value_at(halo, v);
    // d/dv of the mean convergence; in the core where v is held, both are the same.
    if (slope != nullptr) *slope = v > 0 ? (halo.amplitude * radial.local(halo, v) - value) / v : 0;
    return value;
  };

  if (scene.n <= kClosedRays) {
    for (int64_t i = 0; i < scene.n; ++i) {
      const double y = scene.grid[2 * i], x = scene.grid[2 * i + 1];
      double sum[kFields] = {};
      for (int h = 0; h < count; ++h) {
        const double dy = y - halos[h].y, dx = x - halos[h].x;
        double slope = 0;
        const double value = closed(halos[h], dy * dy + dx * dx, kKind == kJacobian ? &slope : nullptr);
        if constexpr (kKind == kDeflection) {
          sum[0] += value * dy, sum[1] += value * dx;
        } else if constexpr (kKind == kJacobian) {
          sum[0] += value + 2 * slope * dy * dy, sum[1] += 2 * slope * dy * dx, sum[2] += value + 2 * slope * dx * dx;
        } else {
          sum[0] += value;
        }
      }
      const double bad = (y - y) + (x - x);  // NaN for a ray that is not finite
      for (int f = 0; f < kFields; ++f) out[i * kFields + f] = static_cast<D>(sum[f] + bad);
    }
    return true;
  }

  const double eps = sizeof(D) == 8 ? 2.2e-16 : 1.2e-7;
  for (int64_t first = 0; first < scene.n; first += kRaysAtOnce) {
    const int64_t n = scene.n - first < kRaysAtOnce ? scene.n - first : kRaysAtOnce;
    const D* grid = scene.grid + 2 * first;
    D* to = out + first * kFields;
    RayTree& tree = scratch.tree;
    if (!tree.build(grid, n, 512)) return false;
    if (tree.size() == 0) continue;
    double* sums = scratch.fields.template reserve<double>(kFields * tree.slots());
    if (sums == nullptr) return false;
    for (int64_t i = 0; i < kFields * tree.slots(); ++i) sums[i] = 0;
    const Box& box = tree[0].box;
    const double least = least_distance(box, tree[0].rays);
    for (int done = 0; done < count;) {
      ChunkRows chunk;
      const auto sample = [&](const Halo& halo, double v, double* values) { *values = value_at(halo, v); };
      if (!fill_chunk<1>(halos + done, count - done, box, least, sample, scratch, worker, &chunk)) return false;
      const auto closed_at = [&](int32_t h, double v, double* slope) { return closed(chunk.halos[h], v, slope); };
      const double largest = largest_deflections(chunk, box, least);
      const double relative = options.tol < 0 ? eps : options.tol / std::fmax(largest, 1e-300);
      const FarField far(std::fmin(std::fmax(relative, 2.2e-16), 1e-2));
      const bool use_far = options.tol != 0 && tree[0].rays > 2 * far.square();
      const FieldsOfTree<kKind, decltype(closed_at)> sum{tree, chunk, closed_at, sums};
      if (!sum_chunk(tree, use_far ? &far : nullptr, sum, chunk, sums, scratch, worker)) return false;
      done += chunk.count;
    }
    for (int64_t slot = 0; slot < tree.slots(); ++slot) {
      const int32_t ray = tree.order()[slot];
      if (ray < 0) continue;
      for (int f = 0; f < kFields; ++f) to[int64_t{ray} * kFields + f] = static_cast<D>(sums[f * tree.slots() + slot]);
    }
  }
  return true;
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
