// Draws from Poisson distributions, an element to a thread, to the bit those of the CPU: kernels/include says how.
#include "launch.cuh"
#include "lenskern/poisson.h"
#include "poisson.h"

namespace lenskern::cuda {
namespace {

// Element i of a seed. In an image neighbours have similar rates, so that the threads of a warp stay together.
__device__ inline double draw(uint32_t k0, uint32_t k1, uint32_t i, double rate) {
  const double nan = __builtin_nan("");
  if (!(rate > 0 && rate <= poisson::kLargest)) {
    // 0 and what is too large to change, or what is no rate
    return rate == 0 || (rate > 0 && rate - rate == 0) ? rate : nan;
  }
  uint32_t x0 = i, x1 = 0;
  if (rate < poisson::kLeastRejection) {
    poisson::threefry(k0, k1, x0, x1);
    const double uniform = poisson::uniform(x0, x1);
    double term = poisson::exp_of_minus(rate), total = term, count = 0;
    while (uniform > total && term > poisson::kLeastProbability) {
      count += 1;
      term = poisson::times(term, poisson::times(rate, 1 / count));
      total += term;
    }
    return count;
  }
#pragma unroll 1
  for (uint32_t n = 0; n < poisson::kMostAttempts; ++n) {
    x0 = i, x1 = 2 * n;
    poisson::threefry(k0, k1, x0, x1);
    const double u = poisson::uniform(x0, x1) - 0.5;
    x0 = i, x1 = 2 * n + 1;
    poisson::threefry(k0, k1, x0, x1);
    const double v = poisson::uniform(x0, x1);
    const poisson::Attempt made = poisson::attempt(rate, u, v);
    const double count = ::floor(rate) + made.offset;
    if (made.accepted) return count;
    if (poisson::accepted(rate, made.offset, u, v, poisson::stirling_of_few(count))) return count;
  }
  return nan;
}

template <class T>
__global__ void __launch_bounds__(kThreads) draw_all(const __grid_constant__ Draws<T> draws) {
  const int64_t count = draws.lanes.count * draws.n, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at < count; at += step) {
    const int64_t lane = at / draws.n, i = at % draws.n;
    const Place place = draws.lanes.place(lane);
    const uint32_t* seed = draws.seed(place);
    draws.counts[at] = static_cast<T>(draw(seed[0], seed[1], static_cast<uint32_t>(i), draws.rate(place)[i]));
  }
}

}  // namespace

template <class T>
cudaError_t launch_poisson(cudaStream_t stream, const Draws<T>& draws) {
  const int64_t blocks = (draws.lanes.count * draws.n + kThreads - 1) / kThreads;
  return launch(stream, blocks, draw_all<T>, draws);
}
template cudaError_t launch_poisson(cudaStream_t, const Draws<float>&);
template cudaError_t launch_poisson(cudaStream_t, const Draws<double>&);

}  // namespace lenskern::cuda
