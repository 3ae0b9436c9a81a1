// The deflection of an elliptical power law, its tangent and its adjoint; the mathematics is that of
// kernels/include/lenskern/power_law.h. A block takes a tile of the rays of a lane. Arithmetic is in double precision, as
// on the CPU.
#include "launch.cuh"
#include "macro.h"

namespace lenskern::cuda {
namespace {

using macro::Complex;
using macro::PowerLaw;

// A lens and, in each row, the coefficients of a series: of S, and where there are two of dS/db.
template <int rows>
struct LensMemory {
  PowerLaw lens;
  int terms;
  double series[rows][macro::kMostTerms];

  template <class T>
  __device__ void make(const T* parameters) {
    lens = macro::read(parameters);
    terms = macro::make_series(lens, series[0], rows > 1 ? series[rows - 1] : nullptr);
  }

  // Sums of a_n u^(n - 1) by Goertzel's recurrence, y_n = a_n + 2 Re(u) y_{n+1} - |u|^2 y_{n+2}.
  __device__ void sum(Complex u, Complex (&sums)[rows]) const {
    const double twice = 2 * u.re, norm = macro::square(u);
    double y1[rows] = {}, y2[rows] = {};
#pragma unroll 1
    for (int n = terms - 1; n >= 0; --n) {
      for (int row = 0; row < rows; ++row) {
        const double y0 = twice * y1[row] + (series[row][n] - norm * y2[row]);
        y2[row] = y1[row], y1[row] = y0;
      }
    }
    for (int row = 0; row < rows; ++row) sums[row] = {y1[row] - u.re * y2[row], u.im * y2[row]};
  }

  __device__ Complex deflect(double smallest, double y, double x) const {
    const macro::Ray ray = macro::ray_of(lens, smallest, y, x);
    const Complex u = macro::mapped(ray.w);
    Complex Q[rows];
    sum(u, Q);
    return lens.strength * ::pow(ray.v, -lens.slope / 2) * (ray.d * macro::angular(u, Q[0]));
  }

  __device__ macro::Derivatives differentiate(double smallest, double y, double x) const {
    const macro::Ray ray = macro::ray_of(lens, smallest, y, x);
    const double b = lens.slope / 2, unit = ::pow(ray.v, -b), log_v = math::log(ray.v);
    const Complex u = macro::mapped(ray.w);
    Complex Q[rows];
    sum(u, Q);
    const Complex S = macro::angular(u, Q[0]), by_w = macro::angular_by_w(b, ray.w, u, Q[0]), by_b = u * Q[rows - 1];
    return macro::differentiate(lens, smallest, ray, unit, log_v, S, by_w, by_b);
  }
};

// Rays [first, end) of a lane, and where they are in results (lanes, n, 2).
struct Tile {
  int64_t lane, number, first, end;
  Place place;

  template <class T>
  __device__ T* of(T* out, int64_t n, int64_t i) const {
    return out + 2 * (lane * n + i);
  }
};

// Calls take(tile) for those of this block, with the lens of its lane in memory.
template <int rows, class T, class Take>
__device__ inline void for_each_tile(const PowerLaws<T>& lenses, LensMemory<rows>& memory, const Take& take) {
  const int64_t tiles = power_law_tiles(lenses.n);
  for (int64_t block = blockIdx.x; block < tiles * lenses.lanes.count; block += gridDim.x) {
    const int64_t lane = block / tiles, number = block % tiles, first = number * kPowerLawRays;
    const int64_t end = first + kPowerLawRays < lenses.n ? first + kPowerLawRays : lenses.n;
    const Tile tile{lane, number, first, end, lenses.lanes.place(lane)};
    if (threadIdx.x == 0) memory.make(lenses.parameters(tile.place));
    __syncthreads();
    take(tile);
    __syncthreads();
  }
}

template <class T>
__device__ inline void put(Complex value, T* out) {
  out[0] = static_cast<T>(value.im), out[1] = static_cast<T>(value.re);
}

template <class T>
struct DeflectionCall {
  PowerLaws<T> lenses;
  T* out;
};

template <class T>
__global__ void __launch_bounds__(kThreads) deflect_power_law(const __grid_constant__ DeflectionCall<T> call) {
  __shared__ LensMemory<1> memory;
  for_each_tile(call.lenses, memory, [&](const Tile& tile) {
    const T* grid = call.lenses.grid(tile.place);
    for (int64_t i = tile.first + threadIdx.x; i < tile.end; i += kThreads) {
      put(memory.deflect(macro::kSmallest<T>, grid[2 * i], grid[2 * i + 1]), tile.of(call.out, call.lenses.n, i));
    }
  });
}

template <class T>
struct TangentCall {
  PowerLaws<T> lenses;
  Batched<T> dgrid, dparameters;
  T* out;
};

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) push_power_law(const __grid_constant__ TangentCall<T> call) {
  __shared__ LensMemory<2> memory;
  for_each_tile(call.lenses, memory, [&](const Tile& tile) {
    const T *grid = call.lenses.grid(tile.place), *dgrid = call.dgrid(tile.place);
    const PowerLaw direction = macro::read(call.dparameters(tile.place));
    for (int64_t i = tile.first + threadIdx.x; i < tile.end; i += kThreads) {
      const macro::Derivatives by = memory.differentiate(macro::kSmallest<T>, grid[2 * i], grid[2 * i + 1]);
      put(macro::along(by, direction, dgrid[2 * i], dgrid[2 * i + 1]), tile.of(call.out, call.lenses.n, i));
    }
  });
}

template <class T>
struct AdjointCall {
  PowerLaws<T> lenses;
  Batched<T> cotangent;
  double* sums;  // (lanes, tiles, 6)
  T *dgrid, *dparameters;
};

// Adds up what the threads of a block have, in an order that is always the same.
template <class T>
__device__ inline void add_up(PowerLaw sum, double* slots, T* out) {
  double values[macro::kParameters];
  macro::write(sum, values);
  for (double& value : values) value = over_block(value, Plus<double>(), slots);
  if (threadIdx.x == 0) {
    for (int k = 0; k < macro::kParameters; ++k) out[k] = static_cast<T>(values[k]);
  }
}

// Cotangents of the rays, and sums over those of a tile.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) pull_power_law(const __grid_constant__ AdjointCall<T> call) {
  __shared__ LensMemory<2> memory;
  __shared__ double slots[kWarps];
  const int64_t n = call.lenses.n, tiles = power_law_tiles(n);
  for_each_tile(call.lenses, memory, [&](const Tile& tile) {
    const T *grid = call.lenses.grid(tile.place), *cotangent = call.cotangent(tile.place);
    PowerLaw sum{};
    for (int64_t i = tile.first + threadIdx.x; i < tile.end; i += kThreads) {
      const macro::Derivatives by = memory.differentiate(macro::kSmallest<T>, grid[2 * i], grid[2 * i + 1]);
      const PowerLaw part = macro::transposed(by, cotangent[2 * i], cotangent[2 * i + 1]);
      put({-part.centre_x, -part.centre_y}, tile.of(call.dgrid, n, i));
      sum = sum + part;
    }
    add_up(sum, slots, call.sums + (tile.lane * tiles + tile.number) * macro::kParameters);
  });
}

// A block adds up the tiles of a lane.
template <class T>
__global__ void __launch_bounds__(kThreads) finish_power_law(const __grid_constant__ AdjointCall<T> call) {
  __shared__ double slots[kWarps];
  const int64_t tiles = power_law_tiles(call.lenses.n);
  for (int64_t lane = blockIdx.x; lane < call.lenses.lanes.count; lane += gridDim.x) {
    PowerLaw sum{};
    for (int64_t tile = threadIdx.x; tile < tiles; tile += kThreads) {
      sum = sum + macro::read(call.sums + (lane * tiles + tile) * macro::kParameters);
    }
    add_up(sum, slots, call.dparameters + lane * macro::kParameters);
  }
}

}  // namespace

template <class T>
cudaError_t launch_power_law(cudaStream_t stream, const PowerLaws<T>& lenses, T* out) {
  const int64_t blocks = power_law_tiles(lenses.n) * lenses.lanes.count;
  return launch(stream, blocks, deflect_power_law<T>, DeflectionCall<T>{lenses, out});
}

template <class T>
cudaError_t launch_power_law_tangent(cudaStream_t stream, const PowerLaws<T>& lenses, const Batched<T>& dgrid,
                                     const Batched<T>& dparameters, T* out) {
  const int64_t blocks = power_law_tiles(lenses.n) * lenses.lanes.count;
  return launch(stream, blocks, push_power_law<T>, TangentCall<T>{lenses, dgrid, dparameters, out});
}

template <class T>
cudaError_t launch_power_law_adjoint(cudaStream_t stream, const PowerLaws<T>& lenses, const Batched<T>& cotangent,
                                     double* sums, T* dgrid, T* dparameters) {
  const AdjointCall<T> call{lenses, cotangent, sums, dgrid, dparameters};
  const int64_t lanes = lenses.lanes.count;
  const cudaError_t error = launch(stream, power_law_tiles(lenses.n) * lanes, pull_power_law<T>, call);
  return error == cudaSuccess ? launch(stream, lanes, finish_power_law<T>, call) : error;
}

template cudaError_t launch_power_law(cudaStream_t, const PowerLaws<float>&, float*);
template cudaError_t launch_power_law(cudaStream_t, const PowerLaws<double>&, double*);
template cudaError_t launch_power_law_tangent(cudaStream_t, const PowerLaws<float>&, const Batched<float>&,
                                              const Batched<float>&, float*);
template cudaError_t launch_power_law_tangent(cudaStream_t, const PowerLaws<double>&, const Batched<double>&,
                                              const Batched<double>&, double*);
template cudaError_t launch_power_law_adjoint(cudaStream_t, const PowerLaws<float>&, const Batched<float>&, double*,
                                              float*, float*);
template cudaError_t launch_power_law_adjoint(cudaStream_t, const PowerLaws<double>&, const Batched<double>&, double*,
                                              double*, double*);

}  // namespace lenskern::cuda
