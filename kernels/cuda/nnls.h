// Positive-only inversions: what the handler hands to the kernels. Pointers are to device memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "lanes.h"
#include "lenskern/nnls.h"
#include "nnls_large.h"

namespace lenskern::cuda {

// Up to so many unknowns one block of threads solves a lane in its shared memory; and the most that any kernel takes.
constexpr int kMostSmall = 128, kMostUnknowns = large::kMostEntries;

// The problems of all lanes; x0.data is null where there is no starting point.
template <class D>
struct Problems {
  Lanes lanes;
  int n;
  nnls::Options options;
  Batched<D> Q, q, x0;
};

// Their results, lane after lane: x and z (lanes, n), the others (lanes).
template <class D>
struct Solutions {
  D *x, *z;
  int32_t *status, *iterations, *passes;
  D* residual;
};

// n <= kMostSmall, for which a block takes nnls_small_shared bytes of shared memory; and how many it can have.
int nnls_small_shared(int n);
cudaError_t nnls_shared_room(int* bytes);
template <class D>
cudaError_t nnls_small(cudaStream_t stream, const Problems<D>& problems, const Solutions<D>& out);

// kMostSmall < n <= kMostUnknowns. `scratch` has nnls_scratch bytes, is aligned to 256 of them and holds anything.
template <class D>
cudaError_t nnls_large(cudaStream_t stream, const Problems<D>& problems, const Solutions<D>& out, char* scratch);

// Bytes of scratch memory that a call takes.
inline int64_t nnls_scratch(int64_t lanes, int64_t n) {
  return n <= kMostSmall ? 0 : large::scratch(lanes, n);
}

}  // namespace lenskern::cuda
