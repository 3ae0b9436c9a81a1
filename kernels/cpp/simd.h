// Vectors of the instruction set that this source is being compiled for.
#pragma once

#include <cstdint>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#ifndef LENSKERN_ISA
#error "compile with -DLENSKERN_ISA=<name>; see CMakeLists.txt"
#endif

namespace lenskern::LENSKERN_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kTileColumns = 8;  // accumulators of a register tile: 2 vectors x this, within the register file
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kTileColumns = 4;
#elif defined(__aarch64__)
constexpr int kVectorBytes = 16;
constexpr int kTileColumns = 8;
#else
constexpr int kVectorBytes = 16;
constexpr int kTileColumns = 4;
#endif

template <class T>
struct Simd {
  static constexpr int width = kVectorBytes / sizeof(T);
  typedef T Vector __attribute__((vector_size(kVectorBytes), may_alias));
  typedef T Unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};

template <class T>
using Vector = typename Simd<T>::Vector;

template <class T>
inline Vector<T>& aligned(T* p) {
  return *reinterpret_cast<Vector<T>*>(p);
}
template <class T>
inline const Vector<T>& aligned(const T* p) {
  return *reinterpret_cast<const Vector<T>*>(p);
}
template <class T>
inline Vector<T> load(const T* p) {
  return *reinterpret_cast<const typename Simd<T>::Unaligned*>(p);
}
template <class T>
inline void store(T* p, Vector<T> v) {
  *reinterpret_cast<typename Simd<T>::Unaligned*>(p) = v;
}
// Sum of a[i] b[i], in a fixed order.
inline double dot(const double* a, const double* b, int n) {
  constexpr int W = Simd<double>::width;
  Vector<double> even{}, odd{};
  int i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    even += load(a + i) * load(b + i);
    odd += load(a + i + W) * load(b + i + W);
  }
  double s = 0;
  for (int j = 0; j < W; ++j) s += even[j] + odd[j];
  for (; i < n; ++i) s += a[i] * b[i];
  return s;
}

template <class T>
inline T sum(Vector<T> v) {
  T s = v[0];
  for (int i = 1; i < Simd<T>::width; ++i) s += v[i];
  return s;
}

#if defined(__AVX2__) && !defined(__AVX512F__)
// For each set of lanes the places of its 4-byte halves, one after the other.
struct LanesFirst {
  alignas(32) int32_t of[16][8];
  constexpr LanesFirst() : of{} {
    for (int set = 0; set < 16; ++set) {
      int count = 0;
      for (int lane = 0; lane < 4; ++lane) {
        if ((set >> lane & 1) == 0) continue;
        of[set][2 * count] = 2 * lane, of[set][2 * count + 1] = 2 * lane + 1;
        ++count;
      }
    }
  }
};
constexpr LanesFirst kLanesFirst;
#endif

// Writes those lanes of `v` that are set in `chosen` (a comparison's result) to `to`, one after the other, and anything
// to the rest of its W elements.
template <class V, class Index>
inline void compress(void* to, V v, Index chosen) {
#if defined(__AVX512F__)
  const __mmask8 lanes = _mm512_movepi64_mask(reinterpret_cast<__m512i>(chosen));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi64(lanes, reinterpret_cast<__m512i>(v)));
#elif defined(__AVX2__)
  const int set = _mm256_movemask_pd(reinterpret_cast<__m256d>(chosen));
  const __m256i places = *reinterpret_cast<const __m256i*>(kLanesFirst.of[set]);
  _mm256_storeu_si256(static_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(reinterpret_cast<__m256i>(v), places));
#else
  auto* out = static_cast<int64_t*>(to);
  const auto bits = reinterpret_cast<Index>(v);
  for (int k = 0; k < Simd<double>::width; ++k) {
    *out = bits[k];
    out -= chosen[k];
  }
#endif
}

// Number of lanes that are set.
template <class Index>
inline int count_lanes(Index chosen) {
#if defined(__AVX512F__)
  return __builtin_popcount(_mm512_movepi64_mask(reinterpret_cast<__m512i>(chosen)));
#elif defined(__AVX2__)
  return __builtin_popcount(_mm256_movemask_pd(reinterpret_cast<__m256d>(chosen)));
#else
  int64_t count = 0;
  for (int k = 0; k < Simd<double>::width; ++k) count -= chosen[k];
  return static_cast<int>(count);
#endif
}

// One stage of a transpose: swaps the off-diagonal blocks of size S in every 2S x 2S block.
template <class T, int S>
inline __attribute__((always_inline)) void swap_blocks(Vector<T>* rows) {
  constexpr int W = Simd<T>::width;
  using Index = decltype(Vector<T>{} < Vector<T>{});
  Index low{}, high{};
  for (int k = 0; k < W; ++k) {
    low[k] = (k & S) == 0 ? k : k - S + W;
    high[k] = (k & S) == 0 ? k + S : k + W;
  }
#pragma GCC unroll 16
  for (int i = 0; i < W; ++i) {
    if ((i & S) != 0) continue;
    const Vector<T> a = rows[i], b = rows[i + S];
#if defined(__clang__)
    for (int k = 0; k < W; ++k) {
      rows[i][k] = low[k] < W ? a[low[k]] : b[low[k] - W];
      rows[i + S][k] = high[k] < W ? a[high[k]] : b[high[k] - W];
    }
#else
    rows[i] = __builtin_shuffle(a, b, low);
    rows[i + S] = __builtin_shuffle(a, b, high);
#endif
  }
  if constexpr (2 * S < W) swap_blocks<T, 2 * S>(rows);
}

// to[i][j] = from[j][i] for a block of rows x columns, i < rows; the strides are those of `from` and `to`.
template <class T>
inline void transpose(const T* from, int64_t from_stride, int rows, int columns, T* to, int to_stride) {
  constexpr int W = Simd<T>::width;
  const int whole_rows = rows / W * W, whole_columns = columns / W * W;
  for (int j = 0; j < whole_columns; j += W) {
    for (int i = 0; i < whole_rows; i += W) {
      Vector<T> block[W];
      for (int k = 0; k < W; ++k) block[k] = load(from + (j + k) * from_stride + i);
      swap_blocks<T, 1>(block);
      for (int k = 0; k < W; ++k) store(to + (i + k) * to_stride + j, block[k]);
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[i * to_stride + j] = from[j * from_stride + i];
    }
  }
}

}  // namespace lenskern::LENSKERN_ISA
