// Products of tiles. A warp has 16 rows and 32 columns of a tile in its registers, as tensor cores take them.
#pragma once

#include "nnls_large_group.cuh"
#include "tensor_cores.cuh"

namespace lenskern::cuda::large {

template <class T>
struct alignas(16) Pack {
  static constexpr int size = 16 / sizeof(T);
  T of[size];
};
template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T first, second;
};

// A tile of which some numbers count as zero: a diagonal tile holds the inverse of its factor, and its transpose above.
enum class Part { kAll, kLower, kUpper };

template <class T>
struct Tile {
  const T* at;  // row-major
  Part part;
};

// Columns of 64 rows, 256 bytes of each. The packs of a row change places with others, so that what eight threads read
// or write at a time, two packs of four rows or four of two, is in different banks.
template <class T>
struct Operand {
  static constexpr int depth = 256 / sizeof(T), parts = kTile / depth;

  __device__ static int place(int row, int k) {
    constexpr int size = Pack<T>::size;
    return row * depth + (k / size ^ (row & 1) << 2 ^ (row & 2)) * size + k % size;
  }
  __device__ const Pack<T>& pack(int row, int k) const { return *reinterpret_cast<const Pack<T>*>(of + place(row, k)); }
  __device__ Pack<T>& pack(int row, int k) { return *reinterpret_cast<Pack<T>*>(of + place(row, k)); }

  T of[kTile * depth];
};
constexpr int kOperandBytes = kTile * 256;
static_assert(sizeof(Operand<float>) == kOperandBytes && sizeof(Operand<double>) == kOperandBytes);

// What a thread has of a tile: rows row(a), columns column(b).
template <class T>
struct Fragment {
  static constexpr int rows = 2, columns = 8;
  T of[rows][columns];

  // Of two warps that share a scheduler one has little to do below the diagonal where the other has much.
  __device__ static int first_row() {
    const int warp = threadIdx.x / kWarp;
    return (warp - warp / 4) % 4 * 16;
  }
  __device__ static int first_column() { return threadIdx.x / kWarp / 4 * 32; }
  __device__ static int row(int a) { return first_row() + threadIdx.x % kWarp / 4 + 8 * a; }
  __device__ static int column(int b) { return first_column() + 8 * (b / 2) + 2 * (threadIdx.x % 4) + b % 2; }

  template <class Value>
  __device__ void set(Value value) {
#pragma unroll
    for (int a = 0; a < rows; ++a) {
#pragma unroll
      for (int b = 0; b < columns; ++b) of[a][b] = value(row(a), column(b));
    }
  }
  // Visits pairs of neighbours in a row: the row, the first one's column, and both.
  template <class Visit>
  __device__ void each_pair(Visit visit) const {
#pragma unroll
    for (int a = 0; a < rows; ++a) {
#pragma unroll
      for (int b = 0; b < columns; b += 2) visit(row(a), column(b), Pair<T>{of[a][b], of[a][b + 1]});
    }
  }
  __device__ void store(T* tile) const {
    each_pair([&](int r, int c, Pair<T> pair) { *reinterpret_cast<Pair<T>*>(tile + r * kTile + c) = pair; });
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
    operand.pack(row, k) = pack;
  }
}
template <class T>
__device__ inline void stage(Operand<T>& operand, int part, const Fragment<T>& tile) {
  tile.each_pair([&](int r, int c, Pair<T> pair) {
    const int k = c - part * Operand<T>::depth;
    if (k >= 0 && k < Operand<T>::depth) *reinterpret_cast<Pair<T>*>(operand.of + Operand<T>::place(r, k)) = pair;
  });
}

// C -= A B' for what is staged; of a symmetric C no more than the lower triangle counts.
template <bool kSymmetric, class T>
__device__ inline void subtract_on_tensor_cores(T (&C)[2][8], const Operand<T>& A, const Operand<T>& B) {
  using F = Fragment<T>;
  const int group = threadIdx.x % kWarp / 4, quad = threadIdx.x % 4;
  const int count = kSymmetric ? (F::first_row() + 16 - F::first_column()) / 8 : 4;  // eights of columns; more are four
#pragma unroll 1
  for (int k = Pack<T>::size * quad; k < Operand<T>::depth; k += 4 * Pack<T>::size) {
    Pack<T> left[2], right[4];
#pragma unroll
    for (int h = 0; h < 2; ++h) left[h] = A.pack(F::row(h), k);
#pragma unroll
    for (int j = 0; j < 4; ++j) right[j] = B.pack(F::first_column() + 8 * j + group, k);
    // Neighbours in a pack are the columns t and t + 4 of an instruction: in which order columns are added up is all one.
#pragma unroll
    for (int v = 0; v < Pack<T>::size; v += 2) {
      T a[2][2], b[4][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int h = 0; h < 2; ++h) a[h][half] = -left[h].of[v + half];
#pragma unroll
        for (int j = 0; j < 4; ++j) b[j][half] = right[j].of[v + half];
      }
      multiply_add_exactly(C, a, b, count);
    }
  }
}
// The same where there are none.
template <class T>
__device__ inline void subtract_by_threads(T (&C)[2][8], const Operand<T>& A, const Operand<T>& B) {
  using F = Fragment<T>;
#pragma unroll 1
  for (int k = 0; k < Operand<T>::depth; k += Pack<T>::size) {
    const Pack<T> left[2] = {A.pack(F::row(0), k), A.pack(F::row(1), k)};
#pragma unroll
    for (int b = 0; b < F::columns; ++b) {
      const Pack<T> right = B.pack(F::column(b), k);
#pragma unroll
      for (int v = 0; v < Pack<T>::size; ++v) {
#pragma unroll
        for (int a = 0; a < F::rows; ++a) C[a][b] -= left[a].of[v] * right.of[v];
      }
    }
  }
}
template <bool kSymmetric, bool kOnTensorCores = kTensorCores, class T>
__device__ inline void subtract_staged(Fragment<T>& C, const Operand<T>& A, const Operand<T>& B) {
  if constexpr (!kOnTensorCores) {
    subtract_by_threads(C.of, A, B);
  } else if constexpr (sizeof(T) == 8) {
    subtract_on_tensor_cores<kSymmetric>(C.of, A, B);
  } else {
    // Float32 sums are truncated on tensor cores: those of one product are small, and are added to C with rounding.
    T change[2][8] = {};
    subtract_on_tensor_cores<kSymmetric>(change, A, B);
#pragma unroll
    for (int a = 0; a < 2; ++a) {
#pragma unroll
      for (int b = 0; b < 8; ++b) C.of[a][b] += change[a][b];
    }
  }
}

// C -= A B', and where asked for also D -= A A', of which the lower triangle counts. A is in memory or a fragment.
template <bool kOnTensorCores = kTensorCores, class T, class Left>
__device__ inline void subtract(Fragment<T>& C, const Left& A, const Tile<T>& B, Operand<T> (&operands)[2],
                                Fragment<T>* D = nullptr) {
#pragma unroll 1
  for (int part = 0; part < Operand<T>::parts; ++part) {
    __syncthreads();
    stage(operands[0], part, A);
    stage(operands[1], part, B);
    __syncthreads();
    subtract_staged<false, kOnTensorCores>(C, operands[0], operands[1]);
    if (D != nullptr) subtract_staged<true, kOnTensorCores>(*D, operands[0], operands[0]);
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

}  // namespace lenskern::cuda::large
