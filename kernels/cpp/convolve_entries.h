// Convolution of the columns of a matrix that is known by its entries alone and never made, and the transpose of that.
#pragma once

#include <algorithm>

#include "convolve_columns.h"

namespace lenskern::LENSKERN_ISA {
namespace convolve {
namespace {

// A list of entries row by row: those of row r are `places[first[r]]` to `places[first[r + 1]]`, in the order of the list;
// without `places` the list is in that order itself.
struct ByRow {
  const int64_t *first, *places;

  int64_t place(int64_t k) const { return places == nullptr ? k : places[k]; }
};

// Calls drop(place) for entries that are beyond the matrix.
template <class Drop>
bool sort_rows(const lenskern::convolve::Columns& c, const lenskern::convolve::List& list, ColumnsScratch& scratch,
               ByRow& sorted, const Drop& drop) {
  int64_t* first = scratch.first.reserve<int64_t>(c.inputs + 2);
  if (first == nullptr) return false;
  const auto is_inside = [&](int64_t e) {
    return list.rows[e] >= 0 && list.rows[e] < c.inputs && list.columns[e] >= 0 && list.columns[e] < c.columns;
  };
  std::fill(first, first + c.inputs + 2, 0);
  // Counted two rows ahead: `first[r + 1]` then goes from where row r starts to where it ends, as places are put down.
  bool ascending = true;
  for (int64_t e = 0, last = 0; e < list.count; ++e) {
    if (!is_inside(e)) {
      ascending = false;
      drop(e);
      continue;
    }
    ascending = ascending && list.rows[e] >= last;
    last = list.rows[e];
    ++first[last + 2];
  }
  for (int64_t r = 1; r <= c.inputs; ++r) first[r + 1] += first[r];
  if (ascending) {
    sorted = {first + 1, nullptr};
    return true;
  }
  int64_t* places = scratch.places.reserve<int64_t>(list.count + 1);
  if (places == nullptr) return false;
  for (int64_t e = 0; e < list.count; ++e) {
    if (is_inside(e)) places[first[list.rows[e] + 1]++] = e;
  }
  sorted = {first, places};
  return true;
}

// Numbers the different columns of a row as they come. `marks` has a number for each column of the matrix, 0 at first.
class Distinct {
 public:
  explicit Distinct(int32_t* marks) : marks_(marks) {}
  void next_row() { before_ += count_, count_ = 0; }
  // The number of a column; new ones get the number that count() was.
  int32_t operator()(int64_t column) {
    int32_t& mark = marks_[column];
    if (mark <= before_) mark = before_ + ++count_;
    return mark - before_ - 1;
  }
  int32_t count() const { return count_; }

 private:
  int32_t* marks_;
  int32_t before_ = 0, count_ = 0;
};

// Calls run(r, distinct) for all rows, pieces of them by all workers that help.
template <class Run>
bool over_rows(const lenskern::convolve::Columns& c, ColumnsScratch& scratch, Crew::Worker& worker, const Run& run) {
  const int64_t pieces = (c.inputs + kRowsAtOnce - 1) / kRowsAtOnce;
  int32_t* marks = scratch.marks.reserve<int32_t>(pieces * c.columns + 1);
  if (marks == nullptr) return false;
  over_pieces(c.inputs, worker, [&](int64_t start, int64_t end) {
    int32_t* own = marks + start / kRowsAtOnce * c.columns;
    std::fill(own, own + c.columns, 0);
    Distinct distinct(own);
    for (int64_t r = start; r < end; ++r) {
      run(r, distinct);
      distinct.next_row();
    }
  });
  return true;
}

template <class D>
bool scatter(const lenskern::convolve::Columns& c, const lenskern::convolve::List& list, const D* values,
             const D* kernel, D* out, Crew::Worker& worker) {
  auto& scratch = *static_cast<ColumnsScratch*>(worker.scratch(make_columns_scratch, free_columns_scratch));
  ByRow sorted;
  if (!sort_rows(c, list, scratch, sorted, [](int64_t) {})) return false;
  auto* entries = scratch.entries.reserve<Entry<D>>(list.count + 1);
  int64_t* last = scratch.last.reserve<int64_t>(c.inputs + 1);
  if (entries == nullptr || last == nullptr) return false;
  const bool done = over_rows(c, scratch, worker, [&](int64_t r, Distinct& distinct) {
    Entry<D>* own = entries + sorted.first[r];
    for (int64_t k = sorted.first[r]; k < sorted.first[r + 1]; ++k) {
      const int64_t e = sorted.place(k);
      const int32_t known = distinct.count(), at = distinct(list.columns[e]);
      if (at == known) own[at] = {D(0), list.columns[e]};
      own[at].value += values[e];
    }
    const auto* end = std::remove_if(own, own + distinct.count(), [](const Entry<D>& e) { return e.value == 0; });
    last[r] = end - entries;
  });
  return done && blur<D>(c, {entries, sorted.first, last, nullptr}, nullptr, kernel, out, scratch, worker);
}

// values[e] = what the transposed kernel brings of `matrix` to the row and column of entry e.
template <class D>
bool gather(const lenskern::convolve::Columns& c, const lenskern::convolve::List& list, const D* matrix,
            const D* kernel, D* values, Crew::Worker& worker) {
  auto& scratch = *static_cast<ColumnsScratch*>(worker.scratch(make_columns_scratch, free_columns_scratch));
  ByRow sorted;
  if (!sort_rows(c, list, scratch, sorted, [&](int64_t e) { values[e] = 0; })) return false;
  int32_t* at = scratch.rows.reserve<int32_t>(c.height * c.width);
  auto* sums = scratch.entries.reserve<Entry<D>>(list.count + 1);
  int32_t* numbers = scratch.numbers.reserve<int32_t>(list.count + 1);
  if (at == nullptr || sums == nullptr || numbers == nullptr) return false;
  const PixelRows rows(c, c.outputs, c.output_pixels, at);
  return over_rows(c, scratch, worker, [&](int64_t r, Distinct& distinct) {
    Entry<D>* own = sums + sorted.first[r];
    for (int64_t k = sorted.first[r]; k < sorted.first[r + 1]; ++k) {
      const int32_t column = list.columns[sorted.place(k)], known = distinct.count();
      numbers[k] = distinct(column);
      if (numbers[k] == known) own[known] = {D(0), column};
    }
    const int64_t y = c.input_pixels[2 * r], x = c.input_pixels[2 * r + 1];
    rows.within_reach(kernel, !c.transposed, y, x, [&](int32_t row, D tap) {
      const D* from = matrix + row * c.columns;
      for (int32_t m = 0; m < distinct.count(); ++m) own[m].value += tap * from[own[m].column];
    });
    for (int64_t k = sorted.first[r]; k < sorted.first[r + 1]; ++k) values[sorted.place(k)] = own[numbers[k]].value;
  });
}

}  // namespace
}  // namespace convolve
}  // namespace lenskern::LENSKERN_ISA
