// The deflection of an elliptical power law; the series is that of python/lenskern/deflect/macro_series.py. A block takes
// a tile of the rays of a lane. Arithmetic is in double precision, as on the CPU.
#include "block.cuh"
#include "lenskern/dual.h"
#include "macro.h"

namespace lenskern::cuda {
namespace {

constexpr int kMostTerms = 800, kTileRays = 4 * kThreads;

// Coefficients c_1, c_2, ... of the series, for half the slope b and the ellipticity f; their number is returned.
__device__ inline int make_series(double b, double f, double* c) {
  const double root = 1 + math::sqrt(1 - f), rho = f / (root * root);
  int terms = 5;
  // The tail after N terms is about rho^N / (1 - rho); the margin is for coefficients that grow with n.
  if (rho > 1e-8) {
    terms = 2 + static_cast<int>(::ceil(1.25 * (math::log(1.1e-16) + math::log1p(-rho)) / math::log(rho)));
  }
  if (terms > kMostTerms) terms = kMostTerms;
  double c1 = 1, c2 = 0;
#pragma unroll 1
  for (int n = 1; n <= terms; ++n) {
    const double force = n == 1 ? 2 : n == 2 ? 1 : 0;
    const double c0 = ((6 * b - 2) * c1 + (n - 3 + b) * c2 + (1 - b) * force) / (n + 1 - b);
    c[n - 1] = c0;
    c2 = c1, c1 = c0;
  }
  return terms;
}

struct PowerLawMemory {
  double centre_y, centre_x, ell_y, ell_x, strength, b;
  int terms;
  double c[kMostTerms];

  template <class T>
  __device__ void make(const T* parameters) {
    centre_y = parameters[0], centre_x = parameters[1], ell_y = parameters[2], ell_x = parameters[3];
    strength = parameters[4], b = parameters[5] / 2;
    terms = make_series(b, math::sqrt(ell_y * ell_y + ell_x * ell_x), c);
  }

  __device__ void deflect(double y, double x, double smallest, double* alpha_y, double* alpha_x) const {
    y -= centre_y, x -= centre_x;
    const double dr = x - (ell_x * x + ell_y * y), di = y + (ell_x * y - ell_y * x), square = dr * dr + di * di;
    const double v = square < smallest ? smallest : square, cosine = (dr * dr - di * di) / v, sine = 2 * dr * di / v;
    const double wr = -(ell_x * cosine + ell_y * sine), wi = -(ell_x * sine - ell_y * cosine);
    // u = w / (1 + sqrt(1 - w))^2
    const double real = 1 - wr, root = math::sqrt((math::sqrt(real * real + wi * wi) + real) / 2);
    const double br = 1 + root, bi = -wi / (2 * root), sr = br * br - bi * bi, si = 2 * br * bi;
    const double size = br * br + bi * bi, scale = 1 / (size * size);
    const double ur = (wr * sr + wi * si) * scale, ui = (wi * sr - wr * si) * scale;
    // Goertzel's recurrence, y_n = c_n + 2 Re(u) y_{n+1} - |u|^2 y_{n+2}
    const double twice = 2 * ur, norm = ur * ur + ui * ui;
    double y1 = 0, y2 = 0;
#pragma unroll 1
    for (int n = terms - 1; n >= 0; --n) {
      const double y0 = twice * y1 + (c[n] - norm * y2);
      y2 = y1, y1 = y0;
    }
    const double qr = y1 - ur * y2, qi = ui * y2;
    const double sum_r = 1 + (ur * qr - ui * qi), sum_i = ur * qi + ui * qr;
    const double unit = strength * ::pow(v, -b);
    *alpha_y = unit * (dr * sum_i + di * sum_r);
    *alpha_x = unit * (dr * sum_r - di * sum_i);
  }
};

template <class T>
__global__ void __launch_bounds__(kThreads) deflect_power_law(const __grid_constant__ PowerLaws<T> call) {
  __shared__ PowerLawMemory lens;
  constexpr double smallest = sizeof(T) == 8 ? 1e-24 : 1e-16;  // as in macro_reference.py
  const int64_t tiles = (call.n + kTileRays - 1) / kTileRays;
  for (int64_t block = blockIdx.x; block < tiles * call.lanes.count; block += gridDim.x) {
    const int64_t lane = block / tiles, first = block % tiles * kTileRays;
    const Place place = call.lanes.place(lane);
    if (threadIdx.x == 0) lens.make(call.parameters(place));
    __syncthreads();
    const T* grid = call.grid(place);
    const int64_t end = first + kTileRays < call.n ? first + kTileRays : call.n;
    for (int64_t i = first + threadIdx.x; i < end; i += kThreads) {
      double y, x;
      lens.deflect(grid[2 * i], grid[2 * i + 1], smallest, &y, &x);
      T* out = call.out + 2 * (lane * call.n + i);
      out[0] = static_cast<T>(y), out[1] = static_cast<T>(x);
    }
    __syncthreads();
  }
}

}  // namespace

template <class T>
cudaError_t launch_power_law(cudaStream_t stream, const PowerLaws<T>& call) {
  const int64_t blocks = (call.n + kTileRays - 1) / kTileRays * call.lanes.count;
  if (blocks == 0) return cudaSuccess;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks < INT32_MAX ? blocks : INT32_MAX));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, deflect_power_law<T>, call);
}
template cudaError_t launch_power_law(cudaStream_t, const PowerLaws<float>&);
template cudaError_t launch_power_law(cudaStream_t, const PowerLaws<double>&);

}  // namespace lenskern::cuda
