// Sums over haloes for a tile of rays: a block takes the tile through all haloes of a lane. With a far field, distant
// haloes are summed at the points of a polynomial and the others at the rays.
#pragma once

#include "deflect_far.cuh"

namespace lenskern::cuda {

// Haloes that are staged in shared memory at once.
constexpr int kChunk = 128;

template <class T>
struct TileCall {
  Scenes<T> scenes;
  Tangents<T> tangents;  // of the tangent alone
  Batched<T> weights;    // the Jacobian's: multiplies it with these, (n, 2), if there are any
  T* out;
  int tile_rays;  // 2^5 to 2^10; below kThreads several threads share a ray, each taking some of the haloes
  bool far, each;
};

template <class Op>
struct TileMemory {
  using T = typename Op::T;
  Lane<T> lane;
  Tables<T> tables;
  FarPlan<T> plan;
  T slots[kWarps];
  int counts[kWarps], near_counts[kWarps], far_counts[kWarps];
  Chebyshev<T> chebyshev;
  // Of the rays, by slices of the haloes, and after them of the points.
  Total<T> sums[Op::kFields][Op::kTileRays + kMostNodes];
  union {
    typename Op::Halo halos[kChunk];         // near ones from the front, far ones from the back
    T polynomials[Op::kFields][kMostNodes];  // once the haloes are done
  };
};

// Stages a chunk of haloes; the numbers of near and far ones are the same for all threads.
template <class Op, class T>
__device__ inline void stage(const TileCall<T>& call, int first, TileMemory<Op>& memory, int* near, int* far) {
  const int i = first + threadIdx.x, warp = threadIdx.x / kWarp, place = threadIdx.x % kWarp;
  const bool active = threadIdx.x < kChunk && i < call.scenes.N && memory.lane.mask[i];
  typename Op::Halo halo;
  bool is_far = false;
  if (active) {
    const bool valid = memory.lane.read(i, call.scenes.table_size.count, &halo);
    is_far = valid && memory.plan.takes(halo, memory.tables);
    if (valid) Op::complete(memory.lane, i, &halo);
  }
  const unsigned near_ones = __ballot_sync(kAllLanes, active && !is_far);
  const unsigned far_ones = __ballot_sync(kAllLanes, active && is_far);
  if (place == 0) memory.near_counts[warp] = __popc(near_ones), memory.far_counts[warp] = __popc(far_ones);
  __syncthreads();
  *near = *far = 0;
  int near_before = 0, far_before = 0;
  for (int w = 0; w < kChunk / kWarp; ++w) {
    if (w == warp) near_before = *near, far_before = *far;
    *near += memory.near_counts[w], *far += memory.far_counts[w];
  }
  const unsigned below = (1u << place) - 1;
  if (active && is_far) {
    memory.halos[kChunk - 1 - far_before - __popc(far_ones & below)] = halo;
  } else if (active) {
    memory.halos[near_before + __popc(near_ones & below)] = halo;
  }
  __syncthreads();
}

template <class Op, class T>
__device__ inline void sum_tile(const TileCall<T>& call, int64_t lane_number, int64_t tile, TileMemory<Op>& memory) {
  constexpr int kFields = Op::kFields;
  const Scenes<T>& scenes = call.scenes;
  const int64_t first = tile * call.tile_rays, left = scenes.n - first;
  const int rays = left < call.tile_rays ? static_cast<int>(left) : call.tile_rays;
  const int ray_slots = call.tile_rays < kThreads ? kThreads : call.tile_rays;
  const int ray_slices = ray_slots / call.tile_rays;

  if (threadIdx.x == 0) {
    memory.lane.locate(scenes, call.tangents, call.weights, lane_number);
    memory.tables.locate(scenes.table_size, memory.lane.tables);
    memory.plan.points = 0;
  }
  for (int slot = threadIdx.x; slot < ray_slots + kMostNodes; slot += kThreads) {
    for (int f = 0; f < kFields; ++f) memory.sums[f][slot] = {};
  }
  __syncthreads();
  if (call.far)
    make_plan(scenes, memory.lane, memory.tables, first, rays, call.each, memory.slots, memory.counts, &memory.plan);
  const int p = memory.plan.points, nodes = p * p, node_slices = p > 0 ? kMostNodes / nodes : 0;
  if (p > 0) memory.chebyshev.make(p);

  for (int begin = 0; begin < scenes.N; begin += kChunk) {
    int near, far;
    stage(call, begin, memory, &near, &far);
    // Rays and then points; the threads of a warp always take the same halo.
    const int slots = ray_slots + (far > 0 ? kMostNodes : 0);
#pragma unroll 1
    for (int slot = threadIdx.x; slot < slots; slot += kThreads) {
      const bool at_node = slot >= ray_slots;
      const int k = at_node ? slot - ray_slots : slot;
      const int at = k % (at_node ? nodes : call.tile_rays), slice = k / (at_node ? nodes : call.tile_rays);
      const int slices = at_node ? node_slices : ray_slices, count = at_node ? far : near;
      if (!at_node && at >= rays) continue;
      // A point relative to the centre of the box, so that float32 keeps its distance from a halo.
      constexpr bool in_parts = sizeof(T) == sizeof(float);
      T y, x, dy = 0, dx = 0;
      if (at_node) {
        y = memory.plan.box.y, x = memory.plan.box.x;
        dy = memory.plan.box.hy * memory.chebyshev.cosine[at / p],
        dx = memory.plan.box.hx * memory.chebyshev.cosine[at % p];
      } else {
        const T* ray = memory.lane.grid + 2 * memory.lane.ray(first + at);
        y = ray[0], x = ray[1];
      }
      if constexpr (!in_parts) y += dy, x += dx;
      Total<T> sums[kFields];
      for (int f = 0; f < kFields; ++f) sums[f] = memory.sums[f][slot];
#pragma unroll 1
      for (int j = slice; j < count; j += slices) {
        const typename Op::Halo& halo = memory.halos[at_node ? kChunk - 1 - j : j];
        if constexpr (in_parts) {
          Op::add(halo, memory.tables, (y - halo.y) + dy, (x - halo.x) + dx, sums);
        } else {
          Op::add(halo, memory.tables, y - halo.y, x - halo.x, sums);
        }
      }
      for (int f = 0; f < kFields; ++f) memory.sums[f][slot] = sums[f];
    }
    __syncthreads();
  }

  if (p > 0) {
    for (int f = 0; f < kFields; ++f) {
      T* values = memory.polynomials[f];
      if (threadIdx.x < nodes) {
        Total<T> total = memory.sums[f][ray_slots + threadIdx.x];
        for (int slice = 1; slice < node_slices; ++slice) {
          total.add(memory.sums[f][ray_slots + slice * nodes + threadIdx.x].value);
        }
        values[threadIdx.x] = total.value;
      }
      __syncthreads();
      // what the points' sums took is free now
      memory.chebyshev.coefficients(p, values, reinterpret_cast<T*>(memory.sums[f] + ray_slots));
    }
  }
#pragma unroll 1
  for (int at = threadIdx.x; at < rays; at += kThreads) {
    const int64_t ray = memory.lane.ray(first + at);
    const T y = memory.lane.grid[2 * ray], x = memory.lane.grid[2 * ray + 1];
    T fields[kFields];
    for (int f = 0; f < kFields; ++f) {
      Total<T> total = memory.sums[f][at];
      for (int slice = 1; slice < ray_slices; ++slice) total.add(memory.sums[f][slice * call.tile_rays + at].value);
      if (p > 0) {
        const Box<T>& box = memory.plan.box;
        const T ty = box.hy > 0 ? (y - box.y) / box.hy : T(0), tx = box.hx > 0 ? (x - box.x) / box.hx : T(0);
        total.add(Chebyshev<T>::evaluate(p, memory.polynomials[f], ty, tx));
      }
      fields[f] = total.value + ((y - y) + (x - x));  // NaN for a ray that is not finite
    }
    Op::finish(memory.lane, ray, fields, call.out, lane_number * scenes.n + ray);
  }
  __syncthreads();
}

template <class Op>
__global__ void __launch_bounds__(kThreads, kBlocks) sum_tiles(const __grid_constant__ TileCall<typename Op::T> call) {
  static_assert(sizeof(TileMemory<Op>) <= kMostShared);
  __shared__ TileMemory<Op> memory;
  const int64_t tiles = (call.scenes.n + call.tile_rays - 1) / call.tile_rays;
  for (int64_t i = blockIdx.x; i < tiles * call.scenes.lanes.count; i += gridDim.x) {
    sum_tile(call, i / tiles, i % tiles, memory);
  }
}

}  // namespace lenskern::cuda
