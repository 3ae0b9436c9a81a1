// The XLA FFI handlers of the CUDA kernels and the target names that Python registers them under.
#pragma once

#include "xla/ffi/api/c_api.h"

#define LENSKERN_FOR_EACH_CUDA_HANDLER(LENSKERN_HANDLER)                          \
  LENSKERN_HANDLER("lenskern_deflect_fields_cuda", LenskernDeflectFieldsCuda)     \
  LENSKERN_HANDLER("lenskern_deflect_tangent_cuda", LenskernDeflectTangentCuda)   \
  LENSKERN_HANDLER("lenskern_deflect_adjoint_cuda", LenskernDeflectAdjointCuda)   \
  LENSKERN_HANDLER("lenskern_macro_deflection_cuda", LenskernMacroDeflectionCuda) \
  LENSKERN_HANDLER("lenskern_macro_tangent_cuda", LenskernMacroTangentCuda)       \
  LENSKERN_HANDLER("lenskern_macro_adjoint_cuda", LenskernMacroAdjointCuda)       \
  LENSKERN_HANDLER("lenskern_poisson_cuda", LenskernPoissonCuda)                  \
  LENSKERN_HANDLER("lenskern_nnls_solve_cuda", LenskernNnlsSolveCuda)

#define LENSKERN_DECLARE_HANDLER(target, symbol) extern "C" XLA_FFI_Error* symbol(XLA_FFI_CallFrame* call_frame);
LENSKERN_FOR_EACH_CUDA_HANDLER(LENSKERN_DECLARE_HANDLER)
#undef LENSKERN_DECLARE_HANDLER
