// What a GPU can do outside of libraries, as JSON: flop/s of fused multiply-adds, and seconds of the smallest steps, which
// are kernels in a stream and in a graph and barriers between blocks.
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdio>

#include "timing.cuh"

namespace cg = cooperative_groups;

constexpr int kKernels = 1000, kBarriers = 2000, kRounds = 2000;

__global__ void nothing() {}

// Independent chains of multiply-adds, enough of them in a thread to hide their latency.
template <class T>
__global__ void multiply_adds(T factor, T* out) {
  T sums[8];
  for (int i = 0; i < 8; ++i) sums[i] = T(threadIdx.x + i);
  for (int round = 0; round < kRounds; ++round) {
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[i] = sums[i] * factor + T(1);
  }
  T total = 0;
  for (int i = 0; i < 8; ++i) total += sums[i];
  out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

// One barrier of the blocks of a group: they count up, the last one lets the others go. As many groups as there is room.
__global__ void group_barriers(int blocks, unsigned* counters) {
  const int group = blockIdx.x / blocks;
  unsigned* counter = counters + 32 * group;
  for (unsigned round = 1; round <= kBarriers; ++round) {
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(counter, 1u);
      while (*reinterpret_cast<volatile unsigned*>(counter) < round * blocks) {
      }
      __threadfence();
    }
    __syncthreads();
  }
}

__global__ void cluster_barriers() {
#if __CUDA_ARCH__ >= 900
  cg::cluster_group cluster = cg::this_cluster();
  for (int i = 0; i < kBarriers; ++i) cluster.sync();
#endif
}

template <class T>
double flops(int multiprocessors) {
  const int blocks = 8 * multiprocessors, threads = 256;
  T* out = nullptr;
  check(cudaMalloc(&out, sizeof(T) * blocks * threads), "cudaMalloc");
  const double seconds = shortest([&] { multiply_adds<T><<<blocks, threads>>>(T(0.999), out); });
  check(cudaGetLastError(), "multiply_adds");
  check(cudaFree(out), "cudaFree");
  return 2.0 * 8 * kRounds * blocks * threads / seconds;
}

double barrier_of(int blocks, int groups, unsigned* counters) {
  void* arguments[] = {&blocks, &counters};
  const double seconds = shortest([&] {
    check(cudaMemsetAsync(counters, 0, 32 * sizeof(unsigned) * groups), "cudaMemsetAsync");
    check(cudaLaunchCooperativeKernel(group_barriers, dim3(blocks * groups), dim3(256), arguments),
          "cudaLaunchCooperativeKernel");
  });
  return seconds / kBarriers;
}

int main() {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  const int multiprocessors = properties.multiProcessorCount;
  unsigned* counters = nullptr;
  check(cudaMalloc(&counters, 32 * sizeof(unsigned) * multiprocessors), "cudaMalloc");

  const double in_stream = shortest([] {
    for (int i = 0; i < kKernels; ++i) nothing<<<1, 32>>>();
  });

  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t recorded;
  check(cudaStreamCreate(&stream), "cudaStreamCreate");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), "cudaStreamBeginCapture");
  for (int i = 0; i < kKernels; ++i) nothing<<<1, 32, 0, stream>>>();
  check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  check(cudaGraphInstantiate(&recorded, graph, 0), "cudaGraphInstantiate");
  const double in_graph = shortest([&] { check(cudaGraphLaunch(recorded, 0), "cudaGraphLaunch"); });

  std::printf("{\"flops\": {\"float64\": %.4g, \"float32\": %.4g}, \"steps\": {", flops<double>(multiprocessors),
              flops<float>(multiprocessors));
  std::printf("\"kernel in a stream\": %.4g, \"kernel in a graph\": %.4g", in_stream / kKernels, in_graph / kKernels);
  std::printf(", \"barrier of all %d blocks\": %.4g", multiprocessors, barrier_of(multiprocessors, 1, counters));
  for (int blocks : {16, 44}) {
    const int groups = multiprocessors / blocks;
    if (groups == 0) continue;
    std::printf(", \"barrier of %d blocks, %d groups\": %.4g", blocks, groups, barrier_of(blocks, groups, counters));
  }
  if (properties.major >= 9) {
    for (int size : {8, 16}) {
      cudaLaunchConfig_t config = {};
      cudaLaunchAttribute attribute;
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim.x = size;
      attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
      config.gridDim = dim3(size);
      config.blockDim = dim3(256);
      config.attrs = &attribute;
      config.numAttrs = 1;
      check(cudaFuncSetAttribute(cluster_barriers, cudaFuncAttributeNonPortableClusterSizeAllowed, size > 8),
            "cudaFuncSetAttribute");
      int most = 0;  // not every device has room for the larger one
      if (cudaOccupancyMaxActiveClusters(&most, cluster_barriers, &config) != cudaSuccess || most == 0) {
        cudaGetLastError();
        continue;
      }
      const double seconds =
          shortest([&] { check(cudaLaunchKernelEx(&config, cluster_barriers), "cudaLaunchKernelEx"); });
      std::printf(", \"barrier of a cluster of %d\": %.4g", size, seconds / kBarriers);
    }
  }
  std::printf("}}\n");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  return 0;
}
