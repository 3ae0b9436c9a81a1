// lenskern._kernels._cuda: the handlers as capsules, and what they were built with. Nothing is registered here, and no
// device is touched: the CUDA runtime is linked in and opens the driver when a kernel first runs.
#include <cuda_runtime.h>
#include <pybind11/pybind11.h>

#include "deflect.h"
#include "handlers.h"
#include "macro.h"
#include "nnls.h"

namespace py = pybind11;

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "Compiled CUDA kernels of lenskern: XLA FFI handlers and how they were built.";
  m.attr("ffi_version") = py::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
  m.attr("cuda_version") = py::make_tuple(CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
  m.attr("architectures") = LENSKERN_CUDA_ARCHITECTURES;
  m.def(
      "driver_version",
      []() -> py::object {
        int version = 0;
        if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) return py::none();
        return py::make_tuple(version / 1000, version % 1000 / 10);
      },
      "Newest CUDA version that the installed driver supports, None without a driver.");
  m.def("adjoint_scratch", lenskern::cuda::adjoint_scratch, py::arg("n"), py::arg("N"),
        "Numbers of scratch memory that the adjoint of one lane takes, for n rays and N haloes.");
  m.def("power_law_scratch", lenskern::cuda::power_law_scratch, py::arg("lanes"), py::arg("n"),
        "Bytes of scratch memory that the adjoint of power laws takes, for n rays in each lane.");
  m.attr("nnls_most_unknowns") = lenskern::cuda::kMostUnknowns;
  m.def(
      "nnls_shared",
      [](int n) { return n <= lenskern::cuda::kMostSmall ? lenskern::cuda::nnls_small_shared(n) : 0; }, py::arg("n"),
      "Bytes of shared memory that a block needs for n unknowns, where that is more than every GPU has.");
  m.def("nnls_scratch", lenskern::cuda::nnls_scratch, py::arg("lanes"), py::arg("n"),
        "Bytes of scratch memory that an inversion of all lanes takes, for n unknowns.");
  m.def(
      "targets",
      [] {
        py::dict targets;
#define LENSKERN_ADD_TARGET(target, symbol) targets[target] = py::capsule(reinterpret_cast<void*>(symbol));
        LENSKERN_FOR_EACH_CUDA_HANDLER(LENSKERN_ADD_TARGET)
#undef LENSKERN_ADD_TARGET
        return targets;
      },
      "FFI target name -> capsule of its handler.");
}
