// What the handlers of all operations share.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "batch.h"
#include "xla/ffi/api/ffi.h"

#ifndef LENSKERN_STREAM
#define LENSKERN_STREAM xla::ffi::PlatformStream<cudaStream_t>
#endif

namespace lenskern::cuda {

inline xla::ffi::Error error_of(const char* operation, cudaError_t error) {
  if (error == cudaSuccess) return xla::ffi::Error::Success();
  return xla::ffi::Error(xla::ffi::ErrorCode::kInternal,
                         std::string("lenskern.") + operation + ": " + cudaGetErrorString(error));
}

// Calls run(T{}) with the type of an operand, once the batch axes are merged.
template <class Run>
xla::ffi::Error with_dtype(const char* operation, xla::ffi::AnyBuffer operand, const char* name, Batch& batch,
                           Lanes* lanes, const Run& run) {
  const std::string prefix = std::string("lenskern.") + operation + ": ";
  if (!batch.merge(lanes)) {
    return xla::ffi::Error(xla::ffi::ErrorCode::kUnimplemented,
                           prefix + "backend 'cuda' takes up to 6 nested vmaps that share different arguments; nest "
                                    "fewer of them, or use backend='reference'");
  }
  switch (operand.element_type()) {
    case xla::ffi::F64:
      return error_of(operation, run(double{}));
    case xla::ffi::F32:
      return error_of(operation, run(float{}));
    default:
      return xla::ffi::Error(xla::ffi::ErrorCode::kInvalidArgument,
                             prefix + name + " must be float32 or float64");
  }
}

}  // namespace lenskern::cuda
