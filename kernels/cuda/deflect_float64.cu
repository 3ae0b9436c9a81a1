#include "deflect_launch.cuh"

namespace lenskern::cuda {

template cudaError_t launch_fields(cudaStream_t, const Scenes<double>&, int, double*);
template cudaError_t launch_tangent(cudaStream_t, const Scenes<double>&, const Tangents<double>&, double*);
template cudaError_t launch_adjoint(cudaStream_t, const Scenes<double>&, const Batched<double>&, double*,
                                    const Cotangents<double>&);

}  // namespace lenskern::cuda
