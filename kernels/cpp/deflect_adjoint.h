// The transpose of the tangent of the deflection of one lane (deflect_tangent.h): the cotangents of the haloes'
// parameters and of the rays, out of those of the deflection.
#pragma once

#include "deflect_fields.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// Functions that have rows: g, g_p and, where a halo needs it, g_q.
constexpr int kMostFunctions = 3;

// Sums of a halo over points with the weights w, e = w.d:
//   g e,  g w + 2 g' e d (y and x),  2 g' v e,  g_p e,  g_q e.
constexpr int kHaloSums = 6;

// What pairs of a halo and a block of weighted points add to the halo, and to the points.
template <int kFunctions, bool kAtRays>
struct PairAdjoint {
  using V = Vector<double>;
  static constexpr int n = Block::kVectors;
  static constexpr int kFields = kAtRays ? 2 : 3;
  V wy[n], wx[n];
  // At rays the cotangent of the ray itself; at the points of a node the Jacobian.
  V field[kFields][n] = {};
  // The halo's, of the block so far.
  V sums[kHaloSums] = {};

  // Of vector v of the block.
  inline void add(int v, double amplitude, const V (&f)[kMostFunctions], V slope, V dy, V dx, V v2) {
    const V e = wy[v] * dy + wx[v] * dx, twice = slope + slope, te = twice * e;
    const V py = f[0] * wy[v] + te * dy, px = f[0] * wx[v] + te * dx;
    sums[0] += f[0] * e;
    sums[1] += py;
    sums[2] += px;
    sums[3] += te * v2;
    if constexpr (kFunctions > 1) sums[4] += f[1] * e;
    if constexpr (kFunctions > 2) sums[5] += f[2] * e;
    if constexpr (kAtRays) {
      field[0][v] += amplitude * py;
      field[1][v] += amplitude * px;
    } else {
      const V g = amplitude * f[0], h = amplitude * twice, hy = h * dy;
      field[0][v] += g + hy * dy;
      field[1][v] += hy * dx;
      field[2][v] += g + h * dx * dx;
    }
  }
  // Adds the halo's sums to what other blocks gave it, kHaloSums vectors.
  inline void finish_halo(double* to) {
    constexpr int W = Block::W;
    for (int k = 0; k < 3 + kFunctions; ++k) {
      store(to + k * W, load(to + k * W) + sums[k]);
      sums[k] = V{};
    }
  }
};

template <class Family, int kFunctions, class Op>
inline void adjoint_row(const Entries& entries, int e, const ChunkRows& chunk, const Block& block, Op& op,
                        double* sums) {
  using V = Vector<double>;
  // As many vectors at once as the registers hold the functions of.
  constexpr int n = 2, top = Family::kDegree;
  static_assert(Block::kVectors % n == 0);
  const double* first = entries.row_at(e);
  const double* row[kMostFunctions] = {first, first + chunk.distance, first + 2 * chunk.distance};
  const double y = entries.y(e), x = entries.x(e), factor = first[kFactorSlot<Family>],
               amplitude = chunk.halos[entries.halo(e)].amplitude;
#pragma GCC unroll 4
  for (int begin = 0; begin < Block::kVectors; begin += n) {
    V dy[n], dx[n], v2[n], t[n], f[n][kMostFunctions], slope[n];
#pragma GCC unroll 2
    for (int v = 0; v < n; ++v) {
      dy[v] = block.y[begin + v] - y, dx[v] = block.x[begin + v] - x;
      v2[v] = dy[v] * dy[v] + dx[v] * dx[v];
      t[v] = v2[v] * factor - 1 / Family::kReach;
      slope[v] = V{} + row[0][top];
      for (int j = 0; j < kFunctions; ++j) f[v][j] = row[j][top] * t[v] + row[j][top - 1];
    }
#pragma GCC unroll 32
    for (int k = top - 2; k >= 0; --k) {
#pragma GCC unroll 2
      for (int v = 0; v < n; ++v) {
        slope[v] = slope[v] * t[v] + f[v][0];
        for (int j = 0; j < kFunctions; ++j) f[v][j] = f[v][j] * t[v] + row[j][k];
      }
    }
#pragma GCC unroll 2
    for (int v = 0; v < n; ++v) op.add(begin + v, amplitude, f[v], slope[v] * factor, dy[v], dx[v], v2[v]);
  }
  op.finish_halo(sums);
}

template <class Family, int kFunctions, class Closed, class Op>
inline void adjoint_near(const Entries& entries, int e, const ChunkRows& chunk, const Block& block,
                         const Closed& closed, Op& op, double* sums) {
  using V = Vector<double>;
  const int64_t halo = entries.halo(e);
  for (int v = 0; v < Block::kVectors; ++v) {
    const V dy = block.y[v] - entries.y(e), dx = block.x[v] - entries.x(e), v2 = dy * dy + dx * dx;
    V values[kFunctions], f[kMostFunctions], slope;
    evaluate_points<Family, true>(halo, v2, chunk, closed, values, slope);
    for (int j = 0; j < kFunctions; ++j) f[j] = values[j];
    op.add(v, chunk.halos[halo].amplitude, f, slope, dy, dx, v2);
  }
  op.finish_halo(sums);
}

// The transpose at the points of the nodes and at the rays.
template <int kFunctions, class Closed>
struct AdjointOfTree {
  static constexpr int kFields = 3;
  const RayTree& tree;
  const ChunkRows& chunk;
  const Closed& closed;
  const double* cotangents;    // of the sorted rays, y and then x
  const double* node_weights;  // at the points of the nodes, y and then x
  const int64_t* node_at;      // where those of a node begin
  double* out;                 // cotangents of the sorted rays from near haloes, y and then x
  double* halo_sums;           // [part][halo][kHaloSums] vectors

  void at_points(const Candidates& from, Lists& lists, int node, const double* y, const double* x, int points,
                 double* values, int part) const {
    const double* w = node_weights + node_at[node];
    sum<false>(from, lists, y, x, w, w + points, points, values, points, part);
  }
  void at_rays(const Candidates& from, Lists& lists, int64_t begin, int64_t end, int part) const {
    const int64_t slots = tree.slots();
    sum<true>(from, lists, tree.y() + begin, tree.x() + begin, cotangents + begin, cotangents + slots + begin,
              end - begin, out + begin, slots, part);
  }

 private:
  template <bool kAtRays>
  void sum(const Candidates& from, Lists& lists, const double* y, const double* x, const double* wy, const double* wx,
           int64_t points, double* fields, int64_t distance, int part) const {
    constexpr int W = Block::W;
    double* sums = halo_sums + int64_t{part} * chunk.count * kHaloSums * W;
    const auto of = [&](const Entries& entries, int e) { return sums + entries.halo(e) * kHaloSums * W; };
    with_wide(chunk.loose, [&](auto wide) {
      using Family = decltype(wide);
      for_blocks(from, chunk, y, x, points, lists, [&](int64_t i, const Block& block) {
        PairAdjoint<kFunctions, kAtRays> op;
        for (int v = 0; v < Block::kVectors; ++v) op.wy[v] = load(wy + i + v * W), op.wx[v] = load(wx + i + v * W);
        lists.narrow.for_each<Narrow>(kFunctions, chunk.distance, [&](int e) {
          adjoint_row<Narrow, kFunctions>(lists.narrow, e, chunk, block, op, of(lists.narrow, e));
        });
        lists.wide.for_each<Family>(kFunctions, chunk.distance, [&](int e) {
          adjoint_row<Family, kFunctions>(lists.wide, e, chunk, block, op, of(lists.wide, e));
        });
        for (int e = 0; e < lists.near.count; ++e) {
          adjoint_near<Family, kFunctions>(lists.near, e, chunk, block, closed, op, of(lists.near, e));
        }
        for (int f = 0; f < op.kFields; ++f) {
          for (int v = 0; v < Block::kVectors; ++v) {
            double* to = fields + f * distance + i + v * W;
            store(to, load(to) + op.field[f][v]);
          }
        }
      });
    });
  }
};

// Weights at the points of all nodes that have them, out of the cotangents of the sorted rays. False where memory ran
// out.
inline bool gather_weights(const RayTree& tree, const FarField& far, const double* cotangents, Scratch& scratch,
                           Crew::Worker& worker) {
  const int square = far.square();
  int64_t* at = scratch.node_at.reserve<int64_t>(tree.size());
  if (at == nullptr) return false;
  int64_t total = 0;
  for (int i = 0; i < tree.size(); ++i) {
    at[i] = total;
    if (has_points(&far, tree[i])) total += 2 * square;
  }
  double* weights = scratch.weights.reserve<double>(total);
  if (weights == nullptr) return false;
  // From the deepest level up; the nodes of a level follow one another.
  for (int end = tree.size(); end > 0;) {
    int begin = end - 1;
    while (begin > 0 && tree[begin - 1].level == tree[end - 1].level) --begin;
    const int count = end - begin, parts = count < kParts ? count : kParts;
    worker.parallel_for(parts, [&](int part) {
      double moments[2 * kMostSquare];
      for (int i = begin + part; i < end; i += parts) {
        const RayTree::Node& node = tree[i];
        if (!has_points(&far, node)) continue;
        for (int k = 0; k < 2 * square; ++k) moments[k] = 0;
        const auto add_rays = [&](const RayTree::Node& leaf) {
          far.gather(node.box, tree.y() + leaf.begin, tree.x() + leaf.begin, cotangents + leaf.begin, tree.slots(),
                     leaf.end - leaf.begin, moments);
        };
        if (node.children == 0) add_rays(node);
        for (int c = node.child; c < node.child + node.children; ++c) {
          if (!has_points(&far, tree[c])) {
            add_rays(tree[c]);
            continue;
          }
          for (int f = 0; f < 2; ++f)
            far.pass_up(weights + at[c] + f * square, tree[c].box, node.box, moments + f * square);
        }
        for (int f = 0; f < 2; ++f) far.weights(moments + f * square, weights + at[i] + f * square);
      }
    });
    end = begin;
  }
  return true;
}

template <int kFunctions, class D>
bool adjoint_of_chunks(const Scene<D>& scene, const Options& options, const ActiveHalos& active, const D* cotangent,
                       const Linear<D, D*>& out, Scratch& scratch, Crew::Worker& worker) {
  constexpr int W = Block::W;
  const Halo* halos = active.halos;
  const int count = active.count;
  const Radial<D> radial = radial_of(scene, scratch);
  if (radial.tables.transform == nullptr) return false;
  const auto closed = [&](const Halo& halo, double v, double* values, double* slope) {
    radial.with_slopes(halo, v, kFunctions, values);
    *slope = v > kLeastU * halo.scale * halo.scale ? (radial.local(halo, v) - values[0]) / v : 0;
  };
  const auto sample = [&](const Halo& halo, auto v, auto* values) { radial.with_slopes(halo, v, kFunctions, values); };
  // A halo's sums become the cotangents of its parameters.
  const auto finish = [&](int h, const double* s) {
    const Halo& halo = halos[h];
    const int i = active.number[h];
    out.amplitude[i] += static_cast<D>(s[0]);
    out.centre[2 * i] -= static_cast<D>(halo.amplitude * s[1]);
    out.centre[2 * i + 1] -= static_cast<D>(halo.amplitude * s[2]);
    out.scale[i] -= static_cast<D>(halo.amplitude * s[3] / halo.scale);
    out.shape[2 * i] += static_cast<D>(halo.amplitude * s[4]);
    out.shape[2 * i + 1] += static_cast<D>(halo.amplitude * s[5]);
  };

  for (int64_t first = 0; first < scene.n; first += kRaysAtOnce) {
    const int64_t n = scene.n - first < kRaysAtOnce ? scene.n - first : kRaysAtOnce;
    const D *grid = scene.grid + 2 * first, *weight = cotangent + 2 * first;
    D* rays_out = out.grid + 2 * first;
    for (int64_t i = 0; i < 2 * n; ++i) rays_out[i] = static_cast<D>(kNaN);
    RayTree& tree = scratch.tree;
    if (!tree.build(grid, n, kLeafRays)) return false;
    if (tree.size() == 0) continue;
    const int64_t slots = tree.slots();
    // Cotangents (y, x), what the near haloes give the rays (y, x), and the Jacobian of the far ones, of the sorted
    // rays.
    double* memory = scratch.fields.template reserve<double>(7 * slots);
    if (memory == nullptr) return false;
    double *sorted = memory, *near = memory + 2 * slots, *jacobian = memory + 4 * slots;
    for (int64_t slot = 0; slot < slots; ++slot) {
      const int64_t ray = tree.order()[slot];
      for (int f = 0; f < 2; ++f) sorted[f * slots + slot] = ray < 0 ? 0 : static_cast<double>(weight[2 * ray + f]);
    }
    for (int64_t i = 0; i < 5 * slots; ++i) near[i] = 0;
    const bool use_far = wants_far_field(options.tol, tree);
    for (int done = 0; done < count;) {
      ChunkRows chunk;
      FarPlan plan;
      if (!make_chunk<kFunctions>(halos + done, count - done, tree, FarErrors::of_derivatives(options.tol, count),
                                  sample, scratch, worker, &chunk, &plan))
        return false;
      // The same for all chunks.
      if (use_far && done == 0 && !gather_weights(tree, *plan.far(), sorted, scratch, worker)) return false;
      const int64_t part_sums = int64_t{chunk.count} * kHaloSums * W;
      double* sums = scratch.accumulators.template reserve<double>(kParts * part_sums);
      if (sums == nullptr) return false;
      worker.parallel_for(kParts, [&](int part) {
        for (int64_t i = part * part_sums; i < (part + 1) * part_sums; ++i) sums[i] = 0;
      });
      const AdjointOfTree<kFunctions, decltype(closed)> sum{
          tree, chunk, closed, sorted, scratch.weights.template get<double>(), scratch.node_at.template get<int64_t>(),
          near, sums};
      if (!sum_chunk(tree, use_far ? plan.far() : nullptr, plan.reach(), sum, chunk, jacobian, scratch, worker))
        return false;
      for (int h = 0; h < chunk.count; ++h) {
        double total[kHaloSums] = {};
        for (int k = 0; k < 3 + kFunctions; ++k) {
          for (int part = 0; part < kParts; ++part) {
            for (int lane = 0; lane < W; ++lane)
              total[k] += sums[part * part_sums + (int64_t{h} * kHaloSums + k) * W + lane];
          }
        }
        finish(done + h, total);
      }
      done += chunk.count;
    }
    for (int64_t slot = 0; slot < slots; ++slot) {
      const int64_t ray = tree.order()[slot];
      if (ray < 0) continue;
      const double wy = sorted[slot], wx = sorted[slots + slot];
      const double yy = jacobian[slot], yx = jacobian[slots + slot], xx = jacobian[2 * slots + slot];
      rays_out[2 * ray] = static_cast<D>(near[slot] + yy * wy + yx * wx);
      rays_out[2 * ray + 1] = static_cast<D>(near[slots + slot] + yx * wy + xx * wx);
    }
  }
  return true;
}

template <class D>
bool adjoint_of_lane(const Scene<D>& scene, const Options& options, const D* cotangent, const Linear<D, D*>& out,
                     Scratch& scratch, Crew::Worker& worker) {
  ActiveHalos active;
  if (!read_halos(scene, scratch, &active)) return false;
  const D start = static_cast<D>(active.valid ? 0 : kNaN);
  for (int i = 0; i < scene.count; ++i) {
    out.amplitude[i] = out.scale[i] = start;
    for (int k = 0; k < 2; ++k) out.centre[2 * i + k] = out.shape[2 * i + k] = start;
  }
  if (!active.valid) {
    for (int64_t i = 0; i < 2 * scene.n; ++i) out.grid[i] = start;
    return true;
  }
  int shapes = 0;
  for (int h = 0; h < active.count; ++h) {
    const int own = shape_parameters(active.halos[h].profile);
    shapes = own > shapes ? own : shapes;
  }
  switch (shapes) {
    case 0:
      return adjoint_of_chunks<1>(scene, options, active, cotangent, out, scratch, worker);
    case 1:
      return adjoint_of_chunks<2>(scene, options, active, cotangent, out, scratch, worker);
    default:
      return adjoint_of_chunks<3>(scene, options, active, cotangent, out, scratch, worker);
  }
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
