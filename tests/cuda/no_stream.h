// Handlers take their stream from here, not from XLA, which has none on the CPU.
#pragma once

#include "cuda_runtime.h"
#include "xla/ffi/api/ffi.h"

struct NoStream {};

template <>
struct xla::ffi::CtxDecoding<NoStream> {
  using Type = cudaStream_t;
  static std::optional<Type> Decode(const XLA_FFI_Api*, XLA_FFI_ExecutionContext*, DiagnosticEngine&) {
    return nullptr;
  }
};

#define LENSKERN_STREAM NoStream
