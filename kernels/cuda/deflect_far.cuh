// The field of distant haloes over a tile of rays: a polynomial through p x p Chebyshev points, as in
// kernels/cpp/deflect_far.h, which says where its error comes from.
#pragma once

#include "deflect_lane.cuh"

namespace lenskern::cuda {

// As deflect_far.h has them.
constexpr double kFarConstant = 4, kLeastRho = 2;
template <class T>
constexpr double kRounding = sizeof(T) == 8 ? 1e-15 : 1e-7;
// Error in derivatives, relative to each halo's.
template <class T>
constexpr double kDerivativeError = sizeof(T) == 8 ? 1e-10 : 1e-7;

constexpr int kMostPoints = 16, kMostNodes = kMostPoints * kMostPoints;

// Centre and half-widths.
template <class T>
struct Box {
  T y, x, hy, hx;
};

// The box of all rays of a tile that are finite.
template <class T>
__device__ inline Box<T> box_of(const Lane<T>& lane, int64_t first, int count, T* slots) {
  const T huge = static_cast<T>(sizeof(T) == 8 ? 1e300 : 1e30f);
  T low[2] = {huge, huge}, high[2] = {-huge, -huge};
  for (int r = threadIdx.x; r < count; r += kThreads) {
    const T* at = lane.grid + 2 * lane.ray(first + r);
    if (!((at[0] - at[0]) + (at[1] - at[1]) == 0)) continue;
    for (int axis = 0; axis < 2; ++axis) {
      low[axis] = math::least(low[axis], at[axis]), high[axis] = math::most(high[axis], at[axis]);
    }
  }
  for (int axis = 0; axis < 2; ++axis) {
    low[axis] = over_block(low[axis], Least<T>(), slots);
    high[axis] = over_block(high[axis], Most<T>(), slots);
  }
  if (low[0] > high[0]) return {0, 0, 0, 0};
  return {(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (high[0] - low[0]) / 2, (high[1] - low[1]) / 2};
}

// Distances from a halo to the nearest and the farthest point of a box.
template <class T>
struct Reach {
  T near, far;
  __device__ Reach(const Box<T>& box, const Source<T>& h) {
    const T ay = math::most(h.y - box.y, box.y - h.y), ax = math::most(h.x - box.x, box.x - h.x);
    const T ny = math::most(ay - box.hy, T(0)), nx = math::most(ax - box.hx, T(0)), fy = ay + box.hy, fx = ax + box.hx;
    near = math::sqrt(ny * ny + nx * nx), far = math::sqrt(fy * fy + fx * fx);
  }
};

// The deflection of a halo at a distance.
template <class T>
LENSKERN_NOINLINE __device__ T deflection_at(const Source<T>& h, const Tables<T>& tables, T distance) {
  if (h.profile == deflect::kProfileSheet) return 0;  // a polynomial
  const T alpha = h.amplitude * mean_of(h, tables, u_of(h, distance * distance)) * distance;
  return alpha < 0 ? -alpha : alpha;
}

// Which haloes a tile sums at its points.
template <class T>
struct FarPlan {
  int points;  // p, or 0 where all haloes are summed at the rays
  Box<T> box;
  T share;  // of the error, for each halo; 0: kDerivativeError of its own deflection

  // The ratio of the field over the box and the error that is allowed. The mass within R grows with R, so that in the
  // box the deflection is below the mass at its far side over the distance of its near side.
  __device__ T ratio(const Source<T>& h, const Tables<T>& tables, const Reach<T>& reach) const {
    if (share == 0) return static_cast<T>(1 / kDerivativeError<T>) * (reach.far / reach.near);
    return deflection_at(h, tables, reach.far) * (reach.far / reach.near) / share;
  }

  __device__ bool is_far(const Source<T>& h, T ratio, int p) const {
    T rho = static_cast<T>(kFarConstant) * ratio;
    for (int n = p; n > 1; n /= 2) rho = math::sqrt(rho);
    rho = math::most(rho, static_cast<T>(kLeastRho));
    const T long_axis = (rho + 1 / rho) / 2, short_axis = (rho - 1 / rho) / 2;
    const T ay = math::most(h.y - box.y, box.y - h.y), ax = math::most(h.x - box.x, box.x - h.x);
    const T ny = math::most(ay - box.hy, T(0)), nx = math::most(ax - box.hx, T(0));
    return outside(ay, nx, box.hy, long_axis, short_axis) && outside(ax, ny, box.hx, long_axis, short_axis);
  }

  LENSKERN_NOINLINE __device__ bool takes(const Source<T>& h, const Tables<T>& tables) const {
    if (points == 0) return false;
    const Reach<T> reach(box, h);
    return reach.near > 0 && is_far(h, ratio(h, tables, reach), points);
  }

 private:
  // In y at fixed x the singularities of a halo are at y +- i |x - x'|, and likewise in x.
  __device__ static bool outside(T along, T across, T half, T long_axis, T short_axis) {
    const T a = along / (long_axis * half), b = across / (short_axis * half);
    return half == 0 || a * a + b * b >= 1;
  }
};

// Makes the plan of a tile, which is shared. `slots` and `counts` are shared too, one for each warp.
template <class T>
LENSKERN_NOINLINE __device__ void make_plan(const Scenes<T>& scenes, const Lane<T>& lane, const Tables<T>& tables,
                                            int64_t first, int rays, bool each, T* slots, int* counts,
                                            FarPlan<T>* plan) {
  FarPlan<T> own{0, box_of(lane, first, rays, slots), 0};
  const auto over_halos = [&](const auto& visit) {
#pragma unroll 1
    for (int i = threadIdx.x; i < scenes.N; i += kThreads) {
      Source<T> h;
      if (!lane.mask[i] || !lane.read(i, scenes.table_size.count, &h)) continue;
      visit(h, Reach<T>(own.box, h));
    }
  };
  if (!each) {
    T sum = 0;
    int active = 0;
    over_halos(
        [&](const Source<T>& h, const Reach<T>& reach) { sum += deflection_at(h, tables, reach.far), ++active; });
    sum = over_block(sum, Plus<T>(), slots), active = over_block(active, Plus<int>(), counts);
    const T each_of = T(1) / static_cast<T>(active > 0 ? active : 1);
    own.share = math::most(static_cast<T>(kRounding<T>) * sum, static_cast<T>(scenes.tol)) * each_of;
    own.share = math::most(own.share, static_cast<T>(sizeof(T) == 8 ? 1e-300 : 1e-30f));
  }
  int far_by_few = 0, far_by_many = 0;
  over_halos([&](const Source<T>& h, const Reach<T>& reach) {
    if (!(reach.near > 0)) return;
    const T needed = own.ratio(h, tables, reach);
    far_by_few += own.is_far(h, needed, kMostPoints / 2), far_by_many += own.is_far(h, needed, kMostPoints);
  });
  far_by_few = over_block(far_by_few, Plus<int>(), counts);
  far_by_many = over_block(far_by_many, Plus<int>(), counts);
  // In pairs of a halo and a point; evaluating the polynomial at a ray costs as much as nodes/50 of them.
  const auto saved = [&](int far, int nodes) {
    return static_cast<float>(far) * static_cast<float>(rays - nodes) - static_cast<float>(rays) * nodes / 50;
  };
  const float by_few = saved(far_by_few, kMostNodes / 4), by_many = saved(far_by_many, kMostNodes);
  if (by_few > 0 || by_many > 0) own.points = by_few < by_many ? kMostPoints : kMostPoints / 2;
  if (threadIdx.x == 0) *plan = own;
  __syncthreads();
}

// Chebyshev points, and what makes coefficients out of values there; shared by a block.
template <class T>
struct Chebyshev {
  T cosine[kMostPoints], transform[kMostNodes];  // transform[n p + i]

  LENSKERN_NOINLINE __device__ void make(int p) {
    for (int k = threadIdx.x; k < p * p; k += kThreads) {
      const int n = k / p, i = k % p;
      transform[k] = static_cast<T>((n > 0 ? 2.0 : 1.0) / p * ::cospi(n * (i + 0.5) / p));
      if (n == 0) cosine[i] = static_cast<T>(::cospi((i + 0.5) / p));
    }
  }

  // Coefficients a[n p + m] of T_n(y) T_m(x) out of values[i p + j], in place; `half` has room for as many.
  LENSKERN_NOINLINE __device__ void coefficients(int p, T* values, T* half) const {
    const int k = threadIdx.x, n = k / p, m = k % p;
    T sum = 0;
    if (k < p * p) {
      for (int i = 0; i < p; ++i) sum += transform[n * p + i] * values[i * p + m];
      half[k] = sum;
    }
    __syncthreads();
    if (k < p * p) {
      sum = 0;
      for (int j = 0; j < p; ++j) sum += half[n * p + j] * transform[m * p + j];
      values[k] = sum;
    }
    __syncthreads();
  }

  // The polynomial at (ty, tx), both in [-1, 1].
  LENSKERN_NOINLINE __device__ static T evaluate(int p, const T* a, T ty, T tx) {
    T sum = 0, before = ty, now = 1;
    for (int n = 0; n < p; ++n) {
      T b1 = 0, b2 = 0;
      for (int m = p - 1; m > 0; --m) {
        const T b = a[n * p + m] + 2 * tx * b1 - b2;
        b2 = b1, b1 = b;
      }
      sum += now * (a[n * p] + tx * b1 - b2);
      const T next = 2 * ty * now - before;
      before = now, now = next;
    }
    return sum;
  }
};

}  // namespace lenskern::cuda
