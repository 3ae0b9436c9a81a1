// The transpose of the tangent: cotangents of the haloes' parameters out of those of the deflections. Those of the rays
// are the Jacobian times them, which sum_tiles gives.
#pragma once

#include "deflect_lane.cuh"

namespace lenskern::cuda {

template <class T>
struct AdjointCall {
  Scenes<T> scenes;
  Batched<T> cotangent;  // (n, 2)
  int64_t parts;
  T* sums;  // (lanes, parts, N, kHaloSums)
  Cotangents<T> out;
};

template <class T>
struct RayMemory {
  Lane<T> lane;
  Tables<T> tables;
  T y[kPartRays], x[kPartRays], wy[kPartRays], wx[kPartRays];
};

// Stages the rays of a tile with their cotangents w. A ray that is not finite weighs nothing: it is NaN alone.
template <class T>
__device__ inline void stage_rays(int64_t first, int rays, RayMemory<T>& memory) {
  for (int r = threadIdx.x; r < rays; r += kThreads) {
    const T *at = memory.lane.grid + 2 * (first + r), *w = memory.lane.weights + 2 * (first + r);
    const bool finite = (at[0] - at[0]) + (at[1] - at[1]) == 0;
    memory.y[r] = finite ? at[0] : T(0), memory.x[r] = finite ? at[1] : T(0);
    memory.wy[r] = finite ? w[0] : T(0), memory.wx[r] = finite ? w[1] : T(0);
  }
}

// What a ray adds to a halo, with e = w.d: g e, g w + 2 g' e d (y and x), 2 g' v e, g_p e and g_q e.
template <class T>
__device__ inline void add_ray(const Source<T>& h, const Tables<T>& tables, T dy, T dx, T wy, T wx,
                               Total<T> (&sums)[kHaloSums]) {
  const T u = u_of(h, dy * dy + dx * dx), e = wy * dy + wx * dx;
  const int shapes = deflect::shape_parameters(h.profile);
  T g;
  if (shapes == 0) {
    g = mean_of(h, tables, u);
  } else {
#pragma unroll 1
    for (int k = 0; k < shapes; ++k) {
      const Dual<T> along = mean_along(h, u, T(k == 0), T(k == 1));
      g = along.v;
      if (k == 0) {
        sums[4].add(along.d * e);
      } else {
        sums[5].add(along.d * e);
      }
    }
  }
  const T rise = 2 * rise_of(g, local_of(h, tables, u), u) * e, twice = rise / u * h.inverse;
  sums[0].add(g * e), sums[1].add(g * wy + twice * dy), sums[2].add(g * wx + twice * dx), sums[3].add(rise);
}

// A block takes a group of haloes, one to a warp, through one part of the rays.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) sum_rays(const __grid_constant__ AdjointCall<T> call) {
  static_assert(sizeof(RayMemory<T>) <= kMostShared);
  __shared__ RayMemory<T> memory;
  const Scenes<T>& scenes = call.scenes;
  const int64_t groups = (scenes.N + kWarps - 1) / kWarps, blocks = groups * call.parts * scenes.lanes.count;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t part = block / groups % call.parts, lane = block / groups / call.parts;
    const int i = static_cast<int>(block % groups) * kWarps + threadIdx.x / kWarp, place = threadIdx.x % kWarp;
    if (threadIdx.x == 0) {
      memory.lane.locate(scenes, Tangents<T>{}, call.cotangent, lane);
      memory.tables.locate(scenes.table_size, memory.lane.tables);
    }
    __syncthreads();
    Source<T> h;
    const bool active = i < scenes.N && memory.lane.mask[i] && memory.lane.read(i, scenes.table_size.count, &h);
    Total<T> sums[kHaloSums] = {};
    for (int64_t first = part * kPartRays; first < scenes.n; first += call.parts * kPartRays) {
      const int rays = static_cast<int>(scenes.n - first < kPartRays ? scenes.n - first : kPartRays);
      stage_rays(first, rays, memory);
      __syncthreads();
      if (active) {
#pragma unroll 1
        for (int r = place; r < rays; r += kWarp) {
          add_ray(h, memory.tables, memory.y[r] - h.y, memory.x[r] - h.x, memory.wy[r], memory.wx[r], sums);
        }
      }
      __syncthreads();
    }
    for (int k = 0; k < kHaloSums; ++k) {
      const T sum = over_warp(sums[k].value, Plus<T>());
      if (place == 0 && i < scenes.N) call.sums[((lane * call.parts + part) * scenes.N + i) * kHaloSums + k] = sum;
    }
  }
}

// Adds up the parts, in order: the sums of a halo become the cotangents of its parameters.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks) finish_adjoint(const __grid_constant__ AdjointCall<T> call) {
  __shared__ Lane<T> here;
  __shared__ int slots[kWarps];
  const Scenes<T>& scenes = call.scenes;
  const int64_t groups = (scenes.N + kThreads - 1) / kThreads, blocks = groups * scenes.lanes.count;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t lane = block / groups;
    if (threadIdx.x == 0) here.locate(scenes, Tangents<T>{}, call.cotangent, lane);
    __syncthreads();
    Source<T> h;
    int bad = 0;
    for (int i = threadIdx.x; i < scenes.N; i += kThreads) {
      bad |= here.mask[i] && !here.read(i, scenes.table_size.count, &h);
    }
    bad = over_block(bad, Plus<int>(), slots);
    const int i = static_cast<int>(block % groups) * kThreads + threadIdx.x;
    if (i < scenes.N) {
      const bool active = here.mask[i] && bad == 0;
      T s[kHaloSums];
      for (int k = 0; k < kHaloSums; ++k) {
        Total<T> total{};
        for (int64_t part = 0; part < call.parts; ++part) {
          total.add(call.sums[((lane * call.parts + part) * scenes.N + i) * kHaloSums + k]);
        }
        s[k] = active ? total.value : bad != 0 ? static_cast<T>(__builtin_nan("")) : T(0);
      }
      const T amplitude = active ? here.amplitude[i] : T(1), scale = active ? here.scale[i] : T(1);
      const int64_t at = lane * scenes.N + i;
      call.out.amplitude[at] = s[0];
      call.out.centre[2 * at] = 0 - amplitude * s[1], call.out.centre[2 * at + 1] = 0 - amplitude * s[2];
      call.out.scale[at] = 0 - amplitude * s[3] / scale;
      call.out.shape[2 * at] = amplitude * s[4], call.out.shape[2 * at + 1] = amplitude * s[5];
    }
    __syncthreads();
  }
}

}  // namespace lenskern::cuda
