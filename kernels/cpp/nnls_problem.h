// One lane's matrix: Jacobi scaling, products with it in float64, and Cholesky factors of its principal parts.
#pragma once

#include <cmath>

#include "cholesky.h"
#include "lenskern/nnls.h"
#include "nnls_ordering.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {

// The scaled problem 1/2 y'Sy - h'y: S = diag(scale) Q diag(scale) of unit diagonal, max |h| = 1, and
// x = unit * scale * y. Q stays where it is, row-major, float32 or float64; S is never stored in float64.
template <class D>
class Problem {
 public:
  static constexpr int kPieces = 8;  // of a product with a large matrix
  static constexpr int kVectors = 5 + kPieces + Ordering::kVectors;

  explicit Problem(Crew::Worker& worker) : worker_(worker) {}

  // Sets everything and says whether the problem can be solved.
  nnls::Status load(const D* Q, const D* q, int n, Pattern& pattern, Workspace& workspace) {
    nnls::Status status = load_trusted(Q, q, n, workspace);
    if (status == nnls::kNotFinite) return status;
    arranged_ = n >= kWorthArranging;
    if (arranged_ && !pattern.reserve(n)) return nnls::kOutOfMemory;
    const nnls::Status inside = inspect(arranged_ ? &pattern : nullptr);
    return inside == nnls::kCertified ? status : inside;
  }
  // The same, but looks at the diagonal only.
  nnls::Status load_trusted(const D* Q, const D* q, int n, Workspace& workspace) {
    Q_ = Q, n_ = n;
    scale_ = workspace.take<double>(n), h_ = workspace.take<double>(n), work_ = workspace.take<double>(n);
    for (double*& piece : pieces_) piece = workspace.take<double>(n);
    nnls::Status status = nnls::kCertified;
    double top = 0;
    for (int i = 0; i < n; ++i) {
      const double d = Q[int64_t{i} * n + i];
      if (!std::isfinite(d) || !std::isfinite(q[i])) return nnls::kNotFinite;
      if (!(d > 0)) status = nnls::kNotPositiveDefinite;
      scale_[i] = d > 0 ? 1 / std::sqrt(d) : 0;
      h_[i] = q[i] * scale_[i];
      top = std::fabs(h_[i]) > top ? std::fabs(h_[i]) : top;
    }
    unit_ = top > 0 ? top : 1;
    for (int i = 0; i < n; ++i) h_[i] /= unit_;
    return status;
  }

  int size() const { return n_; }
  const double* h() const { return h_; }
  double x_unit(int i) const { return unit_ * scale_[i]; }  // x = x_unit y
  double z_unit(int i) const { return unit_ / scale_[i]; }  // Q x - q = z_unit (S y - h)

  // out = S v.
  void multiply(const double* v, double* out) const {
    ++products_;
    for (int i = 0; i < n_; ++i) work_[i] = v[i] * scale_[i];
    if (n_ <= kInFirstCache) {
      int i = 0;
      for (int k = 0; k < n_; ++k) out[k] = 0;
      for (; i + 4 * W <= n_; i += 4 * W) columns<4>(i, work_, out);
      for (; i + W <= n_; i += W) columns<1>(i, work_, out);
      for (int j = 0; i < n_ && j < n_; ++j) {
        for (int k = i; k < n_; ++k) out[k] += Q_[j * n_ + k] * work_[j];
      }
    } else if (n_ < kWorthSharing) {
      triangle(0, n_, out);
    } else {  // in as many pieces, of equal areas, whoever computes them: results are the same to the bit
      const auto start = [&](int piece) { return static_cast<int>(n_ * std::sqrt(double(piece) / kPieces)) / 4 * 4; };
      const auto end = [&](int piece) { return piece + 1 == kPieces ? n_ : start(piece + 1); };
      worker_.parallel_for(kPieces, [&](int piece) { triangle(start(piece), end(piece), pieces_[piece]); });
      for (int i = 0; i < n_; ++i) out[i] = 0;
      for (int piece = 0; piece < kPieces; ++piece) {
        for (int i = 0, last = end(piece); i < last; ++i) out[i] += pieces_[piece][i];
      }
    }
    for (int i = 0; i < n_; ++i) out[i] *= scale_[i];
  }
  // Puts the entries in an order in which most of S is outside the envelope.
  void arrange(Pattern& pattern, Workspace& workspace) {
    order_ = workspace.take<int>(n_), first_ = workspace.take<int>(n_);
    for (int i = 0; i < n_; ++i) order_[i] = i, first_[i] = 0;
    if (!arranged_) return;
    pattern.mirror();
    Ordering(pattern, workspace).run(order_, first_);
  }
  double flops() const { return 2.0 * n_ * n_ * products_; }  // of the products so far
  const int* order() const { return order_; }  // entry at each position
  const int* first() const { return first_; }  // first position that each position's entry couples to

  // Packs all of S in the order above.
  template <class T>
  void pack(T* panels) const {
    constexpr int R = Panels<T>::rows;
    const int count = Panels<T>::count(n_);
    worker_.parallel_for(count, [&](int q) {  // columns of the square q, of every panel from q on
      for (int k = q * R; k < (q + 1) * R; ++k) {
        const int column = k < n_ ? order_[k] : 0;
        const D* row = Q_ + int64_t{column} * n_;
        const double s = k < n_ ? scale_[column] : 0;
        for (int p = q; p < count; ++p) {
          T* out = panels + Panels<T>::offset(p) + k * R;
          const int many = n_ - p * R < R ? n_ - p * R : R;
          const int* entry = order_ + p * R;
          for (int r = 0; r < many; ++r) out[r] = static_cast<T>(row[entry[r]] * (scale_[entry[r]] * s));
          for (int r = many; r < R; ++r) out[r] = 0;
        }
        if (k >= n_) panels[Panels<T>::offset(q) + k * R + k - q * R] = 1;
      }
    });
  }

 private:
  static constexpr int kInFirstCache = 64, kWorthSharing = 512;
  static constexpr int kWorthArranging = 256;
  static constexpr double kDropped = 3e-8;  // what float32 would round away beside the unit diagonal

  // Finite, symmetric, and no 2 x 2 minor that is clearly negative? Marks what is not dropped, on and below the
  // diagonal's tiles.
  nnls::Status inspect(Pattern* pattern) const {
    constexpr int tile = 64;
    alignas(kVectorBytes) D transposed[tile][tile];
    double asymmetry = 0, largest = 0, sum = 0;
    const Bits first = first_bits();
    for (int i0 = 0; i0 < n_; i0 += tile) {
      const int rows = n_ - i0 < tile ? n_ - i0 : tile;
      for (int j0 = 0; j0 <= i0; j0 += tile) {
        const int columns = n_ - j0 < tile ? n_ - j0 : tile;
        transpose(Q_ + int64_t{j0} * n_ + i0, n_, rows, columns, transposed[0], tile);
        for (int i = 0; i < rows; ++i) {
          const D *lower = Q_ + int64_t{i0 + i} * n_ + j0, *upper = transposed[i];
          const double row_scale = scale_[i0 + i];
          V gaps{}, tops{}, sums{};
          Bits kept{};
          int j = 0;
          for (; j + W <= columns; j += W) {
            const V q = widen(lower + j), scale = lenskern::LENSKERN_ISA::load(scale_ + j0 + j) * row_scale;
            const V s = absolute(q) * scale, gap = absolute(q - widen(upper + j)) * scale;
            gaps = gap > gaps ? gap : gaps;
            tops = s > tops ? s : tops;
            sums += s + gap;
            kept |= (s > V{} + kDropped) & (first << j);
          }
          uint64_t word = 0;
          for (int lane = 0; lane < W; ++lane) {
            asymmetry = gaps[lane] > asymmetry ? gaps[lane] : asymmetry;
            largest = tops[lane] > largest ? tops[lane] : largest;
            sum += sums[lane];
            word |= static_cast<uint64_t>(kept[lane]);
          }
          for (; j < columns; ++j) {
            const double scale = row_scale * scale_[j0 + j], s = std::fabs(lower[j]) * scale;
            const double gap = std::fabs(double{lower[j]} - upper[j]) * scale;
            asymmetry = gap > asymmetry ? gap : asymmetry;
            largest = s > largest ? s : largest;
            sum += s + gap;
            word |= static_cast<uint64_t>(s > kDropped) << j;
          }
          if (pattern != nullptr) pattern->row(i0 + i)[j0 / tile] = word;
        }
      }
    }
    // A NaN passes every comparison above unnoticed, but not a sum.
    if (!std::isfinite(sum)) return nnls::kNotFinite;
    if (asymmetry > nnls::asymmetry<D>()) return nnls::kNotSymmetric;
    return largest > 1 + nnls::asymmetry<D>() ? nnls::kNotPositiveDefinite : nnls::kCertified;
  }

  using V = Vector<double>;
  static constexpr int W = Simd<double>::width;

  using Bits = decltype(V{} < V{});  // an integer vector, all ones where true
  static Bits first_bits() {
    Bits bits{};
    for (int lane = 0; lane < W; ++lane) bits[lane] = int64_t{1} << lane;
    return bits;
  }
  static V absolute(V v) { return v < 0 ? -v : v; }
  static V widen(const double* p) { return lenskern::LENSKERN_ISA::load(p); }
  static V widen(const float* p) {
    typedef float Half __attribute__((vector_size(kVectorBytes / 2), aligned(alignof(float)), may_alias));
    return __builtin_convertvector(*reinterpret_cast<const Half*>(p), V);
  }

  // Entries i..i+B*W of the product, from whole columns (which are rows).
  template <int B>
  void columns(int i, const double* u, double* out) const {
    V sums[B]{};
    for (int j = 0; j < n_; ++j) {
      const D* column = Q_ + int64_t{j} * n_ + i;
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b) sums[b] += widen(column + b * W) * u[j];
    }
    for (int b = 0; b < B; ++b) store(out + i + b * W, sums[b]);
  }

  // What rows first..last of the lower triangle, each read once, add to the product: entries 0..last of it.
  void triangle(int first, int last, double* out) const {
    for (int i = 0; i < last; ++i) out[i] = 0;
    int i = first;
    for (; i + 4 <= last; i += 4) rows<4>(i, work_, out);
    for (; i < last; ++i) rows<1>(i, work_, out);
  }
  // Rows i..i+B of the lower triangle, used as rows and as columns.
  template <int B>
  void rows(int i, const double* u, double* out) const {
    const D* row[B];
    double dot[B];
    V sums[B];
    for (int b = 0; b < B; ++b) row[b] = Q_ + int64_t{i + b} * n_, dot[b] = 0, sums[b] = V{};
    int j = 0;
    for (; j + W <= i; j += W) {
      const V x = lenskern::LENSKERN_ISA::load(u + j);
      V y = lenskern::LENSKERN_ISA::load(out + j);
#pragma GCC unroll 4
      for (int b = 0; b < B; ++b) {
        const V q = widen(row[b] + j);
        sums[b] += q * x;
        y += q * u[i + b];
      }
      store(out + j, y);
    }
    for (; j < i + B; ++j) {
      for (int b = 0; b < B; ++b) {
        if (j > i + b) continue;
        dot[b] += row[b][j] * u[j];
        if (j < i + b) out[j] += row[b][j] * u[i + b];
      }
    }
    for (int b = 0; b < B; ++b) out[i + b] += dot[b] + sum<double>(sums[b]);
  }

  Crew::Worker& worker_;
  const D* Q_ = nullptr;
  int n_ = 0;
  bool arranged_ = false;
  mutable int64_t products_ = 0;
  double unit_ = 1;
  double *scale_ = nullptr, *h_ = nullptr, *work_ = nullptr, *pieces_[kPieces];
  int *order_ = nullptr, *first_ = nullptr;
};

}  // namespace lenskern::LENSKERN_ISA
