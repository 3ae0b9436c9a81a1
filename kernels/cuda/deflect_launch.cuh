// How many blocks a sum takes, and of how many rays: by constants, so that a lane alone gives what it gives in a batch.
#pragma once

#include "deflect_adjoint.cuh"
#include "deflect_tangent.cuh"
#include "deflect_tile.cuh"
#include "launch.cuh"

namespace lenskern::cuda {

template <class Op, class T>
inline cudaError_t launch_tiles(cudaStream_t stream, TileCall<T> call) {
  const int64_t n = call.scenes.n;
  call.far = call.scenes.order.data != nullptr;
  if (call.far) {
    call.tile_rays = n < (1 << 15) ? kThreads : Op::kTileRays;
  } else {
    call.tile_rays = n <= (1 << 14) ? kWarp : 4 * kWarp;
  }
  const int64_t tiles = (n + call.tile_rays - 1) / call.tile_rays;
  return launch(stream, tiles * call.scenes.lanes.count, sum_tiles<Op>, call);
}

template <class T>
cudaError_t launch_fields(cudaStream_t stream, const Scenes<T>& scenes, int kind, T* out) {
  const TileCall<T> call{scenes, {}, {}, out, 0, false, false};
  switch (kind) {
    case deflect::kDeflection:
      return launch_tiles<FieldOp<T, deflect::kDeflection>>(stream, call);
    case deflect::kConvergence:
      return launch_tiles<FieldOp<T, deflect::kConvergence>>(stream, call);
    case deflect::kPotential:
      return launch_tiles<FieldOp<T, deflect::kPotential>>(stream, call);
    default:
      return launch_tiles<FieldOp<T, deflect::kJacobian>>(stream, call);
  }
}

template <class T>
cudaError_t launch_tangent(cudaStream_t stream, const Scenes<T>& scenes, const Tangents<T>& tangents, T* out) {
  return launch_tiles<TangentOp<T>>(stream, TileCall<T>{scenes, tangents, {}, out, 0, false, true});
}

template <class T>
cudaError_t launch_adjoint(cudaStream_t stream, const Scenes<T>& scenes, const Batched<T>& cotangent, T* scratch,
                           const Cotangents<T>& out) {
  const TileCall<T> rays{scenes, {}, cotangent, out.grid, 0, false, true};
  cudaError_t error = launch_tiles<FieldOp<T, deflect::kJacobian>>(stream, rays);
  const AdjointCall<T> call{scenes, cotangent, adjoint_parts(scenes.n, scenes.N), scratch, out};
  const int64_t lanes = scenes.lanes.count, groups = (scenes.N + kWarps - 1) / kWarps;
  if (error == cudaSuccess) error = launch(stream, lanes * groups * call.parts, sum_rays<T>, call);
  if (error != cudaSuccess) return error;
  return launch(stream, lanes * ((scenes.N + kThreads - 1) / kThreads), finish_adjoint<T>, call);
}

}  // namespace lenskern::cuda
