// One lane: rays and haloes in chunks, down the tree of the rays.
#pragma once

#include <cmath>
#include <cstdint>

#include "crew.h"
#include "deflect_far.h"
#include "deflect_halos.h"
#include "deflect_sum.h"
#include "deflect_tree.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// Memory of a worker is bounded by these, whatever the size of the call. They are constants, not shares of what a
// machine has, so that results do not depend on the machine.
constexpr int64_t kRaysAtOnce = 1 << 18, kRowDoublesAtOnce = 1 << 21;
constexpr int kHalosAtOnce = 4096;

// Without a far field, rows that stay in the caches between their making and their use pay; with one, every chunk would
// repeat the polynomials of the nodes.
constexpr int64_t kDirectRowDoubles = 1 << 18;

// So few rays are summed in closed form: rows would cost more.
constexpr int64_t kClosedRays = 96;

// Rays of a leaf. At least kMostSquare, so that a node without points of its own is a leaf.
constexpr int64_t kLeafRays = kMostSquare;

// The upper levels of the tree are done one after the other, the nodes of each shared out; then the branches below.
constexpr int kTopLevels = 3, kMostTop = 1 + 4 + 16, kMostBranches = 64;

// Number of parts that nodes and branches are shared out in, each with memory of its own.
constexpr int kParts = 16;

struct Scratch {
  Buffer halos, numbers, transform, tangents, rows, offsets, fields, lists, parts, reaches, weights, node_at,
      accumulators;
  RayTree tree;

  int64_t bytes() const {
    int64_t total = tree.bytes();
    for (const Buffer* buffer : {&halos, &numbers, &transform, &tangents, &rows, &offsets, &fields, &lists, &parts,
                                 &reaches, &weights, &node_at, &accumulators})
      total += buffer->bytes();
    return total;
  }
};

// Candidates and polynomials of one node on the way down.
struct Level {
  Candidates near;
  double *values, *coefficients;
};

// Of one part: a level for each depth, the far haloes and the points of a node, and the lists of a block.
template <int kFields>
class Descent {
 public:
  static int64_t padded(int halos) { return (halos + 15) / 8 * 8; }  // and one vector more
  static int64_t list_doubles(int halos) { return padded(halos) * Candidates::kArrays; }
  static int64_t level_doubles(int halos) { return list_doubles(halos) + 2 * kFields * kMostSquare; }
  static int64_t doubles(int halos) {
    return kDepths * level_doubles(halos) + list_doubles(halos) + 2 * kMostSquare;
  }

  static Level level_at(double* memory, int halos) {
    double* values = memory + list_doubles(halos);
    return {Candidates::at(memory, padded(halos)), values, values + kFields * kMostSquare};
  }

  Descent(double* memory, int halos, int number) : part(number) {
    const auto take = [&memory](int64_t count) { return (memory += count) - count; };
    for (Level& level : levels) level = level_at(take(level_doubles(halos)), halos);
    far = Candidates::at(take(list_doubles(halos)), padded(halos));
    y = take(kMostSquare), x = take(kMostSquare);
  }

  const int part;
  Level levels[HilbertCurve::kLevels + 1];
  Candidates far;
  Lists lists;
  double *y, *x;

 private:
  static constexpr int kDepths = HilbertCurve::kLevels + 1;
};

// Whether a node has enough rays to be worth a polynomial.
inline bool has_points(const FarField* far, const RayTree::Node& node) {
  return far != nullptr && node.rays >= far->square();
}

// A polynomial and the box that it holds for; null for none.
struct Expansion {
  const double* coefficients = nullptr;
  Box box{};
};

// The rho that a halo needs where its field has the peak it has anywhere, and, times R^(-1/p), where it is that of its
// mass.
struct Reach {
  double peak, mass;
};

// Takes haloes down the tree: at each node those that are far from it are summed at its points, at the leaves the rest
// at the rays. `Sum` says what is summed:
//   sum.at_points(from, lists, node, y, x, points, values, part) and sum.at_rays(from, lists, begin, end, part)
// with the fields at the points of a node going to values[field * points + point], those at the rays to out.
template <class Sum>
class TreeDescent {
 public:
  static constexpr int kFields = Sum::kFields;

  // `far` may be null: everything is summed at the rays.
  TreeDescent(const RayTree& tree, const FarField* far, const Reach* reach, const Sum& sum, double* out)
      : tree_(tree), far_(far), reach_(reach), sum_(sum), out_(out) {}

  // Splits the candidates of a node: those that are far go into its polynomial, the others into level.halo.
  Candidates split(int index, const Candidates& from, const Expansion& above, Descent<kFields>& memory, Level& level,
                   Expansion* expansion) const {
    const RayTree::Node& node = tree_[index];
    *expansion = above;
    if (!has_points(far_, node)) return from;
    Candidates near = level.near, distant = memory.far;
    // With rho = kLeastRho haloes are at least a quarter of the half-width away.
    const double decline = 1 / far_->rho(std::fmax(node.box.hy, node.box.hx) / 4);
    for (int i = 0; i < from.count; ++i) {
      const Reach& reach = reach_[from.halo[i]];
      const bool is_far = far_->is_far(node.box, from.y[i], from.x[i], std::fmin(reach.peak, reach.mass * decline));
      near.put(near.count, from, i), distant.put(distant.count, from, i);
      near.count += !is_far, distant.count += is_far;
    }
    if (distant.count == 0) return near;
    const int square = far_->square();
    for (int k = 0; k < kFields * square; ++k) level.values[k] = 0;
    far_->place(node.box, memory.y, memory.x);
    sum_.at_points(distant, memory.lists, index, memory.y, memory.x, square, level.values, memory.part);
    for (int f = 0; f < kFields; ++f) {
      if (above.coefficients != nullptr) {
        far_->pass_down(above.coefficients + f * square, above.box, node.box, level.values + f * square);
      }
      far_->coefficients(level.values + f * square, level.coefficients + f * square);
    }
    *expansion = {level.coefficients, node.box};
    return near;
  }

  void descend(int index, int depth, const Candidates& from, const Expansion& above, Descent<kFields>& memory) const {
    Expansion expansion;
    const Candidates left = split(index, from, above, memory, memory.levels[depth], &expansion);
    finish(index, depth, left, expansion, memory);
  }

  void finish(int index, int depth, const Candidates& left, const Expansion& expansion,
              Descent<kFields>& memory) const {
    const RayTree::Node& node = tree_[index];
    for (int k = 0; k < node.children; ++k) descend(node.child + k, depth + 1, left, expansion, memory);
    if (node.children > 0) return;
    sum_.at_rays(left, memory.lists, node.begin, node.end, memory.part);
    if (expansion.coefficients == nullptr) return;
    far_->template evaluate<kFields>(expansion.coefficients, expansion.box, tree_.y() + node.begin,
                                     tree_.x() + node.begin, node.end - node.begin, out_ + node.begin, tree_.slots());
  }

 private:
  const RayTree& tree_;
  const FarField* far_;
  const Reach* reach_;
  const Sum& sum_;
  double* out_;
};

// A node of the upper levels, once it has been split.
template <int kFields>
struct Top {
  int node;
  Level level;
  Candidates left;
  Expansion expansion;
};

// Sums the haloes of a chunk over the rays of a tree. `lists` has room for kMostTop levels.
template <class Sum>
inline void sum_tree(const TreeDescent<Sum>& descent, const RayTree& tree, const Candidates& all, double* lists,
                     double* part_memory, int64_t part_doubles, Crew::Worker& worker) {
  constexpr int kFields = Sum::kFields;
  using Memory = Descent<kFields>;
  Top<kFields> top[kMostTop];
  struct Branch {
    int node, parent;
  } branches[kMostBranches];
  int begin = 0, end = 1, next = 0, branch_count = 1;
  branches[0] = {0, -1};
  for (int depth = 0; depth < kTopLevels && branch_count > 0; ++depth) {
    // The nodes of a level are the branches that the level above left.
    begin = next, end = begin + branch_count, next = end;
    const int parts = branch_count < kParts ? branch_count : kParts;
    worker.parallel_for(parts, [&](int part) {
      Memory memory(part_memory + part * part_doubles, all.count, part);
      for (int k = part; k < branch_count; k += parts) {
        Top<kFields>& here = top[begin + k];
        here.node = branches[k].node;
        here.level = memory.level_at(lists + (begin + k) * Memory::level_doubles(all.count), all.count);
        const Top<kFields>* parent = branches[k].parent < 0 ? nullptr : &top[branches[k].parent];
        here.left =
            descent.split(here.node, parent == nullptr ? all : parent->left,
                          parent == nullptr ? Expansion{} : parent->expansion, memory, here.level, &here.expansion);
        if (tree[here.node].children == 0) descent.finish(here.node, 0, here.left, here.expansion, memory);
      }
    });
    branch_count = 0;
    for (int k = begin; k < end; ++k) {
      const RayTree::Node& node = tree[top[k].node];
      for (int c = 0; c < node.children; ++c) branches[branch_count++] = {node.child + c, k};
    }
  }
  if (branch_count == 0) return;
  const int parts = branch_count < kParts ? branch_count : kParts;
  worker.parallel_for(parts, [&](int part) {
    Memory memory(part_memory + part * part_doubles, all.count, part);
    for (int k = part; k < branch_count; k += parts) {
      const Top<kFields>& parent = top[branches[k].parent];
      descent.descend(branches[k].node, 0, parent.left, parent.expansion, memory);
    }
  });
}

// The same, with its memory, for all haloes of a chunk. False where memory ran out.
template <class Sum>
inline bool sum_chunk(const RayTree& tree, const FarField* far, const Reach* reach, const Sum& sum,
                      const ChunkRows& chunk, double* out, Scratch& scratch, Crew::Worker& worker) {
  using Memory = Descent<Sum::kFields>;
  const int64_t levels = kMostTop * Memory::level_doubles(chunk.count), part_doubles = Memory::doubles(chunk.count);
  double* lists = scratch.lists.template reserve<double>(levels + Memory::list_doubles(chunk.count));
  double* parts = scratch.parts.template reserve<double>(kParts * part_doubles);
  if (lists == nullptr || parts == nullptr) return false;
  Candidates all = Candidates::at(lists + levels, Memory::padded(chunk.count));
  for (; all.count < chunk.count; ++all.count) {
    const int h = all.count;
    all.halo[h] = h, all.y[h] = chunk.halos[h].y, all.x[h] = chunk.halos[h].x, all.base[h] = chunk.base[h];
  }
  const TreeDescent<Sum> descent(tree, far, reach, sum, out);
  sum_tree(descent, tree, all, lists, parts, part_doubles, worker);
  return true;
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
