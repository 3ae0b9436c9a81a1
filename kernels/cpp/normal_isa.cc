// Normal matrices: tiles of rows, of which the columns that are zero everywhere are left out, against themselves.
#include <cstring>

#include "normal.h"
#include "simd.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {
namespace normal {
namespace {

// Rows of a tile. More of them have fewer columns of zeros in common, fewer make more of the sums in memory.
constexpr int64_t kTile = 64;
// Tiles that are packed before they are multiplied.
constexpr int64_t kTilesAtOnce = 16;
// Columns of the result that a thread takes at a time: each entry is summed by one thread, in a fixed order.
constexpr int64_t kRange = 128;

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// The columns of a tile that are not zero, range by range, in panels of kPanel columns; those that a range does not
// fill are -1. A panel has its columns side by side, row after row.
template <class D>
struct Layout {
  static constexpr int kPanel = 2 * Simd<D>::width;

  explicit Layout(int64_t columns)
      : columns(columns), ranges((columns + kRange - 1) / kRange), most(up_to(columns, kPanel) + ranges * kPanel) {}
  int64_t columns, ranges, most;  // most: columns of a tile that is not zero anywhere, with those that are not filled
};

template <class D>
struct Tile {
  D* panels;         // (most / kPanel, kTile, kPanel)
  int32_t* columns;  // (most,)
  int32_t* first;    // panel that each range begins with, and their number after the last
};

struct Scratch {
  Buffer panels, columns, first, seen;
};
void* make_scratch() { return new Scratch; }
void free_scratch(void* scratch) { delete static_cast<Scratch*>(scratch); }

template <class D>
struct Bits;
template <>
struct Bits<double> {
  using Type = uint64_t;
};
template <>
struct Bits<float> {
  using Type = uint32_t;
};

template <class D>
void pack(const Layout<D>& layout, int64_t rows, const D* matrix, const D* scale, const int32_t* order,
          typename Bits<D>::Type* seen, Tile<D> tile) {
  using Word = typename Bits<D>::Type;
  constexpr int R = Layout<D>::kPanel;
  const int64_t S = layout.columns;
  std::memset(seen, 0, static_cast<size_t>(S) * sizeof(Word));
  for (int64_t r = 0; r < rows; ++r) {
    const D* row = matrix + order[r] * S;
    for (int64_t j = 0; j < S; ++j) {
      Word bits;
      std::memcpy(&bits, row + j, sizeof(Word));
      seen[j] |= bits;
    }
  }
  int64_t count = 0;
  for (int64_t range = 0; range < layout.ranges; ++range) {
    tile.first[range] = static_cast<int32_t>(count / R);
    const int64_t end = smaller((range + 1) * kRange, S);
    for (int64_t j = range * kRange; j < end; ++j) {
      if (seen[j] != 0) tile.columns[count++] = static_cast<int32_t>(j);
    }
    while (count % R != 0) tile.columns[count++] = -1;
  }
  tile.first[layout.ranges] = static_cast<int32_t>(count / R);
  for (int64_t r = 0; r < rows; ++r) {
    const D *row = matrix + order[r] * S, s = scale[order[r]];
    D* to = tile.panels + r * R;
    for (int64_t k = 0; k < count; k += R, to += kTile * R) {
      for (int m = 0; m < R; ++m) {
        const int32_t j = tile.columns[k + m];
        to[m] = j < 0 ? D(0) : row[j] * s;
      }
    }
  }
}

// Adds the products of the columns of two panels to where they belong, on and below the diagonal.
template <class D>
void multiply(int64_t rows, const D* across, const int32_t* at_across, const D* down, const int32_t* at_down, int64_t S,
              D* out) {
  constexpr int W = Simd<D>::width, R = 2 * W, C = kTileColumns;
  const bool is_run = at_across[R - 1] - at_across[0] == R - 1;
  for (int c = 0; c < R; c += C) {
    if (at_down[c] < 0) break;
    Vector<D> a[C] = {}, b[C] = {};
    const D *left = across, *right = down + c;
    for (int64_t k = 0; k < rows; ++k, left += R, right += R) {
      const Vector<D> u = aligned(left), v = aligned(left + W);
#pragma GCC unroll 8
      for (int m = 0; m < C; ++m) {
        a[m] += u * right[m];
        b[m] += v * right[m];
      }
    }
    for (int m = 0; m < C && at_down[c + m] >= 0; ++m) {
      const int64_t i = at_down[c + m];
      D* row = out + i * S;
      if (is_run && at_across[R - 1] <= i) {
        D* to = row + at_across[0];
        store(to, load(to) + a[m]);
        store(to + W, load(to + W) + b[m]);
        continue;
      }
      for (int r = 0; r < R; ++r) {
        const int32_t j = at_across[r];
        if (j < 0 || j > i) break;
        row[j] += r < W ? a[m][r] : b[m][r - W];
      }
    }
  }
}

template <class D>
bool matrix(int64_t rows, int64_t columns, const D* matrix, const D* scale, const int32_t* order, D* out,
            Crew::Worker& worker) {
  constexpr int R = Layout<D>::kPanel;
  using Word = typename Bits<D>::Type;
  auto& scratch = *static_cast<Scratch*>(worker.scratch(make_scratch, free_scratch));
  const Layout<D> layout(columns);
  D* panels = scratch.panels.reserve<D>(kTilesAtOnce * layout.most * kTile);
  auto* at = scratch.columns.reserve<int32_t>(kTilesAtOnce * layout.most);
  auto* first = scratch.first.reserve<int32_t>(kTilesAtOnce * (layout.ranges + 1));
  auto* seen = scratch.seen.reserve<Word>(kTilesAtOnce * columns);
  if (panels == nullptr || at == nullptr || first == nullptr || seen == nullptr) return false;
  const auto tile = [&](int64_t t) {
    return Tile<D>{panels + t * layout.most * kTile, at + t * layout.most, first + t * (layout.ranges + 1)};
  };
  std::memset(out, 0, static_cast<size_t>(columns) * columns * sizeof(D));
  const auto rows_of = [&](int64_t start, int64_t t) { return smaller(kTile, rows - start - t * kTile); };
  for (int64_t start = 0; start < rows; start += kTilesAtOnce * kTile) {
    const int64_t tiles = smaller(kTilesAtOnce, (rows - start + kTile - 1) / kTile);
    worker.parallel_for(static_cast<int>(tiles), [&](int t) {
      pack(layout, rows_of(start, t), matrix, scale, order + start + t * kTile, seen + t * columns, tile(t));
    });
    worker.parallel_for(static_cast<int>(layout.ranges), [&](int p) {
      const int64_t range = layout.ranges - 1 - p;  // the one with the most work first
      for (int64_t t = 0; t < tiles; ++t) {
        const Tile<D> of = tile(t);
        for (int64_t i = of.first[range]; i < of.first[range + 1]; ++i) {
          for (int64_t j = 0; j <= i; ++j) {
            multiply(rows_of(start, t), of.panels + j * kTile * R, of.columns + j * R, of.panels + i * kTile * R,
                     of.columns + i * R, columns, out);
          }
        }
      }
    });
  }
  worker.parallel_for(static_cast<int>(layout.ranges), [&](int range) {
    const int64_t end = smaller((range + 1) * kRange, columns);
    for (int64_t j = range * kRange; j < end; ++j) {
      for (int64_t i = 0; i < j; ++i) out[i * columns + j] = out[j * columns + i];
    }
  });
  return true;
}

}  // namespace
}  // namespace normal

template <class D>
NormalKernels<D> normal_kernels() {
  return {normal::matrix<D>};
}
template NormalKernels<float> normal_kernels<float>();
template NormalKernels<double> normal_kernels<double>();

}  // namespace lenskern::LENSKERN_ISA
