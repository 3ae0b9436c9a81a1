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

// Memory of a worker is bounded by these, whatever the size of the call. They are constants, not shares of what a machine
// has, so that results do not depend on the machine.
constexpr int64_t kRaysAtOnce = 1 << 18, kRowDoublesAtOnce = 1 << 21;
constexpr int kHalosAtOnce = 4096;

// So few rays are summed in closed form: rows would cost more.
constexpr int64_t kClosedRays = 96;

// The upper levels of the tree are done one after the other, the nodes of each shared out; then the branches below.
constexpr int kTopLevels = 3, kMostTop = 1 + 4 + 16, kMostBranches = 64;

// Number of parts that nodes and branches are shared out in, each with memory of its own.
constexpr int kParts = 16;

struct Scratch {
  Buffer halos, rows, offsets, fields, lists, parts;
  RayTree tree;
};

// Lists and polynomials for one node on the way down.
struct Level {
  int32_t* halo;
  double *y, *x;
  double *values, *coefficients;
};

// Branch-private memory: one Level per depth, the entries of a block, and the points of a box.
template <int kFields>
class Descent {
 public:
  static int64_t level_doubles(int halos) { return padded(halos) / 2 * 5 + 2 * kFields * kMostSquare; }
  static int64_t doubles(int halos) {
    const int64_t list = padded(halos);
    return kDepths * level_doubles(halos) + list / 2 * 5 + 2 * kMostSquare + 3 * list * int64_t{sizeof(Entry) / 8};
  }
  static Level level_at(double* memory, int halos) {
    const int64_t list = padded(halos);
    double *y = take(memory, list), *x = take(memory, list);
    double *values = take(memory, kFields * kMostSquare), *coefficients = take(memory, kFields * kMostSquare);
    return {reinterpret_cast<int32_t*>(memory), y, x, values, coefficients};
  }

  Descent(double* memory, int halos, int part) : part_(part) {
    const int64_t list = padded(halos);
    for (Level& level : levels_) level = level_at(take(memory, level_doubles(halos)), halos);
    far_y_ = take(memory, list), far_x_ = take(memory, list);
    far_halo_ = reinterpret_cast<int32_t*>(take(memory, list / 2));
    node_y_ = take(memory, kMostSquare), node_x_ = take(memory, kMostSquare);
    Entry* entries = reinterpret_cast<Entry*>(take(memory, 3 * list * int64_t{sizeof(Entry) / 8}));
    entries_ = {entries, entries + list, entries + 2 * list, 0, 0, 0};
  }

  Level& level(int depth) { return levels_[depth]; }
  Entries& entries() { return entries_; }
  int part() const { return part_; }
  double *far_y_, *far_x_, *node_y_, *node_x_;
  int32_t* far_halo_;

  static int64_t padded(int halos) { return (halos + 31) / 32 * 32; }

 private:
  static constexpr int kDepths = HilbertCurve::kLevels + 1;
  static double* take(double*& memory, int64_t count) {
    double* p = memory;
    memory += count;
    return p;
  }
  Level levels_[kDepths];
  Entries entries_;
  int part_;
};

// Whether a node has enough rays to be worth a polynomial.
inline bool has_points(const FarField* far, const RayTree::Node& node) { return far != nullptr && node.rays >= far->square(); }

// A polynomial and the box that it holds for; null for none.
struct Expansion {
  const double* coefficients = nullptr;
  Box box{};
};

// Takes haloes down the tree: at each node those that are far from it are summed at its points, at the leaves the rest at
// the rays. `Sum` says what is summed:
//   sum.at_points(from, entries, node, y, x, values, part) and sum.at_rays(from, entries, begin, end, part)
// with the fields at the points of a node going to values[field * points + point], those at the rays to out.
template <class Sum>
class TreeDescent {
 public:
  static constexpr int kFields = Sum::kFields;

  // `far` may be null: everything is summed at the rays.
  TreeDescent(const RayTree& tree, const FarField* far, const Sum& sum, double* out) : tree_(tree), far_(far), sum_(sum), out_(out) {}

  // Splits the candidates of a node: those that are far go into its polynomial, the others into level.halo.
  Candidates split(int index, const Candidates& from, const Expansion& above, Descent<kFields>& memory, Level& level,
                   Expansion* expansion) const {
    const RayTree::Node& node = tree_[index];
    *expansion = above;
    if (!has_points(far_, node)) return from;
    int near = 0, distant = 0;
    for (int i = 0; i < from.count; ++i) {
      const bool is_far = far_->is_far(node.box, from.y[i], from.x[i]);
      level.halo[near] = from.halo[i], level.y[near] = from.y[i], level.x[near] = from.x[i];
      memory.far_halo_[distant] = from.halo[i], memory.far_y_[distant] = from.y[i], memory.far_x_[distant] = from.x[i];
      near += !is_far, distant += is_far;
    }
    const Candidates left{near, level.halo, level.y, level.x};
    if (distant == 0) return left;
    const int square = far_->square();
    for (int k = 0; k < kFields * square; ++k) level.values[k] = 0;
    far_->place(node.box, memory.node_y_, memory.node_x_);
    sum_.at_points({distant, memory.far_halo_, memory.far_y_, memory.far_x_}, memory.entries(), index, memory.node_y_,
                   memory.node_x_, square, level.values, memory.part());
    for (int f = 0; f < kFields; ++f) {
      if (above.coefficients != nullptr) {
        far_->pass_down(above.coefficients + f * square, above.box, node.box, level.values + f * square);
      }
      far_->coefficients(level.values + f * square, level.coefficients + f * square);
    }
    *expansion = {level.coefficients, node.box};
    return left;
  }

  void descend(int index, int depth, const Candidates& from, const Expansion& above, Descent<kFields>& memory) const {
    Expansion expansion;
    const Candidates left = split(index, from, above, memory, memory.level(depth), &expansion);
    finish(index, depth, left, expansion, memory);
  }

  void finish(int index, int depth, const Candidates& left, const Expansion& expansion, Descent<kFields>& memory) const {
    const RayTree::Node& node = tree_[index];
    for (int k = 0; k < node.children; ++k) descend(node.child + k, depth + 1, left, expansion, memory);
    if (node.children > 0) return;
    sum_.at_rays(left, memory.entries(), node.begin, node.end, memory.part());
    if (expansion.coefficients == nullptr) return;
    far_->template evaluate<kFields>(expansion.coefficients, expansion.box, tree_.y() + node.begin, tree_.x() + node.begin,
                                     node.end - node.begin, out_ + node.begin, tree_.slots());
  }

 private:
  const RayTree& tree_;
  const FarField* far_;
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
        here.left = descent.split(here.node, parent == nullptr ? all : parent->left, parent == nullptr ? Expansion{} : parent->expansion,
                                  memory, here.level, &here.expansion);
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
inline bool sum_chunk(const RayTree& tree, const FarField* far, const Sum& sum, const ChunkRows& chunk, double* out, Scratch& scratch,
                      Crew::Worker& worker) {
  using Memory = Descent<Sum::kFields>;
  const int64_t list = Memory::padded(chunk.count), levels = kMostTop * Memory::level_doubles(chunk.count);
  double* lists = scratch.lists.template reserve<double>(levels + list / 2 * 5);
  const int64_t part_doubles = Memory::doubles(chunk.count);
  double* parts = scratch.parts.template reserve<double>(kParts * part_doubles);
  if (lists == nullptr || parts == nullptr) return false;
  double *y = lists + levels, *x = y + list;
  int32_t* halo = reinterpret_cast<int32_t*>(x + list);
  for (int h = 0; h < chunk.count; ++h) y[h] = chunk.halos[h].y, x[h] = chunk.halos[h].x, halo[h] = h;
  const TreeDescent<Sum> descent(tree, far, sum, out);
  sum_tree(descent, tree, {chunk.count, halo, y, x}, lists, parts, part_doubles, worker);
  return true;
}

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
