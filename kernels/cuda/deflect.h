// Sums over haloes: what the handlers hand to the kernels. Pointers are to device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "lanes.h"
#include "lenskern/halos.h"

namespace lenskern::cuda {

// Chebyshev coefficients of the mean convergence as a function of ln u on equal segments, (tables, segments, terms).
struct TableSize {
  int count, segments, terms;
  double ln_u_min, ln_u_max;
};

// Haloes (N) and rays (n) of all lanes, positions as (y, x).
template <class T>
struct Scenes {
  Lanes lanes;
  int64_t n;
  int N;
  Batched<int32_t> profile;
  Batched<T> centre, amplitude, scale, shape;
  Batched<bool> mask;
  Batched<T> tables;
  TableSize table_size;
  Batched<T> grid;
  // The rays in an order that keeps neighbours together; data is null without a far field.
  Batched<int32_t> order;
  double tol;  // arcsec; below 0: the rounding level of the sum
};

// Tangents of the real operands; radial tables have none.
template <class T>
struct Tangents {
  Batched<T> centre, amplitude, scale, shape, grid;
};

// Cotangents of the real operands, lane after lane.
template <class T>
struct Cotangents {
  T *centre, *amplitude, *scale, *shape, *grid;
};

// out (lanes, n, components of the kind)
template <class T>
cudaError_t launch_fields(cudaStream_t stream, const Scenes<T>& scenes, int kind, T* out);

// out (lanes, n, 2)
template <class T>
cudaError_t launch_tangent(cudaStream_t stream, const Scenes<T>& scenes, const Tangents<T>& tangents, T* out);

// `scratch` has adjoint_scratch numbers.
template <class T>
cudaError_t launch_adjoint(cudaStream_t stream, const Scenes<T>& scenes, const Batched<T>& cotangent, T* scratch,
                           const Cotangents<T>& out);

// Sums of a halo over the rays that become its cotangents.
constexpr int kHaloSums = 6;

// Parts that the rays are cut into for them; never so many that the sums take more memory than the rays.
constexpr int64_t kMostParts = 32, kPartRays = 512;
inline int64_t adjoint_parts(int64_t n, int64_t N) {
  const int64_t tiles = (n + kPartRays - 1) / kPartRays, room = N > 0 ? 2 * n / (3 * N) : 0;
  const int64_t parts = tiles < room ? tiles : room;
  return parts < 1 ? 1 : parts < kMostParts ? parts : kMostParts;
}
inline int64_t adjoint_scratch(int64_t n, int64_t N) { return adjoint_parts(n, N) * N * kHaloSums; }

}  // namespace lenskern::cuda
