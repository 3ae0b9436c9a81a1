// lenskern._kernels._cpp: the handlers as capsules, and what they were built with. Nothing is registered here.
#include <pybind11/pybind11.h>

#include "handlers.h"
#include "isa.h"

namespace py = pybind11;

#if defined(__clang__)
#define LENSKERN_COMPILER "clang " __clang_version__
#else
#define LENSKERN_COMPILER "gcc " __VERSION__
#endif

PYBIND11_MODULE(_cpp, m) {
  m.doc() = "Compiled CPU kernels of lenskern: XLA FFI handlers and how they were built.";
  m.attr("ffi_version") = py::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
  m.attr("compiler") = LENSKERN_COMPILER;
  m.def("isa", [] { return lenskern::IsaName(lenskern::ActiveIsa()); },
        "Name of the instruction set in use: baseline, avx2 or avx512.");
  m.def(
      "targets",
      [] {
        py::dict targets;
#define LENSKERN_ADD_TARGET(target, symbol) targets[target] = py::capsule(reinterpret_cast<void*>(symbol));
        LENSKERN_FOR_EACH_HANDLER(LENSKERN_ADD_TARGET)
#undef LENSKERN_ADD_TARGET
        return targets;
      },
      "FFI target name -> capsule of its handler.");
}
