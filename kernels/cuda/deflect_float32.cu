#include "deflect_launch.cuh"

namespace lenskern::cuda {

template cudaError_t launch_fields(cudaStream_t, const Scenes<float>&, int, float*);
template cudaError_t launch_tangent(cudaStream_t, const Scenes<float>&, const Tangents<float>&, float*);
template cudaError_t launch_adjoint(cudaStream_t, const Scenes<float>&, const Batched<float>&, float*,
                                    const Cotangents<float>&);

}  // namespace lenskern::cuda
