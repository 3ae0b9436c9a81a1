// The tangent of the deflection of one lane. With alpha = A g d, d = theta - c, g = g(u; p, q), u = v/s^2, v = |d|^2
// and f = A g, f' = df/dv:
//   dalpha = (dA g + A g_p dp + A g_q dq - 2 v f' ds/s) d + J (dtheta - dc),   J = f 1 + 2 f' d d'.
// J and the part that does not depend on dtheta are fields, so that both have a far field.
#pragma once

#include "deflect_fields.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// Tangents of a halo: of the centre, and ds/s.
struct HaloTangent {
  double y, x, scale;
};

// Fields: J (yy, yx, xx), and the rest of dalpha (y, x).
struct TangentSum {
  using V = Vector<double>;
  static constexpr int kFields = 5;
  V sum[kFields][Block::kVectors] = {};

  // change: dA g + A g_p dp + A g_q dq
  inline void add(int v, const HaloTangent& halo, V value, V change, V slope, V dy, V dx, V v2) {
    const V twice = slope + slope, ty = twice * dy, tx = twice * dx;
    const V along = change - twice * v2 * halo.scale - ty * halo.y - tx * halo.x;
    sum[0][v] += value + ty * dy;
    sum[1][v] += ty * dx;
    sum[2][v] += value + tx * dx;
    sum[3][v] += along * dy - value * halo.y;
    sum[4][v] += along * dx - value * halo.x;
  }
};

template <class Family>
inline void tangent_row(const Entries& entries, int e, const HaloTangent* tangents, int64_t distance,
                        const Block& block, TangentSum& op) {
  using V = Vector<double>;
  constexpr int top = Family::kDegree;
  const double* row = entries.row_at(e);
  const double* change_row = row + distance;
  for (int v = 0; v < Block::kVectors; ++v) {
    const V dy = block.y[v] - entries.y(e), dx = block.x[v] - entries.x(e), v2 = dy * dy + dx * dx;
    const V t = v2 * row[kFactorSlot<Family>] - 1 / Family::kReach;
    V value = row[top] * t + row[top - 1], slope = V{} + row[top], change = change_row[top] * t + change_row[top - 1];
    for (int k = top - 2; k >= 0; --k) {
      slope = slope * t + value;
      value = value * t + row[k];
      change = change * t + change_row[k];
    }
    op.add(v, tangents[entries.halo(e)], value, change, slope * row[kFactorSlot<Family>], dy, dx, v2);
  }
}

template <class Closed>
struct TangentOfTree {
  static constexpr int kFields = TangentSum::kFields;
  const RayTree& tree;
  const ChunkRows& chunk;
  const Closed& closed;
  const HaloTangent* tangents;  // of the haloes of the chunk
  double* out;

  void at_points(const Candidates& from, Lists& lists, int, const double* y, const double* x, int points,
                 double* values, int) const {
    sum(from, lists, y, x, points, values, points);
  }
  void at_rays(const Candidates& from, Lists& lists, int64_t begin, int64_t end, int) const {
    sum(from, lists, tree.y() + begin, tree.x() + begin, end - begin, out + begin, tree.slots());
  }

 private:
  void sum(const Candidates& from, Lists& lists, const double* y, const double* x, int64_t points, double* fields,
           int64_t distance) const {
    using V = Vector<double>;
    with_wide(chunk.loose, [&](auto wide) {
      using Family = decltype(wide);
      for_blocks(from, chunk, y, x, points, lists, [&](int64_t i, const Block& block) {
        TangentSum op;
        lists.narrow.for_each<Narrow>(2, chunk.distance, [&](int e) {
          tangent_row<Narrow>(lists.narrow, e, tangents, chunk.distance, block, op);
        });
        lists.wide.for_each<Family>(2, chunk.distance, [&](int e) {
          tangent_row<Family>(lists.wide, e, tangents, chunk.distance, block, op);
        });
        for (int e = 0; e < lists.near.count; ++e) {
          for (int v = 0; v < Block::kVectors; ++v) {
            const V dy = block.y[v] - lists.near.y(e), dx = block.x[v] - lists.near.x(e), v2 = dy * dy + dx * dx;
            V values[2], slope;
            evaluate_points<Family, true>(lists.near.halo(e), v2, chunk, closed, values, slope);
            op.add(v, tangents[lists.near.halo(e)], values[0], values[1], slope, dy, dx, v2);
          }
        }
        for (int f = 0; f < kFields; ++f) {
          for (int v = 0; v < Block::kVectors; ++v) {
            double* to = fields + f * distance + i + v * Block::W;
            store(to, load(to) + op.sum[f][v]);
          }
        }
      });
    });
  }
};

template <class D>
bool tangent_of_lane(const Scene<D>& scene, const Options& options, const Linear<D, const D*>& direction, D* out,
                     Scratch& scratch, Crew::Worker& worker) {
  ActiveHalos active;
  if (!read_halos(scene, scratch, &active)) return false;
  const Halo* halos = active.halos;
  const int32_t* number = active.number;
  const int count = active.count;
  HaloTangent* tangents = scratch.tangents.template reserve<HaloTangent>(count);
  if (count > 0 && tangents == nullptr) return false;
  for (int64_t i = 0; i < 2 * scene.n; ++i) out[i] = static_cast<D>(kNaN);
  if (!active.valid) return true;
  for (int h = 0; h < count; ++h) {
    const int64_t i = number[h];
    tangents[h] = {static_cast<double>(direction.centre[2 * i]), static_cast<double>(direction.centre[2 * i + 1]),
                   static_cast<double>(direction.scale[i]) / halos[h].scale};
  }

  const Radial<D> radial = radial_of(scene, scratch);
  if (radial.tables.transform == nullptr) return false;
  const auto sample = [&](const Halo& halo, auto v, auto* values) {
    const int64_t i = number[&halo - halos];
    decltype(v) g[3];
    radial.with_slopes(halo, v, 3, g);
    values[0] = halo.amplitude * g[0];
    values[1] = static_cast<double>(direction.amplitude[i]) * g[0] +
                halo.amplitude * (static_cast<double>(direction.shape[2 * i]) * g[1] +
                                  static_cast<double>(direction.shape[2 * i + 1]) * g[2]);
  };
  const auto closed = [&](const Halo& halo, double v, double* values, double* slope) {
    sample(halo, v, values);
    *slope = v > kLeastU * halo.scale * halo.scale ? (halo.amplitude * radial.local(halo, v) - values[0]) / v : 0;
  };

  for (int64_t first = 0; first < scene.n; first += kRaysAtOnce) {
    const int64_t n = scene.n - first < kRaysAtOnce ? scene.n - first : kRaysAtOnce;
    RayTree& tree = scratch.tree;
    if (!tree.build(scene.grid + 2 * first, n, kLeafRays)) return false;
    if (tree.size() == 0) continue;
    const int64_t slots = tree.slots();
    double* sums = scratch.fields.template reserve<double>(TangentSum::kFields * slots);
    if (sums == nullptr) return false;
    for (int64_t i = 0; i < TangentSum::kFields * slots; ++i) sums[i] = 0;
    const bool use_far = wants_far_field(options.tol, tree);
    for (int done = 0; done < count;) {
      ChunkRows chunk;
      FarPlan plan;
      if (!make_chunk<2>(halos + done, count - done, tree, FarErrors::of_derivatives(options.tol, count), sample,
                         scratch, worker, &chunk, &plan))
        return false;
      const TangentOfTree<decltype(closed)> sum{tree, chunk, closed, tangents + done, sums};
      if (!sum_chunk(tree, use_far ? plan.far() : nullptr, plan.reach(), sum, chunk, sums, scratch, worker))
        return false;
      done += chunk.count;
    }
    const D* along = direction.grid + 2 * first;
    for (int64_t slot = 0; slot < slots; ++slot) {
      const int64_t ray = tree.order()[slot];
      if (ray < 0) continue;
      const double yy = sums[slot], yx = sums[slots + slot], xx = sums[2 * slots + slot];
      const double dy = along[2 * ray], dx = along[2 * ray + 1];
      out[2 * (first + ray)] = static_cast<D>(sums[3 * slots + slot] + yy * dy + yx * dx);
      out[2 * (first + ray) + 1] = static_cast<D>(sums[4 * slots + slot] + yx * dy + xx * dx);
    }
  }
  return true;
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
