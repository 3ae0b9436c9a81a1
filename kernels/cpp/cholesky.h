// Cholesky factorisation and triangular sweeps in a packed layout that the register tiles read in place.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "crew.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {

// The lower triangle in panels of `rows` rows; panel p holds columns [0, (p + 1) * rows), each column contiguous.
// A register tile takes its vectors from one panel and its scalars from another (or the same), so neither gemm operand
// is ever repacked. Padding rows are those of the identity.
template <class T>
struct Panels {
  static constexpr int rows = 2 * Simd<T>::width;

  static int count(int n) { return (n + rows - 1) / rows; }
  static int padded(int n) { return count(n) * rows; }
  static int64_t offset(int p) { return int64_t{rows} * rows * p * (p + 1) / 2; }
  static int64_t size(int n) { return offset(count(n)); }
};

// An envelope: `start[p]`, a multiple of kTileColumns, is the first column of panel p that is not zero. Cholesky's
// fill-in stays inside, and nothing outside is read or written.
template <class T>
class Cholesky {
 public:
  static constexpr int R = Panels<T>::rows;
  static constexpr int C = kTileColumns;
  static constexpr int block = 64 > R ? 64 : R;                                // columns between two gemm updates
  static constexpr int depth = 16 * 1024 / (R * static_cast<int>(sizeof(T)));  // columns that fill half of L1

  // L (packed, `source` plus `shift` on the diagonal; source may be L) becomes its Cholesky factor; `inverse` receives
  // the reciprocal pivots. Returns false at a pivot that is not positive.
  static bool factor(int n, const int* start, const T* source, const T* shift, T* L, T* inverse,
                     Crew::Worker& worker) {
    const int panels = Panels<T>::count(n), columns = (n + C - 1) / C * C;
    for (int j0 = 0; j0 < columns; j0 += block) {
      const int j1 = j0 + block < columns ? j0 + block : columns;
      const int first = j0 / R, last = Panels<T>::count(j1);
      const auto update = [&](int p) {
        const int end = (p + 1) * R < j1 ? (p + 1) * R : j1, begin = later(j0, start[p]);
        if (begin >= end) return;
        T* panel = L + Panels<T>::offset(p);
        if (source != L) {
          std::memcpy(panel + begin * R, source + Panels<T>::offset(p) + begin * R, sizeof(T) * R * (end - begin));
        }
        if (p < last) {
          for (int r = 0; r < R; ++r) panel[(p * R + r) * R + r] += shift[p * R + r];
        }
        for (int k = start[p]; k < j0; k += depth) {
          const int k1 = k + depth < j0 ? k + depth : j0;
          for (int c = begin; c < end; c += C) subtract(panel, L, c, later(k, start[c / R]), k1);
        }
      };
      const auto eliminate = [&](int p, int c) {
        T* panel = L + Panels<T>::offset(p);
        subtract(panel, L, c, later(j0, later(start[p], start[c / R])), c);
        if (c / R < p) {
          divide(panel, c, L + Panels<T>::offset(c / R) + c * R + c % R, R, inverse);
          return true;
        }
        T d[C * C];
        if (!pivots(panel, c, d, inverse)) return false;
        divide(panel, c, d, C, inverse);
        return true;
      };
      worker.parallel_for(last - first, [&](int i) { update(first + i); });
      for (int p = first; p < last; ++p) {
        for (int c = later(j0, start[p]); c < (p + 1) * R && c < j1; c += C) {
          if (!eliminate(p, c)) return false;
        }
        mirror(L + Panels<T>::offset(p), p);
      }
      worker.parallel_for(panels - last, [&](int i) {
        update(last + i);
        for (int c = later(j0, start[last + i]); c < j1; c += C) eliminate(last + i, c);
      });
    }
    return true;
  }

  // Floating-point operations of `factor` on the n rows that are not padding.
  static double flops(int n, const int* start) {
    double count = 0;
    for (int p = 0; p < Panels<T>::count(n); ++p) {
      for (int c = start[p]; c < (p + 1) * R && c < n; ++c) {
        const int top = later(p * R, c), rows = ((p + 1) * R < n ? (p + 1) * R : n) - top;  // on and below the diagonal
        const int k0 = later(start[p], start[c / R]);
        if (rows > 0) count += rows * (2.0 * later(0, c - k0) + 1);
      }
    }
    return count;
  }
  // And of `solve`.
  static double solve_flops(int n, const int* start) {
    double count = 0;
    for (int p = 0; p < Panels<T>::count(n); ++p) {
      const int rows = (p + 1) * R < n ? R : n - p * R;
      count += 4.0 * rows * (p * R - start[p]) + 2.0 * rows * rows;
    }
    return count;
  }

  // Overwrites v (padded length) with (L L')^-1 v.
  static void solve(int n, const int* start, const T* L, const T* inverse, T* v) {
    const int panels = Panels<T>::count(n);
    for (int p = 0; p < panels; ++p) forward(L + Panels<T>::offset(p), p, n - p * R, start[p], inverse, v);
    for (int p = panels; p-- > 0;) backward(L + Panels<T>::offset(p), p, n - p * R, start[p], inverse, v);
  }

 private:
  static constexpr int W = Simd<T>::width;
  using V = Vector<T>;

  static int later(int a, int b) { return a > b ? a : b; }

  // panel[:, c:c+C] -= panel[:, k0:k1] times the transpose of rows c:c+C, columns k0:k1 of L.
  static void subtract(T* panel, const T* L, int c, int k0, int k1) {
    if (k0 >= k1) return;
    const T* left = panel + k0 * R;
    const T* right = L + Panels<T>::offset(c / R) + k0 * R + c % R;
    T* out = panel + c * R;
    V a[C], b[C];
#pragma GCC unroll 8
    for (int m = 0; m < C; ++m) {
      a[m] = aligned(out + m * R);
      b[m] = aligned(out + m * R + W);
    }
    for (int k = k0; k < k1; ++k, left += R, right += R) {
      const V u = aligned(left), v = aligned(left + W);
#pragma GCC unroll 8
      for (int m = 0; m < C; ++m) {
        a[m] -= u * right[m];
        b[m] -= v * right[m];
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < C; ++m) {
      aligned(out + m * R) = a[m];
      aligned(out + m * R + W) = b[m];
    }
  }

  // Cholesky factor d[k * C + m] = L[m][k] of the C x C block on the diagonal at column c, which stays as it is. Square
  // roots are taken at the end, all at once: the chain from pivot to pivot holds a division only.
  static bool pivots(const T* panel, int c, T* d, T* inverse) {
    const T* block = panel + c * R + c % R;
    T s[C][C];  // s[k][m]: row m of column k
    for (int k = 0; k < C; ++k) {
      for (int m = 0; m < C; ++m) s[k][m] = block[k * R + m];
    }
    bool positive = true;
#pragma GCC unroll 8
    for (int k = 0; k < C; ++k) {
      positive &= s[k][k] > T(0);
      const T reciprocal = T(1) / s[k][k];
#pragma GCC unroll 8
      for (int j = k + 1; j < C; ++j) {
        const T f = s[k][j] * reciprocal;
        for (int m = 0; m < C; ++m) s[j][m] -= f * s[k][m];
      }
    }
    if (!positive) return false;
    for (int k = 0; k < C; ++k) inverse[c + k] = T(1) / std::sqrt(s[k][k]);
    for (int k = 0; k < C; ++k) {
      for (int m = 0; m < C; ++m) d[k * C + m] = s[k][m] * inverse[c + k];
    }
    return true;
  }

  // panel[:, c:c+C] times the inverse transpose of the factored diagonal block d, whose columns are `stride` apart.
  static void divide(T* panel, int c, const T* d, int stride, const T* inverse) {
    T* out = panel + c * R;
#pragma GCC unroll 8
    for (int m = 0; m < C; ++m) {
      V a = aligned(out + m * R), b = aligned(out + m * R + W);
#pragma GCC unroll 8
      for (int k = 0; k < m; ++k) {
        a -= aligned(out + k * R) * d[k * stride + m];
        b -= aligned(out + k * R + W) * d[k * stride + m];
      }
      aligned(out + m * R) = a * inverse[c + m];
      aligned(out + m * R + W) = b * inverse[c + m];
    }
  }

  // The square on the diagonal gets its transpose above the diagonal, where the backward sweep reads it.
  static void mirror(T* panel, int p) {
    T* square = panel + p * R * R;
    for (int k = 1; k < R; ++k) {
      for (int r = 0; r < k; ++r) square[k * R + r] = square[r * R + k];
    }
  }

  static void forward(const T* panel, int p, int rows, int start, const T* inverse, T* v) {
    T* x = v + p * R;
    V a[4] = {aligned(x)}, b[4] = {aligned(x + W)};
    panel += start * R;
    for (int k = start; k < p * R; k += 4, panel += 4 * R) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        a[i] -= aligned(panel + i * R) * v[k + i];
        b[i] -= aligned(panel + i * R + W) * v[k + i];
      }
    }
    aligned(x) = (a[0] + a[1]) + (a[2] + a[3]);
    aligned(x + W) = (b[0] + b[1]) + (b[2] + b[3]);
    // What a column does to entries that are already final is garbage in a register that is not read again.
    V u = aligned(x), w = aligned(x + W);
#pragma GCC unroll 32
    for (int k = 0; k < R; ++k, panel += R) {
      if (k % C == 0 && k >= rows) break;
      const T s = (k < W ? u[k] : w[k - W]) * inverse[p * R + k];
      x[k] = s;
      u -= aligned(panel) * s;
      w -= aligned(panel + W) * s;
    }
  }

  static void backward(const T* panel, int p, int rows, int start, const T* inverse, T* v) {
    T* x = v + p * R;
    const T* square = panel + p * R * R;
    V u = aligned(x), w = aligned(x + W);
#pragma GCC unroll 32
    for (int k = R - 1; k >= 0; --k) {
      if (k / C * C >= rows) continue;
      const T s = (k < W ? u[k] : w[k - W]) * inverse[p * R + k];
      x[k] = s;
      u -= aligned(square + k * R) * s;
      w -= aligned(square + k * R + W) * s;
    }
    const V xu = aligned(x), xw = aligned(x + W);
    panel += start * R;
    for (int k = start; k < p * R; ++k, panel += R) v[k] -= sum<T>(aligned(panel) * xu + aligned(panel + W) * xw);
  }
};

}  // namespace lenskern::LENSKERN_ISA
