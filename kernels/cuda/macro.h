// The elliptical power law: what the handlers hand to the kernels. Pointers are to device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "lanes.h"
#include "lenskern/power_law.h"

namespace lenskern::cuda {

// Rays (n, 2) as (y, x) and parameters (6), as python/lenskern/deflect/macro_reference.py has them.
template <class T>
struct PowerLaws {
  Lanes lanes;
  int64_t n;
  Batched<T> grid, parameters;
};

// out (lanes, n, 2)
template <class T>
cudaError_t launch_power_law(cudaStream_t stream, const PowerLaws<T>& lenses, T* out);

// `dgrid` and `dparameters` are of the shapes of the operands; out (lanes, n, 2).
template <class T>
cudaError_t launch_power_law_tangent(cudaStream_t stream, const PowerLaws<T>& lenses, const Batched<T>& dgrid,
                                     const Batched<T>& dparameters, T* out);

// From the cotangent (n, 2) of the deflection to dgrid (lanes, n, 2) and dparameters (lanes, 6); `sums` has the bytes
// that power_law_scratch gives.
template <class T>
cudaError_t launch_power_law_adjoint(cudaStream_t stream, const PowerLaws<T>& lenses, const Batched<T>& cotangent,
                                     double* sums, T* dgrid, T* dparameters);

// Rays of a tile, which a block takes; the adjoint has sums of each.
constexpr int64_t kPowerLawRays = 1024;
LENSKERN_MEMBER int64_t power_law_tiles(int64_t n) { return (n + kPowerLawRays - 1) / kPowerLawRays; }
inline int64_t power_law_scratch(int64_t lanes, int64_t n) {
  return lanes * power_law_tiles(n) * macro::kParameters * static_cast<int64_t>(sizeof(double));
}

}  // namespace lenskern::cuda
