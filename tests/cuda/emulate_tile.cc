// What blocks do with tiles of large systems, on the CPU: products with and without tensor cores, and factors.
#include "cuda_runtime.h"

#include "nnls_large_problem.cuh"

namespace {

using namespace lenskern::cuda;
using namespace lenskern::cuda::large;

enum Way { kWhole, kLowerOnly, kByThreads };

// C -= A B', by one block.
template <class T>
void subtract_product(T* C, const T* A, const T* B, int way) {
  emulation::run_in_turn(1, kThreads, sizeof(Shared), [=] {
    auto& operands = *reinterpret_cast<Operand<T>(*)[2]>(reinterpret_cast<Shared*>(dynamic_shared())->operands);
    Fragment<T> fragment, left;
    fragment.set([&](int r, int c) { return C[r * kTile + c]; });
    left.set([&](int r, int c) { return A[r * kTile + c]; });
    if (way == kWhole) {
      subtract(fragment, left, Tile<T>{B, Part::kAll}, operands);
    } else if (way == kLowerOnly) {
      subtract_square(fragment, left, operands[0]);
    } else {
      subtract<false>(fragment, Tile<T>{A, Part::kAll}, Tile<T>{B, Part::kAll}, operands);
    }
    fragment.store(C);
  });
}

// The inverse of the Cholesky factor of A.
template <class T>
int invert(const T* A, T* out) {
  int positive = 0;
  emulation::run_in_turn(1, kThreads, sizeof(Shared), [=, &positive] {
    Shared& shared = *reinterpret_cast<Shared*>(dynamic_shared());
    Fragment<T> fragment;
    fragment.set([&](int r, int c) { return A[r * kTile + c]; });
    Spread<T> tile = spread(fragment, reinterpret_cast<T*>(shared.operands)), inverse;
    const bool factored = invert_factor(tile, inverse, *reinterpret_cast<Pivots<T>*>(&shared.pivots));
    for (int a = 0; a < 4; ++a) {
      for (int b = 0; b < 4; ++b) out[Spread<T>::row(a) * kTile + Spread<T>::column(b)] = inverse.of[a][b];
    }
    if (threadIdx.x == 0) positive = factored;
  });
  return positive;
}

}  // namespace

extern "C" {
void subtract_product_float32(float* C, const float* A, const float* B, int way) { subtract_product(C, A, B, way); }
void subtract_product_float64(double* C, const double* A, const double* B, int way) { subtract_product(C, A, B, way); }
int invert_float32(const float* A, float* out) { return invert(A, out); }
int invert_float64(const double* A, double* out) { return invert(A, out); }
}
