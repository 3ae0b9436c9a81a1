// Products on tensor cores, of matrices that the threads of a warp have in their registers.
#pragma once

#include "block.cuh"

namespace lenskern::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kTensorCores = false;  // for float32 by TF32, and for float64
#else
constexpr bool kTensorCores = true;
#endif

// C += A B' for up to four B, each of 8 x 8 numbers beside the next; C has 16 rows and A 16 x 8 numbers. Thread 4 g + t
// of the warp has rows g and g + 8 of C and A and row g of each B; of C columns 2 t and 2 t + 1 of each eight, of A and B
// columns t and t + 4: mma.m16n8k8 of the PTX ISA.
#if defined(__CUDACC__)
__device__ inline void multiply_add(float (&C)[2][8], const float (&a)[2][2], const float (&b)[4][2], int count) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j >= count) break;
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(C[0][2 * j]), "+f"(C[0][2 * j + 1]), "+f"(C[1][2 * j]), "+f"(C[1][2 * j + 1])
        : "r"(__float_as_uint(a[0][0])), "r"(__float_as_uint(a[1][0])), "r"(__float_as_uint(a[0][1])),
          "r"(__float_as_uint(a[1][1])), "r"(__float_as_uint(b[j][0])), "r"(__float_as_uint(b[j][1])));
  }
}
__device__ inline void multiply_add(double (&C)[2][8], const double (&a)[2][2], const double (&b)[4][2], int count) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j >= count) break;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
      for (int h = 0; h < 2; ++h) {
        asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+d"(C[h][2 * j]), "+d"(C[h][2 * j + 1])
            : "d"(a[h][half]), "d"(b[j][half]));
      }
#else
      asm("mma.sync.aligned.m16n8k4.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
          : "+d"(C[0][2 * j]), "+d"(C[0][2 * j + 1]), "+d"(C[1][2 * j]), "+d"(C[1][2 * j + 1])
          : "d"(a[0][half]), "d"(a[1][half]), "d"(b[j][half]));
#endif
    }
  }
}
#else
template <class T>
void multiply_add(T (&C)[2][8], const T (&a)[2][2], const T (&b)[4][2], int count) {
  lenskern_emulated_multiply_add(C, a, b, count);
}
#endif

// The nearest number of 11 bits, which is what TF32 has.
__device__ inline float as_tf32(float v) { return __uint_as_float((__float_as_uint(v) + 0x1000u) & 0xffffe000u); }

// The same in float32, by three products of what TF32 holds of a number and of the rest. What is left out is 2^-22 of a
// product.
__device__ inline void multiply_add_exactly(float (&C)[2][8], const float (&a)[2][2], const float (&b)[4][2],
                                            int count) {
  float a_large[2][2], a_small[2][2], b_large[4][2], b_small[4][2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      a_large[h][half] = as_tf32(a[h][half]);
      a_small[h][half] = as_tf32(a[h][half] - a_large[h][half]);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      b_large[j][half] = as_tf32(b[j][half]);
      b_small[j][half] = as_tf32(b[j][half] - b_large[j][half]);
    }
  }
  multiply_add(C, a_small, b_large, count);
  multiply_add(C, a_large, b_small, count);
  multiply_add(C, a_large, b_large, count);
}
__device__ inline void multiply_add_exactly(double (&C)[2][8], const double (&a)[2][2], const double (&b)[4][2],
                                            int count) {
  multiply_add(C, a, b, count);
}

}  // namespace lenskern::cuda
