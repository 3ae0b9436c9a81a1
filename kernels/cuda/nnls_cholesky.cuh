// The linear algebra of a block of threads on one matrix in its shared memory: products, factors and sweeps. Thread i
// holds entry i of every vector, so that a block has at least as many threads as there are unknowns.
#pragma once

#include "block.cuh"
#include "lanes.h"

namespace lenskern::cuda::small {

constexpr int kPanel = 8, kTriangle = kPanel * (kPanel + 1) / 2;  // columns that are eliminated together
constexpr int kTile = 4;                                          // rows and columns of a tile of the update
constexpr int kMatrixWarps = 8;                                   // the most that a block has

// Where things are in shared memory, in bytes.
struct MatrixLayout {
  int n, stride;  // odd, so that neither rows nor columns fall into one bank
  int blocks, vector, panel, slots, index, ballots, end;

  LENSKERN_MEMBER explicit MatrixLayout(int n) : n(n), stride(n | 1) {
    const int number = sizeof(double);
    blocks = n * stride * number;
    vector = blocks + (n + kPanel - 1) / kPanel * kTriangle * number;
    panel = vector + n * number;
    slots = panel + 2 * kPanel * number;
    index = slots + 2 * kMatrixWarps * number;
    ballots = index + n * static_cast<int>(sizeof(int));
    end = ballots + kMatrixWarps * static_cast<int>(sizeof(unsigned));
  }
};

// Above the diagonal the scaled matrix S, whose diagonal is 1. Below it a factor of a principal part of S.
struct Matrix {
  int n, stride;
  double* entries;  // (n, stride)
  double* blocks;   // of the factor on the diagonal, kTriangle numbers each, row by row; reciprocals on the diagonal
  double* vector;   // (n), what threads tell each other
  double* panel;    // (2, kPanel), by turns
  double* slots;    // (2, kMatrixWarps), by turns
  int* index;       // (n), the entries of the principal part, ascending
  unsigned* ballots;

  __device__ explicit Matrix(int n) : n(n) {
    const MatrixLayout at(n);
    char* memory = dynamic_shared();
    stride = at.stride;
    entries = reinterpret_cast<double*>(memory);
    blocks = reinterpret_cast<double*>(memory + at.blocks);
    vector = reinterpret_cast<double*>(memory + at.vector);
    panel = reinterpret_cast<double*>(memory + at.panel);
    slots = reinterpret_cast<double*>(memory + at.slots);
    index = reinterpret_cast<int*>(memory + at.index);
    ballots = reinterpret_cast<unsigned*>(memory + at.ballots);
  }
  __device__ double& operator()(int i, int j) const { return entries[i * stride + j]; }
};

// S v. A barrier has to come between two products, or a product and a solve.
LENSKERN_NOINLINE __device__ inline double multiply(int n, double v) {
  const Matrix S(n);
  const int i = threadIdx.x;
  if (i < n) S.vector[i] = v;
  __syncthreads();
  if (i >= n) return 0;
  double sums[4] = {};
  int j = 0;
  for (; j + 4 <= n; j += 4) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int column = j + k, at = column < i ? column * S.stride + i : i * S.stride + column;
      sums[k] += (column == i ? 1.0 : S.entries[at]) * S.vector[column];
    }
  }
  for (; j < n; ++j) sums[0] += (j == i ? 1.0 : j < i ? S(j, i) : S(i, j)) * S.vector[j];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Writes down which threads are `in`; their number m, the same for all threads.
__device__ inline int set_index(int n, bool in) {
  const Matrix S(n);
  const int warp = threadIdx.x / kWarp;
  const unsigned mine = __ballot_sync(kAllLanes, in);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) S.ballots[warp] = mine;
  __syncthreads();
  int before = __popc(mine & ((1u << threadIdx.x % kWarp) - 1)), m = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / kWarp; ++w) {
    const int count = __popc(S.ballots[w]);
    before += w < warp ? count : 0;
    m += count;
  }
  if (in) S.index[before] = threadIdx.x;
  __syncthreads();
  return m;
}

// Eliminates the columns k0.. of the panel: every thread factors the block on the diagonal for itself, and then has a
// row at or below it. False at a pivot that is not positive.
__device__ inline bool eliminate(const Matrix& S, int m, int k0) {
  const int t = threadIdx.x, row = k0 + t;
  double d[kPanel][kPanel], inverse[kPanel], l[kPanel];
#pragma unroll
  for (int i = 0; i < kPanel; ++i) {
#pragma unroll
    for (int j = 0; j <= i; ++j) d[i][j] = k0 + i < m ? S(k0 + i, k0 + j) : static_cast<double>(i == j);
    l[i] = row < m && k0 + i <= row ? S(row, k0 + i) : 0;
  }
  bool positive = true;
#pragma unroll
  for (int k = 0; k < kPanel; ++k) {
    positive &= d[k][k] > 0;
    inverse[k] = rsqrt(d[k][k]);
#pragma unroll
    for (int i = k + 1; i < kPanel; ++i) {
      d[i][k] *= inverse[k];
#pragma unroll
      for (int j = k + 1; j <= i; ++j) d[i][j] -= d[i][k] * d[j][k];
    }
  }
  if (!positive) return false;
#pragma unroll
  for (int j = 0; j < kPanel; ++j) {
#pragma unroll
    for (int k = 0; k < j; ++k) l[j] -= l[k] * d[j][k];
    l[j] *= inverse[j];
  }
  if (t < kPanel) {  // reads of the block itself are still under way
    double* to = S.blocks + k0 / kPanel * kTriangle + t * (t + 1) / 2;
#pragma unroll
    for (int j = 0; j < kPanel; ++j) {
      if (j <= t) to[j] = j == t ? inverse[j] : l[j];
    }
  } else if (row < m) {
#pragma unroll
    for (int j = 0; j < kPanel; ++j) S(row, k0 + j) = l[j];
  }
  return true;
}

// Takes the columns k0.. of the panel off what is right of them, in tiles of which each thread has some.
__device__ inline void update(const Matrix& S, int m, int k0) {
  const int base = k0 + kPanel, side = (m - base + kTile - 1) / kTile;
  // Tile rows r and side - 1 - r together have side + 1 tiles on and left of the diagonal.
  const int count = (side + 1) / 2 * (side + 1);
  for (int tile = threadIdx.x; tile < count; tile += blockDim.x) {
    int a = tile / (side + 1), b = tile - a * (side + 1);
    if (b > a) {
      b -= a + 1, a = side - 1 - a;
      if (2 * a + 1 == side) continue;  // the row in the middle is its own partner
    }
    const int i0 = base + kTile * a, j0 = base + kTile * b;
    double sums[kTile][kTile] = {};
#pragma unroll 2
    for (int k = k0; k < base; ++k) {
      double u[kTile], v[kTile];
#pragma unroll
      for (int r = 0; r < kTile; ++r) {
        u[r] = S(i0 + r < m ? i0 + r : m - 1, k);
        v[r] = S(j0 + r < m ? j0 + r : m - 1, k);
      }
#pragma unroll
      for (int r = 0; r < kTile; ++r) {
#pragma unroll
        for (int c = 0; c < kTile; ++c) sums[r][c] += u[r] * v[c];
      }
    }
#pragma unroll
    for (int r = 0; r < kTile; ++r) {
#pragma unroll
      for (int c = 0; c < kTile; ++c) {
        if (i0 + r < m && j0 + c <= i0 + r) S(i0 + r, j0 + c) -= sums[r][c];
      }
    }
  }
}

// Cholesky factor of S on the index, or of all of S where m is n, with `diagonal` of the m-th row's thread in place of
// its own. False where that is not positive definite.
LENSKERN_NOINLINE __device__ inline bool factor(int n, int m, double diagonal) {
  const Matrix S(n);
  const int row = threadIdx.x;
  __syncthreads();  // the factor before may still be read
  if (row < m) {
    const int entry = m == n ? row : S.index[row];
    for (int k = 0; k < row; ++k) S(row, k) = S(m == n ? k : S.index[k], entry);
    S(row, row) = diagonal;
  }
  __syncthreads();
  for (int k0 = 0; k0 < m; k0 += kPanel) {
    if (!eliminate(S, m, k0)) return false;
    __syncthreads();
    update(S, m, k0);
    __syncthreads();
  }
  return true;
}

// The solution with the factor, where thread i has and gets entry i; 0 for a thread that is not in the index.
LENSKERN_NOINLINE __device__ inline double solve(int n, int m, bool in, double v) {
  const Matrix S(n);
  const int row = threadIdx.x;
  double x = row < n ? v : 0;
  if (m < n) {
    if (in) S.vector[row] = v;
    __syncthreads();
    x = row < m ? S.vector[S.index[row]] : 0;
  }
  const int panels = (m + kPanel - 1) / kPanel;
  for (int step = 0; step < 2 * panels; ++step) {
    const bool forward = step < panels;
    const int p = forward ? step : 2 * panels - 1 - step, k0 = p * kPanel;
    const double* d = S.blocks + p * kTriangle;
    double* shared = S.panel + step % 2 * kPanel;
    const int within = row - k0;
    if (within >= 0 && within < kPanel) shared[within] = x;
    __syncthreads();
    double y[kPanel];
    if (forward) {
#pragma unroll
      for (int k = 0; k < kPanel; ++k) {
        y[k] = shared[k];
#pragma unroll
        for (int j = 0; j < k; ++j) y[k] -= d[k * (k + 1) / 2 + j] * y[j];
        y[k] *= d[k * (k + 1) / 2 + k];
      }
    } else {
#pragma unroll
      for (int k = kPanel - 1; k >= 0; --k) {
        y[k] = shared[k];
#pragma unroll
        for (int j = k + 1; j < kPanel; ++j) y[k] -= d[j * (j + 1) / 2 + k] * y[j];
        y[k] *= d[k * (k + 1) / 2 + k];
      }
    }
    const bool reached = forward ? row < m && within >= kPanel : within < 0;
#pragma unroll
    for (int k = 0; k < kPanel; ++k) {
      if (within == k) x = y[k];
      if (reached && k0 + k < m) x -= (forward ? S(row, k0 + k) : S(k0 + k, row)) * y[k];
    }
  }
  if (m < n) {
    if (row < m) S.vector[S.index[row]] = x;
    __syncthreads();
    x = in ? S.vector[row] : 0;
  }
  return x;
}

}  // namespace lenskern::cuda::small
