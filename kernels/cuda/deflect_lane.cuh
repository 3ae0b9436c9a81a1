// One lane of a call, as a block sees it.
#pragma once

#include "deflect_pairs.cuh"

namespace lenskern::cuda {

// The operands of a lane.
template <class T>
struct Lane {
  const int32_t* profile;
  const T *centre, *amplitude, *scale, *shape;
  const bool* mask;
  const T *tables, *grid;
  const int32_t* order;

  const T *dcentre, *damplitude, *dscale, *dshape, *dgrid;  // of a tangent
  const T* weights;                                         // of a Jacobian or an adjoint

  LENSKERN_NOINLINE __device__ void locate(const Scenes<T>& s, const Tangents<T>& t, const Batched<T>& w,
                                           int64_t lane) {
    const Place place = s.lanes.place(lane);
    profile = s.profile(place), centre = s.centre(place), amplitude = s.amplitude(place), scale = s.scale(place);
    shape = s.shape(place), mask = s.mask(place), tables = s.tables(place), grid = s.grid(place);
    order = s.order(place);
    dcentre = t.centre(place), damplitude = t.amplitude(place), dscale = t.scale(place), dshape = t.shape(place);
    dgrid = t.grid(place), weights = w(place);
  }

  __device__ int64_t ray(int64_t i) const { return order == nullptr ? i : order[i]; }

  // Halo i; false where it is not valid. Only for haloes that are not masked.
  LENSKERN_NOINLINE __device__ bool read(int i, int table_count, Source<T>* to) const {
    const deflect::HaloOf<T> halo{profile[i], centre[2 * i], centre[2 * i + 1], amplitude[i],
                                  scale[i],   shape[2 * i],  shape[2 * i + 1]};
    if (!deflect::is_valid(halo, table_count)) {
      *to = bad_source<T>();
      return false;
    }
    *to = {halo.y, halo.x, halo.amplitude, 1 / (halo.scale * halo.scale), halo.p, halo.q, halo.profile};
    return true;
  }
};

}  // namespace lenskern::cuda
