// Products of tiles, and the Cholesky factor of one with its inverse. A thread holds four by four numbers of a tile,
// sixteen apart in both directions.
#pragma once

#include "nnls_large_group.cuh"

namespace lenskern::cuda::large {

constexpr int kSide = kTile / 4;  // threads along an edge
static_assert(kSide * kSide == kThreads);

template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T of[size];
};

// A tile of which some numbers count as zero: a diagonal tile holds the inverse of its factor, and its transpose above.
enum class Part { kAll, kLower, kUpper };

template <class T>
struct Tile {
  const T* at;  // row-major
  Part part;
};

// Columns of 64 rows, each of 256 bytes and 16 more, that threads sixteen bytes at a time read from different banks.
template <class T>
struct Operand {
  static constexpr int depth = 256 / sizeof(T), stride = depth + Pack<T>::size, parts = kTile / depth;
  T of[kTile * stride];
};
constexpr int kOperandBytes = kTile * (256 + 16);
static_assert(sizeof(Operand<float>) == kOperandBytes && sizeof(Operand<double>) == kOperandBytes);

template <class T>
struct Fragment {
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
  __device__ void store(T* tile) const {
#pragma unroll
    for (int a = 0; a < 4; ++a) {
#pragma unroll
      for (int b = 0; b < 4; ++b) tile[row(a) * kTile + column(b)] = of[a][b];
    }
  }
};

template <class T>
__device__ inline void stage(Operand<T>& operand, int part, const Tile<T>& tile) {
  constexpr int packs = Operand<T>::depth / Pack<T>::size;
#pragma unroll
  for (int p = 0; p < kTile * packs / kThreads; ++p) {
    const int which = threadIdx.x + p * kThreads, row = which / packs, k = which % packs * Pack<T>::size;
    const int column = part * Operand<T>::depth + k;
    Pack<T> pack = *reinterpret_cast<const Pack<T>*>(tile.at + row * kTile + column);
    if (tile.part != Part::kAll) {
#pragma unroll
      for (int v = 0; v < Pack<T>::size; ++v) {
        const bool kept = tile.part == Part::kLower ? column + v <= row : column + v >= row;
        pack.of[v] = kept ? pack.of[v] : T(0);
      }
    }
    *reinterpret_cast<Pack<T>*>(operand.of + row * Operand<T>::stride + k) = pack;
  }
}
template <class T>
__device__ inline void stage(Operand<T>& operand, int part, const Fragment<T>& tile) {
#pragma unroll
  for (int a = 0; a < 4; ++a) {
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const int k = Fragment<T>::column(b) - part * Operand<T>::depth;
      if (k >= 0 && k < Operand<T>::depth) operand.of[Fragment<T>::row(a) * Operand<T>::stride + k] = tile.of[a][b];
    }
  }
}

// C -= A B' for what is staged; of a symmetric C no more than the lower triangle counts. The place for tensor cores.
template <bool kSymmetric, class T>
__device__ inline void subtract_staged(Fragment<T>& C, const Operand<T>& A, const Operand<T>& B) {
  const T* left = A.of + threadIdx.x / kSide * Operand<T>::stride;
  const T* right = B.of + threadIdx.x % kSide * Operand<T>::stride;
#pragma unroll 2
  for (int k = 0; k < Operand<T>::depth; k += Pack<T>::size) {
    Pack<T> a[4], b[4];
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      a[u] = *reinterpret_cast<const Pack<T>*>(left + u * kSide * Operand<T>::stride + k);
      b[u] = *reinterpret_cast<const Pack<T>*>(right + u * kSide * Operand<T>::stride + k);
    }
#pragma unroll
    for (int v = 0; v < Pack<T>::size; ++v) {
#pragma unroll
      for (int u = 0; u < 4; ++u) {
#pragma unroll
        for (int w = 0; w < (kSymmetric ? u + 1 : 4); ++w) C.of[u][w] -= a[u].of[v] * b[w].of[v];
      }
    }
  }
}

// C -= A B', and where asked for also D -= A A', of which the lower triangle counts. A is in memory or a fragment.
template <class T, class Left>
__device__ inline void subtract(Fragment<T>& C, const Left& A, const Tile<T>& B, Operand<T> (&operands)[2],
                                Fragment<T>* D = nullptr) {
#pragma unroll 1
  for (int part = 0; part < Operand<T>::parts; ++part) {
    __syncthreads();
    stage(operands[0], part, A);
    stage(operands[1], part, B);
    __syncthreads();
    subtract_staged<false>(C, operands[0], operands[1]);
    if (D != nullptr) subtract_staged<true>(*D, operands[0], operands[0]);
  }
}
// C -= A A', of which the lower triangle counts.
template <class T>
__device__ inline void subtract_square(Fragment<T>& C, const Fragment<T>& A, Operand<T>& operand) {
#pragma unroll 1
  for (int part = 0; part < Operand<T>::parts; ++part) {
    __syncthreads();
    stage(operand, part, A);
    __syncthreads();
    subtract_staged<true>(C, operand, operand);
  }
}

// Room for a column of the tile that is factored and a row of its inverse, twice.
template <class T>
struct Pivots {
  T column[2][kTile], row[2][kTile];
};

// The inverse of the Cholesky factor of A, of which the lower triangle is read and destroyed, by elimination in A and a
// unit matrix beside it. One barrier a column. False at a pivot that is not positive.
template <class T>
__device__ inline bool invert_factor(Fragment<T>& A, Fragment<T>& inverse, Pivots<T>& pivots) {
  using F = Fragment<T>;
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
