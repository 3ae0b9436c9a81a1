// The XLA FFI handlers of the CPU kernels and the target names that Python registers them under.
#pragma once

#include "xla/ffi/api/c_api.h"

// LENSKERN_HANDLER(target name, handler symbol): one line per handler, defined in the ffi_*.cc files with
// XLA_FFI_DEFINE_HANDLER_SYMBOL.
#define LENSKERN_FOR_EACH_HANDLER(LENSKERN_HANDLER)          \
  LENSKERN_HANDLER("lenskern_nnls_solve", LenskernNnlsSolve) \
  LENSKERN_HANDLER("lenskern_nnls_free_solve", LenskernNnlsFreeSolve) \
  LENSKERN_HANDLER("lenskern_deflect_fields", LenskernDeflectFields) \
  LENSKERN_HANDLER("lenskern_deflect_tangent", LenskernDeflectTangent) \
  LENSKERN_HANDLER("lenskern_deflect_adjoint", LenskernDeflectAdjoint) \
  LENSKERN_HANDLER("lenskern_macro_deflection", LenskernMacroDeflection) \
  LENSKERN_HANDLER("lenskern_macro_tangent", LenskernMacroTangent) \
  LENSKERN_HANDLER("lenskern_macro_adjoint", LenskernMacroAdjoint) \
  LENSKERN_HANDLER("lenskern_convolve_direct", LenskernConvolveDirect) \
  LENSKERN_HANDLER("lenskern_convolve_separable", LenskernConvolveSeparable) \
  LENSKERN_HANDLER("lenskern_convolve_columns", LenskernConvolveColumns) \
  LENSKERN_HANDLER("lenskern_convolve_scatter", LenskernConvolveScatter) \
  LENSKERN_HANDLER("lenskern_convolve_gather", LenskernConvolveGather) \
  LENSKERN_HANDLER("lenskern_nnls_normal_matrix", LenskernNnlsNormalMatrix) \
  LENSKERN_HANDLER("lenskern_nnls_log_determinant", LenskernNnlsLogDeterminant) \
  LENSKERN_HANDLER("lenskern_poisson", LenskernPoisson)

#define LENSKERN_DECLARE_HANDLER(target, symbol) extern "C" XLA_FFI_Error* symbol(XLA_FFI_CallFrame* call_frame);
LENSKERN_FOR_EACH_HANDLER(LENSKERN_DECLARE_HANDLER)
#undef LENSKERN_DECLARE_HANDLER
