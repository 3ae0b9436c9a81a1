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
  static constexpr int kVectors = 5 + Ordering::kVectors;

  // Sets everything and says whether the problem can be solved.
  nnls::Status load(const D* Q, const D* q, int n, Workspace& workspace) {
    Q_ = Q, n_ = n;
    scale_ = workspace.take<double>(n), h_ = workspace.take<double>(n), work_ = workspace.take<double>(n);
    for (int i = 0; i < n; ++i) {
      const double d = Q[int64_t{i} * n + i];
      if (!std::isfinite(d) || !std::isfinite(q[i])) return nnls::kNotFinite;
      scale_[i] = d > 0 ? 1 / std::sqrt(d) : 0;
    }
    const nnls::Status status = inspect();
    if (status != nnls::kCertified) return status;
    double top = 0;
    for (int i = 0; i < n; ++i) {
      if (scale_[i] == 0) return nnls::kNotPositiveDefinite;
      h_[i] = q[i] * scale_[i];
      top = std::fabs(h_[i]) > top ? std::fabs(h_[i]) : top;
    }
    unit_ = top > 0 ? top : 1;
    for (int i = 0; i < n; ++i) h_[i] /= unit_;
    return nnls::kCertified;
  }

  int size() const { return n_; }
  const double* h() const { return h_; }
  double x_unit(int i) const { return unit_ * scale_[i]; }  // x = x_unit y
  double z_unit(int i) const { return unit_ / scale_[i]; }  // Q x - q = z_unit (S y - h)

  // out = S v, with the lower triangle read once.
  void multiply(const double* v, double* out) const {
    for (int i = 0; i < n_; ++i) work_[i] = v[i] * scale_[i], out[i] = 0;
    int i = 0;
    for (; i + 4 <= n_; i += 4) rows<4>(i, work_, out);
    for (; i < n_; ++i) rows<1>(i, work_, out);
    for (i = 0; i < n_; ++i) out[i] *= scale_[i];
  }

  // Puts the entries in an order in which most of S is outside the envelope: couplings that float32 would round away
  // beside the unit diagonal count as zero.
  void arrange(Pattern& pattern, Workspace& workspace) {
    order_ = workspace.take<int>(n_), first_ = workspace.take<int>(n_);
    for (int i = 0; i < n_; ++i) order_[i] = i, first_[i] = 0;
    if (n_ < kWorthArranging || !pattern.reserve(n_)) return;
    for (int i = 0; i < n_; ++i) {
      const D* row = Q_ + int64_t{i} * n_;
      uint64_t* bits = pattern.row(i);
      const double least = kDropped / scale_[i];
      for (int j0 = 0; j0 < i; j0 += 64) {
        uint64_t word = 0;
        const int many = i - j0 < 64 ? i - j0 : 64;
        for (int j = 0; j < many; ++j) word |= static_cast<uint64_t>(std::fabs(row[j0 + j]) * scale_[j0 + j] > least) << j;
        bits[j0 / 64] = word;
      }
    }
    pattern.mirror();
    Ordering(pattern, workspace).run(order_, first_);
  }
  const int* order() const { return order_; }  // entry at each position
  const int* first() const { return first_; }  // first position that each position's entry couples to

  // Packs all of S in the order above.
  template <class T>
  void pack(T* panels, Crew::Worker& worker) const {
    constexpr int R = Panels<T>::rows;
    const int count = Panels<T>::count(n_);
    worker.parallel_for(count, [&](int q) {  // columns of the square q, of every panel from q on
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
  static constexpr int kWorthArranging = 256;
  static constexpr double kDropped = 3e-8;
  static constexpr double kAsymmetry = sizeof(D) == 8 ? 1e-8 : 1e-4;  // of the unit diagonal

  // Finite, symmetric, and no 2 x 2 minor that is clearly negative.
  nnls::Status inspect() const {
    constexpr int tile = 32;
    double asymmetry = 0, largest = 0;
    bool finite = true;
    for (int i0 = 0; i0 < n_; i0 += tile) {
      const int i1 = i0 + tile < n_ ? i0 + tile : n_;
      for (int j0 = 0; j0 <= i0; j0 += tile) {
        for (int i = i0; i < i1; ++i) {
          const int j1 = j0 + tile < i ? j0 + tile : i;
          const D* row = Q_ + int64_t{i} * n_;
          const D* column = Q_ + i;
          for (int j = j0; j < j1; ++j) {
            const double a = row[j], gap = std::fabs(a - column[int64_t{j} * n_]), unit = scale_[i] * scale_[j];
            asymmetry = gap * unit > asymmetry ? gap * unit : asymmetry;
            largest = std::fabs(a) * unit > largest ? std::fabs(a) * unit : largest;
            finite &= gap < HUGE_VAL;  // also false for NaN
          }
        }
      }
    }
    if (!finite) return nnls::kNotFinite;
    if (asymmetry > kAsymmetry) return nnls::kNotSymmetric;
    return largest > 1 + kAsymmetry ? nnls::kNotPositiveDefinite : nnls::kCertified;
  }

  using V = Vector<double>;
  static constexpr int W = Simd<double>::width;

  static V widen(const double* p) { return lenskern::LENSKERN_ISA::load(p); }
  static V widen(const float* p) {
    typedef float Half __attribute__((vector_size(kVectorBytes / 2), aligned(alignof(float)), may_alias));
    return __builtin_convertvector(*reinterpret_cast<const Half*>(p), V);
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

  const D* Q_ = nullptr;
  int n_ = 0;
  double unit_ = 1;
  double *scale_ = nullptr, *h_ = nullptr, *work_ = nullptr;
  int *order_ = nullptr, *first_ = nullptr;
};

}  // namespace lenskern::LENSKERN_ISA
