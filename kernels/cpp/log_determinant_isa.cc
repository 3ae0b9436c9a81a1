// ln det of positive definite matrices: a Cholesky factor inside an envelope where there are zeros to leave out.
#include "log_determinant.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "cholesky.h"
#include "nnls_ordering.h"

namespace lenskern::LENSKERN_ISA {
namespace log_determinant {
namespace {

constexpr int kRowsAtOnce = 64;  // that a thread looks through for zeros
// The part of the entries that are not zero above which an order of the rows saves less than it takes.
constexpr double kWorthArranging = 0.5;

struct Scratch {
  static constexpr int kVectors = Ordering::kVectors + 7;

  Pattern pattern;
  Workspace workspace;
  Buffer panels;
};
void* make_scratch() { return new (std::nothrow) Scratch; }
void free_scratch(void* scratch) { delete static_cast<Scratch*>(scratch); }

// Marks the diagonal and what is not zero below it, from first[i] on in row i; returns the part that is marked. `counts`
// has room for n.
template <class T>
double mark(int n, const T* A, Pattern& pattern, int* first, int* counts, Crew::Worker& worker) {
  const int pieces = (n + kRowsAtOnce - 1) / kRowsAtOnce;
  worker.parallel_for(pieces, [&](int piece) {
    counts[piece] = 0;
    for (int i = piece * kRowsAtOnce; i < (piece + 1) * kRowsAtOnce && i < n; ++i) {
      first[i] = i;
      for (int w = i / 64; w >= 0; --w) {
        const T* row = A + int64_t{i} * n + w * 64;
        const int many = i - w * 64 < 64 ? i - w * 64 : 64;
        uint64_t word = many < 64 ? uint64_t{1} << many : 0;
        for (int j = 0; j < many; ++j) word |= static_cast<uint64_t>(row[j] != T(0)) << j;
        if (word != 0) first[i] = w * 64 + __builtin_ctzll(word);
        pattern.row(i)[w] = word;
        counts[piece] += __builtin_popcountll(word);
      }
    }
  });
  double marked = 0;
  for (int piece = 0; piece < pieces; ++piece) marked += counts[piece];
  return marked / (0.5 * n * (n + 1.0));
}

// The marked entries of rows begin..end of the order, in a panel of zeros.
template <class T>
void gather(int n, const T* A, const Pattern& pattern, const int* order, const int* position, int begin, int end,
            T* panel) {
  for (int k = begin; k < end; ++k) {
    const int i = order[k];
    for (int w = 0; w < pattern.words(); ++w) {
      for (uint64_t b = pattern.row(i)[w]; b != 0; b &= b - 1) {
        const int j = w * 64 + __builtin_ctzll(b);
        if (position[j] > k) continue;
        panel[position[j] * Panels<T>::rows + k - begin] = i > j ? A[int64_t{i} * n + j] : A[int64_t{j} * n + i];
      }
    }
  }
}

template <class T>
bool log_determinant(int n, const T* A, T* out, Crew::Worker& worker) {
  constexpr int R = Panels<T>::rows, C = kTileColumns;
  const int count = Panels<T>::count(n), padded = Panels<T>::padded(n);
  auto* scratch = static_cast<Scratch*>(worker.scratch(make_scratch, free_scratch));
  if (scratch == nullptr) return false;
  Pattern& pattern = scratch->pattern;
  Workspace& workspace = scratch->workspace;
  T* L = scratch->panels.reserve<T>(Panels<T>::size(n));
  if (L == nullptr || !pattern.reserve(n) || !workspace.start(Scratch::kVectors, padded)) return false;
  T *inverse = workspace.take<T>(padded), *shift = workspace.take<T>(padded);
  int *order = workspace.take<int>(n), *first = workspace.take<int>(n), *position = workspace.take<int>(n);
  int *start = workspace.take<int>(count), *counts = workspace.take<int>(n);

  const bool arranged = mark(n, A, pattern, first, counts, worker) <= kWorthArranging;
  if (arranged) {
    pattern.mirror();
    Ordering(pattern, workspace).run(order, first);
    for (int k = 0; k < n; ++k) position[order[k]] = k;
  }
  for (int i = 0; i < padded; ++i) shift[i] = 0;
  worker.parallel_for(count, [&](int p) {
    const int begin = p * R, end = begin + R < n ? begin + R : n;
    T* panel = L + Panels<T>::offset(p);
    int from = begin;
    for (int k = begin; k < end; ++k) from = first[k] < from ? first[k] : from;
    start[p] = from / C * C;
    std::memset(panel + start[p] * R, 0, sizeof(T) * R * (begin + R - start[p]));
    if (arranged) {
      gather(n, A, pattern, order, position, begin, end, panel);
    } else {  // what is above the diagonal comes along, and is not read
      transpose(A + int64_t{begin} * n + start[p], n, end - start[p], end - begin, panel + start[p] * R, R);
    }
    for (int k = end; k < begin + R; ++k) panel[k * R + k - begin] = 1;
  });

  double sum = std::numeric_limits<double>::quiet_NaN();
  if (Cholesky<T>::factor(n, start, L, shift, L, inverse, worker)) {
    sum = 0;
    for (int i = 0; i < n; ++i) sum -= 2 * std::log(double{inverse[i]});
  }
  *out = static_cast<T>(std::isfinite(sum) ? sum : std::numeric_limits<double>::quiet_NaN());
  return true;
}

}  // namespace
}  // namespace log_determinant

template <class D>
LogDeterminantKernel<D> log_determinant_kernel() {
  return log_determinant::log_determinant<D>;
}
template LogDeterminantKernel<float> log_determinant_kernel<float>();
template LogDeterminantKernel<double> log_determinant_kernel<double>();

}  // namespace lenskern::LENSKERN_ISA
