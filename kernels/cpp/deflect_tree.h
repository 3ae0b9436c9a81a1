// Rays sorted along a Hilbert curve, in a quadtree whose leaves are blocks of neighbouring rays.
#pragma once

#include <cmath>
#include <cstdint>

#include "simd.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {
namespace deflect {

// Rays are summed in blocks of this many: two to eight vectors, small enough to be compact.
constexpr int kBlock = 16;

// Centre and half-widths.
struct Box {
  double y, x, hy, hx;
};

inline Box bounding_box(const double* y, const double* x, int64_t n) {
  double y0 = y[0], y1 = y[0], x0 = x[0], x1 = x[0];
  for (int64_t i = 1; i < n; ++i) {
    y0 = y[i] < y0 ? y[i] : y0, y1 = y[i] > y1 ? y[i] : y1;
    x0 = x[i] < x0 ? x[i] : x0, x1 = x[i] > x1 ? x[i] : x1;
  }
  return {0.5 * (y0 + y1), 0.5 * (x0 + x1), 0.5 * (y1 - y0), 0.5 * (x1 - x0)};
}

// Position along the Hilbert curve of every cell of a 256 x 256 grid; the first 2 L bits name the quadrant of level L.
struct HilbertCurve {
  static constexpr int kLevels = 8, kCells = 1 << kLevels;
  uint16_t index[kCells][kCells];

  HilbertCurve() {
    for (int i = 0; i < kCells; ++i) {
      for (int j = 0; j < kCells; ++j) {
        int y = i, x = j, d = 0;
        for (int s = kCells / 2; s > 0; s /= 2) {
          const int ry = (y & s) != 0, rx = (x & s) != 0;
          d += s * s * ((3 * rx) ^ ry);
          if (ry == 0) {  // turn the quadrant
            if (rx == 1) x = kCells - 1 - x, y = kCells - 1 - y;
            const int t = x;
            x = y, y = t;
          }
        }
        index[i][j] = static_cast<uint16_t>(d);
      }
    }
  }
};

class RayTree {
 public:
  struct Node {
    Box box;
    int level, first, last;                // first and last (exclusive) place along the curve
    int child = 0, children = 0;           // none for a leaf
    int64_t rays = 0, begin = 0, end = 0;  // slots of a leaf's rays, a multiple of kBlock of them
  };

  // Sorts n rays given as (y, x) pairs; those that are not finite are left out. False where memory ran out.
  template <class D>
  bool build(const D* grid, int64_t n, int64_t leaf_rays) {
    static const HilbertCurve curve;
    constexpr int kPlaces = HilbertCurve::kCells * HilbertCurve::kCells;
    uint16_t* place = places_.reserve<uint16_t>(n);
    int32_t* start = starts_.reserve<int32_t>(kPlaces + 1);
    int32_t* sorted = sorted_.reserve<int32_t>(n);
    const int64_t most_nodes = 1 + 4 * HilbertCurve::kLevels * (n / leaf_rays + 1);
    nodes_ = node_memory_.reserve<Node>(most_nodes);
    if (place == nullptr || start == nullptr || sorted == nullptr || nodes_ == nullptr) return false;

    const Box frame = robust_box(grid, n);
    const double sy = HilbertCurve::kCells / 2 / frame.hy, sx = HilbertCurve::kCells / 2 / frame.hx;
    for (int k = 0; k <= kPlaces; ++k) start[k] = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double y = grid[2 * i], x = grid[2 * i + 1];
      if (!is_finite(y) || !is_finite(x)) continue;
      place[i] = curve.index[cell((y - frame.y + frame.hy) * sy)][cell((x - frame.x + frame.hx) * sx)];
      ++start[place[i] + 1];
      ++finite;
    }
    for (int k = 0; k < kPlaces; ++k) start[k + 1] += start[k];
    // Filling moves start[k] on to the end of place k, which is the start of the next one.
    for (int64_t i = 0; i < n; ++i) {
      if (is_finite(grid[2 * i]) && is_finite(grid[2 * i + 1])) sorted[start[place[i]]++] = static_cast<int32_t>(i);
    }
    const auto begin_of = [&](int k) { return k == 0 ? 0 : start[k - 1]; };

    count_ = 0;
    slots_ = 0;
    if (finite == 0) return true;
    nodes_[count_++] = {{}, 0, 0, kPlaces, 0, 0, finite};
    for (int i = 0; i < count_; ++i) {
      Node& node = nodes_[i];
      if (node.rays <= leaf_rays || node.level == HilbertCurve::kLevels) {
        node.begin = slots_;
        slots_ += (node.rays + kBlock - 1) / kBlock * kBlock;
        node.end = slots_;
        continue;
      }
      node.child = count_;
      const int quarter = (node.last - node.first) / 4;
      for (int k = 0; k < 4; ++k) {
        const int first = node.first + k * quarter, last = first + quarter;
        const int64_t rays = begin_of(last) - begin_of(first);
        if (rays == 0) continue;
        nodes_[count_++] = {{}, node.level + 1, first, last, 0, 0, rays};
        ++node.children;
      }
    }

    // The rays of a leaf, the last repeated up to a whole block.
    y_ = ys_.reserve<double>(slots_), x_ = xs_.reserve<double>(slots_);
    order_ = orders_.reserve<int32_t>(slots_);
    if (y_ == nullptr || x_ == nullptr || order_ == nullptr) return false;
    for (int i = count_ - 1; i >= 0; --i) {
      Node& node = nodes_[i];
      if (node.children > 0) {
        node.box = nodes_[node.child].box;
        for (int k = 1; k < node.children; ++k) node.box = hull(node.box, nodes_[node.child + k].box);
        continue;
      }
      const int32_t* rays = sorted + begin_of(node.first);
      for (int64_t slot = node.begin; slot < node.end; ++slot) {
        const int64_t k = slot - node.begin;
        const int64_t ray = rays[k < node.rays ? k : node.rays - 1];
        order_[slot] = k < node.rays ? static_cast<int32_t>(ray) : -1;
        y_[slot] = grid[2 * ray], x_[slot] = grid[2 * ray + 1];
      }
      node.box = bounding_box(y_ + node.begin, x_ + node.begin, node.end - node.begin);
    }
    return true;
  }

  int size() const { return count_; }
  const Node& operator[](int i) const { return nodes_[i]; }
  // Sorted rays, and which ray of the grid each is, -1 for a repeated one.
  int64_t slots() const { return slots_; }
  const double* y() const { return y_; }
  const double* x() const { return x_; }
  const int32_t* order() const { return order_; }
  int64_t bytes() const {
    return places_.bytes() + starts_.bytes() + sorted_.bytes() + node_memory_.bytes() + ys_.bytes() + xs_.bytes() +
           orders_.bytes();
  }

 private:
  static bool is_finite(double v) { return v - v == 0; }
  static int cell(double v) {
    return v < 0 ? 0 : v >= HilbertCurve::kCells ? HilbertCurve::kCells - 1 : static_cast<int>(v);
  }

  static Box hull(const Box& a, const Box& b) {
    const double y0 = std::fmin(a.y - a.hy, b.y - b.hy), y1 = std::fmax(a.y + a.hy, b.y + b.hy);
    const double x0 = std::fmin(a.x - a.hx, b.x - b.hx), x1 = std::fmax(a.x + a.hx, b.x + b.hx);
    return {0.5 * (y0 + y1), 0.5 * (x0 + x1), 0.5 * (y1 - y0), 0.5 * (x1 - x0)};
  }

  // A frame for the cells that a few rays far away do not blow up: twice what the middle 7/8 of a sample spans, where
  // the box of all rays is larger. Rays outside go into the cells at the edge.
  template <class D>
  static Box robust_box(const D* grid, int64_t n) {
    constexpr int kSample = 256;
    double low[2], high[2], part[2][kSample];
    int taken = 0;
    bool any = false;
    const int64_t stride = n > kSample ? n / kSample : 1;
    for (int64_t i = 0; i < n; ++i) {
      const double p[2] = {static_cast<double>(grid[2 * i]), static_cast<double>(grid[2 * i + 1])};
      if (!is_finite(p[0]) || !is_finite(p[1])) continue;
      for (int a = 0; a < 2; ++a) {
        low[a] = any && low[a] < p[a] ? low[a] : p[a];
        high[a] = any && high[a] > p[a] ? high[a] : p[a];
      }
      any = true;
      if (i % stride == 0 && taken < kSample) part[0][taken] = p[0], part[1][taken] = p[1], ++taken;
    }
    if (!any) return {0, 0, 1, 1};
    double centre[2], half[2];
    for (int a = 0; a < 2; ++a) {
      for (int i = 1; i < taken; ++i) {  // insertion sort
        const double v = part[a][i];
        int j = i;
        for (; j > 0 && part[a][j - 1] > v; --j) part[a][j] = part[a][j - 1];
        part[a][j] = v;
      }
      if (taken >= 64) {
        const double first = part[a][taken / 16], last = part[a][taken - 1 - taken / 16];
        const double begin = first - 0.5 * (last - first), end = last + 0.5 * (last - first);
        if (end > begin) low[a] = low[a] < begin ? begin : low[a], high[a] = high[a] > end ? end : high[a];
      }
      centre[a] = 0.5 * (low[a] + high[a]);
      half[a] = 0.5 * (high[a] - low[a]);
    }
    // Square cells, so that leaves are compact.
    const double side = std::fmax(std::fmax(half[0], half[1]) * (1 + 1e-9), 1e-300);
    return {centre[0], centre[1], side, side};
  }

  Buffer places_, starts_, sorted_, node_memory_, ys_, xs_, orders_;
  Node* nodes_ = nullptr;
  int count_ = 0;
  int64_t slots_ = 0;
  double *y_ = nullptr, *x_ = nullptr;
  int32_t* order_ = nullptr;
};

}  // namespace deflect
}  // namespace lenskern::LENSKERN_ISA
