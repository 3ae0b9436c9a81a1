// One lane's matrix: Jacobi scaling, products with it in float64, and Cholesky factors of its principal parts.
#pragma once

#include <cmath>

#include "cholesky.h"
#include "lenskern/nnls.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {

// The scaled problem 1/2 y'Sy - h'y: S = diag(scale) Q diag(scale) of unit diagonal, max |h| = 1, and
// x = unit * scale * y. Q stays where it is, row-major, float32 or float64; S is never stored in float64.
template <class D>
class Problem {
 public:
  static constexpr int kVectors = 3;

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

  // Packs S[index, index] (index ascending, m of them, or null for all), from the upper triangle whose rows are columns
  // of the packed layout, with the identity as padding.
  template <class T>
  void pack(const int* index, int m, T* panels, Crew::Worker& worker) const {
    constexpr int R = Panels<T>::rows;
    worker.parallel_for(Panels<T>::count(m), [&](int p) {
      T* out = panels + Panels<T>::offset(p);
      const int end = (p + 1) * R;
      int at[R];
      double by[R];
      for (int r = 0; r < R; ++r) {
        const int i = p * R + r;
        at[r] = i < m ? (index == nullptr ? i : index[i]) : 0;
        by[r] = i < m ? scale_[at[r]] : 0;
      }
      for (int k = 0; k < end; ++k, out += R) {
        const int column = k < m ? (index == nullptr ? k : index[k]) : 0;
        const double s = k < m ? scale_[column] : 0;
        const D* row = Q_ + int64_t{column} * n_;
        for (int r = 0; r < R; ++r) out[r] = static_cast<T>(row[at[r]] * (by[r] * s));
        if (k >= m) out[k - p * R] = T(1);
      }
    });
  }

 private:
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
};

}  // namespace lenskern::LENSKERN_ISA
