// The Cholesky factor of a tile with its inverse. A thread has four by four numbers, sixteen apart in both directions, so
// that all have work until the last column.
#pragma once

#include "nnls_large_tile.cuh"

namespace lenskern::cuda::large {

constexpr int kSide = kTile / 4;  // threads along an edge
static_assert(kSide * kSide == kThreads);

template <class T>
struct Spread {
  T of[4][4];

  __device__ static int row(int a) { return threadIdx.x / kSide + kSide * a; }
  __device__ static int column(int b) { return threadIdx.x % kSide + kSide * b; }

  template <class Value>
  __device__ void set(Value value) {
#pragma unroll
    for (int a = 0; a < 4; ++a) {
#pragma unroll
      for (int b = 0; b < 4; ++b) of[a][b] = value(row(a), column(b));
    }
  }
};

// What warps have of a tile, dealt out anew by way of shared memory.
template <class T>
__device__ inline Spread<T> spread(const Fragment<T>& tile, T* shared) {
  __syncthreads();
  tile.store(shared);
  __syncthreads();
  Spread<T> all;
  all.set([&](int r, int c) { return shared[r * kTile + c]; });
  return all;
}

// Room for a column of the tile that is factored and a row of its inverse, twice.
template <class T>
struct Pivots {
  T column[2][kTile], row[2][kTile];
};

// The inverse of the Cholesky factor of A, of which the lower triangle is read and destroyed, by elimination in A and a
// unit matrix beside it. One barrier a column. False at a pivot that is not positive.
template <class T>
__device__ inline bool invert_factor(Spread<T>& A, Spread<T>& inverse, Pivots<T>& pivots) {
  using F = Spread<T>;
  inverse.set([](int r, int c) { return T(r == c); });
  T own[4];  // pivots of this thread's rows
  __syncthreads();
#pragma unroll
  for (int band = 0; band < 4; ++band) {
#pragma unroll 1
    for (int k = 0; k < kSide; ++k) {
      T *column = pivots.column[k & 1], *row = pivots.row[k & 1];
      if (threadIdx.x % kSide == k) {
#pragma unroll
        for (int a = band; a < 4; ++a) column[F::row(a)] = A.of[a][band];
      }
      if (threadIdx.x / kSide == k) {
#pragma unroll
        for (int b = 0; b <= band; ++b) row[F::column(b)] = inverse.of[band][b];
      }
      __syncthreads();
      const T pivot = column[band * kSide + k];
      if (!(pivot > T(0))) return false;
      const T reciprocal = T(1) / pivot;
      if (threadIdx.x / kSide == k) own[band] = pivot;
      T right[4], top[4];
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        if (b >= band) right[b] = column[F::column(b)];
        if (b <= band) top[b] = row[F::column(b)];
      }
#pragma unroll
      for (int a = band; a < 4; ++a) {
        const T factor = F::row(a) > band * kSide + k ? column[F::row(a)] * reciprocal : T(0);
#pragma unroll
        for (int b = 0; b < 4; ++b) {
          if (b >= band && b <= a) A.of[a][b] -= factor * right[b];
          if (b <= band) inverse.of[a][b] -= factor * top[b];
        }
      }
    }
  }
#pragma unroll
  for (int a = 0; a < 4; ++a) {
    const T root = T(1) / sqrt(own[a]);
#pragma unroll
    for (int b = 0; b < 4; ++b) inverse.of[a][b] *= root;
  }
  return true;
}

}  // namespace lenskern::cuda::large
