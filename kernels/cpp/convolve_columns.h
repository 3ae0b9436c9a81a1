// Convolution of images that are the columns of a matrix, most of whose entries are zero: each maps a pixel of a source
// to the few pixels of the image that show it.
#pragma once

#include <cstdint>
#include <cstring>

#include "convolve.h"
#include "simd.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {
namespace convolve {
namespace {

template <class D>
struct Entry {
  D value;
  int32_t column;
};

// Calls take(j) for the entries of a row that are not zero.
template <class D, class Take>
void over_entries(const D* row, int64_t columns, const Take& take) {
  constexpr int W = Simd<D>::width, kVectors = 8;
  int64_t j = 0;
  for (; j + kVectors * W <= columns; j += kVectors * W) {
    auto some = load(row + j) != Vector<D>{};
    for (int v = 1; v < kVectors; ++v) some |= load(row + j + v * W) != Vector<D>{};
    bool none = true;
    for (int k = 0; k < W; ++k) none &= some[k] == 0;
    if (none) continue;
    for (int64_t k = j; k < j + kVectors * W; ++k) {
      if (row[k] != 0) take(k);
    }
  }
  for (; j < columns; ++j) {
    if (row[j] != 0) take(j);
  }
}

// The rows of a matrix by their entries that are not zero; a row of which many are not has none here.
template <class D>
struct Entries {
  const Entry<D>* all;
  const int64_t* first;  // of each row, and their number after the last
  const bool* is_full;
};

struct ColumnsScratch {
  Buffer rows, first, is_full, entries;
};
void* make_columns_scratch() { return new ColumnsScratch; }
void free_columns_scratch(void* scratch) { delete static_cast<ColumnsScratch*>(scratch); }

// Calls run(start, end) for pieces of `rows` rows, on all workers that help.
template <class F>
void over_pieces(int64_t rows, Crew::Worker& worker, const F& run) {
  constexpr int64_t piece = 64;
  worker.parallel_for(static_cast<int>((rows + piece - 1) / piece), [&](int p) {
    const int64_t end = (p + 1) * piece;
    run(p * piece, end < rows ? end : rows);
  });
}

template <class D>
bool find_entries(const lenskern::convolve::Columns& c, const D* matrix, ColumnsScratch& scratch, Crew::Worker& worker,
                  Entries<D>& found) {
  int64_t* first = scratch.first.reserve<int64_t>(c.inputs + 1);
  bool* is_full = scratch.is_full.reserve<bool>(c.inputs);
  if (first == nullptr || is_full == nullptr) return false;
  over_pieces(c.inputs, worker, [&](int64_t start, int64_t end) {
    for (int64_t r = start; r < end; ++r) {
      int64_t count = 0;
      over_entries(matrix + r * c.columns, c.columns, [&](int64_t) { ++count; });
      is_full[r] = 4 * count > c.columns;
      first[r] = is_full[r] ? 0 : count;
    }
  });
  int64_t total = 0;
  for (int64_t r = 0; r <= c.inputs; ++r) {
    const int64_t count = r < c.inputs ? first[r] : 0;
    first[r] = total;
    total += count;
  }
  auto* entries = scratch.entries.reserve<Entry<D>>(total);
  if (total > 0 && entries == nullptr) return false;
  over_pieces(c.inputs, worker, [&](int64_t start, int64_t end) {
    for (int64_t r = start; r < end; ++r) {
      if (first[r] == first[r + 1]) continue;
      const D* row = matrix + r * c.columns;
      Entry<D>* to = entries + first[r];
      over_entries(row, c.columns, [&](int64_t j) { *to++ = {row[j], static_cast<int32_t>(j)}; });
    }
  });
  found = {entries, first, is_full};
  return true;
}

// Entries before the centre of the n of a correlation that is a convolution with a kernel, or its transpose.
int64_t before_centre(int64_t n, bool transposed) { return transposed ? (n - 1) / 2 : n / 2; }

// Of one dimension: the inputs from `start` to `end` that a kernel of n entries brings to an output, and the kernel's
// entry for the first of them, from which on they go down, or, transposed, up.
struct Reach {
  int64_t start, end, tap;

  Reach(int64_t output, int64_t n, int64_t size, bool transposed) {
    const int64_t low = output - before_centre(n, transposed);
    start = low > 0 ? low : 0;
    end = low + n < size ? low + n : size;
    tap = transposed ? start - low : n - 1 - (start - low);
  }
};

template <class D>
bool columns(const lenskern::convolve::Columns& c, const D* matrix, const D* kernel, D* out, Crew::Worker& worker) {
  auto& scratch = *static_cast<ColumnsScratch*>(worker.scratch(make_columns_scratch, free_columns_scratch));
  Entries<D> in;
  int32_t* rows = scratch.rows.reserve<int32_t>(c.height * c.width);
  if (rows == nullptr || !find_entries(c, matrix, scratch, worker, in)) return false;
  const auto is_inside = [&](int64_t y, int64_t x) { return y >= 0 && y < c.height && x >= 0 && x < c.width; };
  for (int64_t p = 0; p < c.height * c.width; ++p) rows[p] = -1;
  for (int64_t r = 0; r < c.inputs; ++r) {
    const int64_t y = c.input_pixels[2 * r], x = c.input_pixels[2 * r + 1];
    if (is_inside(y, x)) rows[y * c.width + x] = static_cast<int32_t>(r);
  }
  const int64_t step = c.transposed ? 1 : -1;
  over_pieces(c.outputs, worker, [&](int64_t start, int64_t end) {
    for (int64_t r = start; r < end; ++r) {
      D* to = out + r * c.columns;
      std::memset(to, 0, static_cast<size_t>(c.columns) * sizeof(D));
      const int64_t y = c.output_pixels[2 * r], x = c.output_pixels[2 * r + 1];
      if (!is_inside(y, x)) continue;
      const Reach down(y, c.kernel_height, c.height, c.transposed), across(x, c.kernel_width, c.width, c.transposed);
      for (int64_t i = down.start; i < down.end; ++i) {
        const D* taps = kernel + (down.tap + step * (i - down.start)) * c.kernel_width;
        for (int64_t j = across.start; j < across.end; ++j) {
          const int32_t row = rows[i * c.width + j];
          const D k = taps[across.tap + step * (j - across.start)];
          if (row < 0 || k == 0) continue;
          for (int64_t e = in.first[row]; e < in.first[row + 1]; ++e) to[in.all[e].column] += k * in.all[e].value;
          if (in.is_full[row]) {
            const D* from = matrix + row * c.columns;
            for (int64_t s = 0; s < c.columns; ++s) to[s] += k * from[s];
          }
        }
      }
    }
  });
  return true;
}

}  // namespace
}  // namespace convolve
}  // namespace lenskern::LENSKERN_ISA
