// Products of two tiles as the kernel for large systems has them, on tensor cores and without: seconds of one on a
// multiprocessor, and the largest error relative to the sum of the sizes of its terms; as JSON.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "nnls_large_problem.cuh"
#include "timing.cuh"

using namespace lenskern::cuda;
using namespace lenskern::cuda::large;

constexpr int kNumbers = kTile * kTile, kRounds = 2000;

// C -= A B' so many times, by each block for itself.
template <class T, bool kOnTensorCores>
__global__ void __launch_bounds__(kThreads, kBlocks) subtract_products(const T* A, const T* B, T* C, int count) {
  auto& operands = *reinterpret_cast<Operand<T>(*)[2]>(dynamic_shared());
  T* own = C + int64_t{blockIdx.x} * kNumbers;
  Fragment<T> sum;
  sum.set([&](int r, int c) { return own[r * kTile + c]; });
  for (int i = 0; i < count; ++i) {
    subtract<kOnTensorCores>(sum, Tile<T>{A, Part::kAll}, Tile<T>{B, Part::kAll}, operands);
  }
  sum.store(own);
}

template <class T, bool kOnTensorCores>
void measure(const char* separator, const char* name, int multiprocessors) {
  const int blocks = kBlocks * multiprocessors;
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  std::vector<T> A(kNumbers), B(kNumbers), C(kNumbers), found(kNumbers);
  for (auto* tile : {&A, &B, &C}) {
    for (T& v : *tile) v = static_cast<T>(normal(random) * std::exp(normal(random)));
  }
  T *a, *b, *c;
  constexpr size_t bytes = sizeof(T) * kNumbers;
  check(cudaMalloc(&a, bytes), "cudaMalloc");
  check(cudaMalloc(&b, bytes), "cudaMalloc");
  check(cudaMalloc(&c, bytes * blocks), "cudaMalloc");
  check(cudaMemset(c, 0, bytes * blocks), "cudaMemset");
  check(cudaMemcpy(a, A.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  check(cudaMemcpy(b, B.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  check(cudaMemcpy(c, C.data(), bytes, cudaMemcpyHostToDevice), "cudaMemcpy");

  const auto run = [&](int count) {
    subtract_products<T, kOnTensorCores><<<blocks, kThreads, 2 * kOperandBytes>>>(a, b, c, count);
    check(cudaGetLastError(), "subtract_products");
  };
  run(1);
  check(cudaMemcpy(found.data(), c, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
  double worst = 0;
  for (int i = 0; i < kTile; ++i) {
    for (int j = 0; j < kTile; ++j) {
      const double start = C[i * kTile + j];
      long double sum = start, size = std::fabs(start);
      for (int k = 0; k < kTile; ++k) {
        const long double term = static_cast<long double>(A[i * kTile + k]) * B[j * kTile + k];
        sum -= term, size += std::fabs(term);
      }
      const double error = static_cast<double>(std::fabs(found[i * kTile + j] - sum) / size);
      if (!(error <= worst)) worst = error;
    }
  }

  const double seconds = shortest([&] { run(kRounds); });
  std::printf("%s\"%s\": {\"dtype\": \"float%d\", \"step_s\": %.4g, \"error\": ", separator, name,
              static_cast<int>(8 * sizeof(T)), seconds / (kBlocks * kRounds));
  std::printf(std::isfinite(worst) ? "%.3g}" : "Infinity}", worst);
  check(cudaFree(a), "cudaFree");
  check(cudaFree(b), "cudaFree");
  check(cudaFree(c), "cudaFree");
}

int main() {
  int multiprocessors = 0;
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "cudaDeviceGetAttribute");
  std::printf("{");
  measure<float, true>("", "float32 on tensor cores", multiprocessors);
  measure<float, false>(", ", "float32 by threads", multiprocessors);
  measure<double, true>(", ", "float64 on tensor cores", multiprocessors);
  measure<double, false>(", ", "float64 by threads", multiprocessors);
  std::printf("}\n");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  return 0;
}
