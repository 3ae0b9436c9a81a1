// One lane's matrix as a group of blocks sees it: Jacobi scaling, faults, and products with it in float64.
#pragma once

#include "lenskern/nnls.h"
#include "nnls_large_pivots.cuh"

namespace lenskern::cuda::large {

// Two operands, or a tile of float64 numbers whose rows begin in different banks.
constexpr int kRoom = kTile * (kTile + 1) * 8;

// The shared memory of a block.
struct Shared {
  alignas(16) char operands[kRoom];  // of products of tiles; between them a vector, a tile, or one of Q
  Pivots<double> pivots;
  double sums[2][kWarps][kChunk], rows[2][kChunk], slots[kWarps];
  int heard[2];                              // what one thread read for all
  uint16_t at[kMostEntries];                 // the entries of the matrix that is factored, ascending
  uint16_t rank[kMostEntries / kChunk + 1];  // how many of them come before each chunk
};
static_assert(sizeof(Shared) <= kMostShared);
static_assert(kMostEntries * sizeof(double) <= kRoom && 2 * kOperandBytes <= kRoom);

// The sums that sixteen columns get from sixteen classes of rows: of one chunk after the other, in turns at `sums`.
__device__ inline void add_classes(double sum, double (&sums)[kWarps][kChunk]) {
  sum += __shfl_xor_sync(kAllLanes, sum, kChunk);
  if (threadIdx.x % kWarp < kChunk) sums[threadIdx.x / kWarp][threadIdx.x % kWarp] = sum;
  __syncthreads();
}
__device__ inline double total_of(const double (&sums)[kWarps][kChunk], int column) {
  double total = sums[0][column];
  for (int warp = 1; warp < kWarps; ++warp) total += sums[warp][column];
  return total;
}

// The scaled problem 1/2 y'Sy - h'y, as Problem of the CPU's kernels: S has a unit diagonal, max |h| = 1, and
// x = x_unit y. Of Q the lower triangle is read.
template <class D>
struct Problem {
  Group& group;
  Shared& shared;
  const D* Q;
  double *scale, *h;  // h, as all vectors but the scale, is known to the owner of an entry only
  double unit;

  __device__ double x_unit(int i) const { return unit * scale[i]; }
  __device__ double z_unit(int i) const { return unit / scale[i]; }

  __device__ LENSKERN_NOINLINE nnls::Status load(const D* matrix, const D* q) {
    Q = matrix;
    const int n = group.n;
    double top[3];  // whether something is not finite, or a pivot not positive; the largest |h|
    group.reduce(top, Largest(), [&](int i, double(&parts)[3]) {
      const double d = Q[int64_t{i} * n + i];
      parts[0] = !isfinite(d) || !isfinite(static_cast<double>(q[i]));
      parts[1] = !(d > 0);
      scale[i] = d > 0 ? 1 / sqrt(d) : 0;
      h[i] = q[i] * scale[i];
      parts[2] = fabs(h[i]);
    });
    if (top[0] > 0) return nnls::kNotFinite;
    unit = top[2] > 0 ? top[2] : 1;
    group.each([&](int i) { h[i] /= unit; });
    const nnls::Status inside = inspect();
    if (inside != nnls::kCertified) return inside;
    return top[1] > 0 ? nnls::kNotPositiveDefinite : nnls::kCertified;
  }

  // out = S v. Entries of both are their owners'.
  __device__ LENSKERN_NOINLINE void multiply(const double* v, double* out) {
    const int n = group.n;
    {
      double* box = group.outbox();
      group.each([&](int i) { box[i] = v[i] * scale[i]; });
    }
    group.barrier();
    double* all = reinterpret_cast<double*>(shared.operands);
    const double* box = group.inbox();
    for (int j = threadIdx.x; j < n; j += kThreads) all[j] = box[j];
    __syncthreads();
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    int turn = 0;
    for (int chunk = group.block; chunk < group.chunks; chunk += group.blocks, turn ^= 1) {
      const int first = chunk * kChunk;
      for (int r = warp; r < kChunk; r += kWarps) {  // rows of the triangle up to the diagonal
        const int i = first + r;
        const D* row = Q + int64_t{i} * n;
        double sum = 0;
        if (i < n) {
#pragma unroll 8
          for (int j = lane; j <= i; j += kWarp) sum += row[j] * all[j];
        }
        sum = over_warp(sum, Plus<double>());
        if (lane == 0) shared.rows[turn][r] = sum;
      }
      const int i = first + threadIdx.x % kChunk;  // and columns below it
      double sum = 0;
      if (i < n) {
        int j = first + threadIdx.x / kChunk;
        if (j <= i) j += kThreads / kChunk;
#pragma unroll 8
        for (; j < n; j += kThreads / kChunk) sum += Q[int64_t{j} * n + i] * all[j];
      }
      add_classes(sum, shared.sums[turn]);
      if (threadIdx.x < kChunk && i < n) {
        out[i] = (shared.rows[turn][threadIdx.x] + total_of(shared.sums[turn], threadIdx.x)) * scale[i];
      }
    }
    __syncthreads();
  }

 private:
  // Finite, symmetric, and no 2 x 2 minor that is clearly negative?
  __device__ nnls::Status inspect() {
    constexpr int stride = kTile + 1;
    static_assert(kTile * stride * sizeof(D) <= kRoom);
    D* upper = reinterpret_cast<D*>(shared.operands);
    const int n = group.n, tiles = (n + kTile - 1) / kTile, column = threadIdx.x % kTile;
    double gaps = 0, tops = 0, sums = 0;
    int at = 0;
    for (int ti = 0; ti < tiles; ++ti) {
      for (int tj = 0; tj <= ti; ++tj) {
        if (at++ % group.blocks != group.block) continue;
        __syncthreads();
        for (int r = threadIdx.x / kTile; r < kTile; r += kThreads / kTile) {
          const int i = tj * kTile + r, j = ti * kTile + column;
          upper[r * stride + column] = i < n && j < n ? Q[int64_t{i} * n + j] : D(0);
        }
        __syncthreads();
        const int j = tj * kTile + column;
        for (int r = threadIdx.x / kTile; r < kTile; r += kThreads / kTile) {
          const int i = ti * kTile + r;
          if (i >= n || j >= n || j > i) continue;
          const double lower = Q[int64_t{i} * n + j], across = upper[column * stride + r], s = scale[i] * scale[j];
          gaps = Largest()(gaps, fabs(lower - across) * s);
          tops = Largest()(tops, fabs(lower) * s);
          sums += fabs(lower) * s + fabs(across) * s;
        }
      }
    }
    const double most[3] = {over_block(gaps, Largest(), shared.slots), over_block(tops, Largest(), shared.slots),
                            over_block(static_cast<double>(!isfinite(sums)), Largest(), shared.slots)};
    double all[3];
    group.reduce(all, Largest(), [&](int, double(&parts)[3]) {
      for (int k = 0; k < 3; ++k) parts[k] = most[k];
    });
    if (all[2] > 0) return nnls::kNotFinite;
    if (all[0] > nnls::asymmetry<D>()) return nnls::kNotSymmetric;
    return all[1] > 1 + nnls::asymmetry<D>() ? nnls::kNotPositiveDefinite : nnls::kCertified;
  }
};

}  // namespace lenskern::cuda::large
