// Convolution of images that are the columns of a matrix, most of whose entries are zero: each maps a pixel of a source
// to the few pixels of the image that show it.
#pragma once

#include <cstdint>
#include <cstring>

#include "convolve.h"
#include "pages.h"
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

// The rows of a matrix by their entries that are not zero, from `first` to `last` of each; a row of which many are not has
// none here.
template <class D>
struct Entries {
  const Entry<D>* all;
  const int64_t *first, *last;
  const bool* is_full;  // null where none is
};

struct ColumnsScratch {
  Buffer rows, first, last, is_full, entries, places, marks, numbers;
};
void* make_columns_scratch() { return new ColumnsScratch; }
void free_columns_scratch(void* scratch) { delete static_cast<ColumnsScratch*>(scratch); }

constexpr int64_t kRowsAtOnce = 64;  // rows that a thread takes at a time

// Calls run(start, end) for pieces of `rows` rows, on all workers that help.
template <class F>
void over_pieces(int64_t rows, Crew::Worker& worker, const F& run) {
  worker.parallel_for(static_cast<int>((rows + kRowsAtOnce - 1) / kRowsAtOnce), [&](int p) {
    const int64_t end = (p + 1) * kRowsAtOnce;
    run(p * kRowsAtOnce, end < rows ? end : rows);
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
  found = {entries, first, first + 1, is_full};
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

// Which row of a matrix has a pixel of the images: -1 where none has.
class PixelRows {
 public:
  PixelRows(const lenskern::convolve::Columns& c, int64_t rows, const int32_t* pixels, int32_t* at) : c_(c), at_(at) {
    for (int64_t p = 0; p < c.height * c.width; ++p) at_[p] = -1;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t y = pixels[2 * r], x = pixels[2 * r + 1];
      if (is_inside(y, x)) at_[y * c.width + x] = static_cast<int32_t>(r);
    }
  }
  bool is_inside(int64_t y, int64_t x) const { return y >= 0 && y < c_.height && x >= 0 && x < c_.width; }

  // Calls take(row, k) for the rows that a kernel brings to pixel (y, x), and what it brings of them.
  template <class D, class Take>
  void within_reach(const D* kernel, bool transposed, int64_t y, int64_t x, const Take& take) const {
    if (!is_inside(y, x)) return;
    const int64_t step = transposed ? 1 : -1;
    const Reach down(y, c_.kernel_height, c_.height, transposed), across(x, c_.kernel_width, c_.width, transposed);
    for (int64_t i = down.start; i < down.end; ++i) {
      const D* taps = kernel + (down.tap + step * (i - down.start)) * c_.kernel_width;
      for (int64_t j = across.start; j < across.end; ++j) {
        const int32_t row = at_[i * c_.width + j];
        const D k = taps[across.tap + step * (j - across.start)];
        if (row >= 0 && k != 0) take(row, k);
      }
    }
  }

 private:
  const lenskern::convolve::Columns& c_;
  int32_t* at_;
};

// `matrix` has the rows that are full.
template <class D>
bool blur(const lenskern::convolve::Columns& c, const Entries<D>& in, const D* matrix, const D* kernel, D* out,
          ColumnsScratch& scratch, Crew::Worker& worker) {
  int32_t* at = scratch.rows.reserve<int32_t>(c.height * c.width);
  if (at == nullptr) return false;
  prefer_large_pages(out, sizeof(D) * static_cast<size_t>(c.outputs * c.columns));
  const PixelRows rows(c, c.inputs, c.input_pixels, at);
  over_pieces(c.outputs, worker, [&](int64_t start, int64_t end) {
    for (int64_t r = start; r < end; ++r) {
      D* to = out + r * c.columns;
      std::memset(to, 0, static_cast<size_t>(c.columns) * sizeof(D));
      const int64_t y = c.output_pixels[2 * r], x = c.output_pixels[2 * r + 1];
      rows.within_reach(kernel, c.transposed, y, x, [&](int32_t row, D k) {
        for (int64_t e = in.first[row]; e < in.last[row]; ++e) to[in.all[e].column] += k * in.all[e].value;
        if (in.is_full != nullptr && in.is_full[row]) {
          const D* from = matrix + row * c.columns;
          for (int64_t s = 0; s < c.columns; ++s) to[s] += k * from[s];
        }
      });
    }
  });
  return true;
}

template <class D>
bool columns(const lenskern::convolve::Columns& c, const D* matrix, const D* kernel, D* out, Crew::Worker& worker) {
  auto& scratch = *static_cast<ColumnsScratch*>(worker.scratch(make_columns_scratch, free_columns_scratch));
  Entries<D> in;
  return find_entries(c, matrix, scratch, worker, in) && blur(c, in, matrix, kernel, out, scratch, worker);
}

}  // namespace
}  // namespace convolve
}  // namespace lenskern::LENSKERN_ISA
