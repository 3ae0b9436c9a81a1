// Vectors of the instruction set that this source is being compiled for.
#pragma once

#include <cstddef>

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
template <class T>
inline T sum(Vector<T> v) {
  T s = v[0];
  for (int i = 1; i < Simd<T>::width; ++i) s += v[i];
  return s;
}

}  // namespace lenskern::LENSKERN_ISA
