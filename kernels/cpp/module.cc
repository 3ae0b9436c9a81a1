// lenskern._kernels._cpp: the handlers as capsules, and what they were built with. Nothing is registered here.
#include <functional>
#include <thread>
#include <vector>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "handlers.h"
#include "isa.h"
#include "lenskern/profiles.h"
#include "nnls_isa.h"

namespace py = pybind11;

#if defined(__clang__)
#define LENSKERN_COMPILER "clang " __clang_version__
#else
#define LENSKERN_COMPILER "gcc " __VERSION__
#endif

namespace {

template <class T>
using ArrayOf = py::array_t<T, py::array::c_style>;
using Array = ArrayOf<double>;

// The factor, and the seconds that the factorisation alone took.
template <class T>
py::tuple cholesky(const ArrayOf<T>& A, int threads) {
  if (A.ndim() != 2 || A.shape(0) != A.shape(1)) throw py::value_error("cholesky: expected A of shape (K, K)");
  const int n = static_cast<int>(A.shape(0));
  ArrayOf<T> L({n, n});
  bool positive = false;
  double seconds = 0;
  std::vector<std::thread> helpers;
  lenskern::Crew::run(
      1, threads, [&](std::function<void()> task) { helpers.emplace_back(std::move(task)); },
      [&](int64_t, lenskern::Crew::Worker& worker) {
        positive = lenskern::nnls_kernels<T>().cholesky(n, A.data(), L.mutable_data(), &seconds, worker);
      });
  for (std::thread& helper : helpers) helper.join();
  if (!positive) throw py::value_error("cholesky: A is not positive definite");
  return py::make_tuple(L, seconds);
}

// Solves one problem on the calling thread and returns what the solver counted on the way.
py::dict nnls_flops(const Array& Q, const Array& q, double tol, int max_iter) {
  if (q.ndim() != 1 || Q.ndim() != 2 || Q.shape(0) != q.shape(0) || Q.shape(1) != q.shape(0)) {
    throw py::value_error("nnls_flops: expected Q of shape (K, K) and q of shape (K,), both float64");
  }
  const int n = static_cast<int>(q.shape(0));
  Array x(n), z(n);
  const lenskern::nnls::Lane<double> lane{n, Q.data(), q.data(), nullptr, x.mutable_data(), z.mutable_data(), nullptr};
  const auto kernel = lenskern::nnls_kernels<double>();
  lenskern::nnls::Outcome outcome;
  lenskern::Crew::run(1, 1, nullptr, [&](int64_t, lenskern::Crew::Worker& worker) {
    outcome = kernel.solve(lane, {tol, max_iter}, worker.scratch(kernel.make_scratch, kernel.free_scratch), worker);
  });
  py::dict counts;
  counts["single_flops"] = outcome.single_flops;
  counts["double_flops"] = outcome.double_flops;
  counts["iterations"] = outcome.iterations;
  counts["passes"] = outcome.passes;
  return counts;
}

// The mathematics of one halo profile as the kernels have it: g, k, w, dg/dp and dg/dq.
template <class T>
py::tuple profile(int code, const ArrayOf<T>& u, const ArrayOf<T>& p, const ArrayOf<T>& q) {
  if (u.ndim() != 1 || p.ndim() != 1 || q.ndim() != 1 || p.size() != u.size() || q.size() != u.size()) {
    throw py::value_error("profile: expected u, p and q of one shape (n,)");
  }
  using D = lenskern::Dual<T>;
  ArrayOf<T> out[5];
  for (ArrayOf<T>& values : out) values = ArrayOf<T>(u.size());
  for (py::ssize_t i = 0; i < u.size(); ++i) {
    const T at = u.data()[i], first = p.data()[i], second = q.data()[i];
    out[0].mutable_data()[i] = lenskern::deflect::mean_convergence<T>(code, at, first, second);
    out[1].mutable_data()[i] = lenskern::deflect::convergence<T>(code, at, first, second);
    out[2].mutable_data()[i] = lenskern::deflect::potential<T>(code, at, first, second);
    out[3].mutable_data()[i] = lenskern::deflect::mean_convergence<D>(code, at, D(first, 1), second).d;
    out[4].mutable_data()[i] = lenskern::deflect::mean_convergence<D>(code, at, first, D(second, 1)).d;
  }
  return py::make_tuple(out[0], out[1], out[2], out[3], out[4]);
}

}  // namespace

PYBIND11_MODULE(_cpp, m) {
  m.doc() = "Compiled CPU kernels of lenskern: XLA FFI handlers and how they were built.";
  m.attr("ffi_version") = py::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
  m.attr("compiler") = LENSKERN_COMPILER;
  m.def("isa", [] { return lenskern::IsaName(lenskern::ActiveIsa()); },
        "Name of the instruction set in use: baseline, avx2 or avx512.");
  m.def("nnls_flops", nnls_flops, py::arg("Q"), py::arg("q"), py::arg("tol") = 1e-12, py::arg("max_iter") = 50,
        "Floating-point operations of one float64 solve, in single and in double precision.");
  m.def("cholesky", cholesky<double>, py::arg("A").noconvert(), py::arg("threads") = 1,
        "Lower Cholesky factor of a float32 or float64 matrix by the solver's own factorisation, and its seconds.");
  m.def("cholesky", cholesky<float>, py::arg("A").noconvert(), py::arg("threads") = 1);
  m.def("profile", profile<double>, py::arg("code"), py::arg("u").noconvert(), py::arg("p").noconvert(),
        py::arg("q").noconvert(),
        "g, k, w, dg/dp and dg/dq of a halo profile, as lenskern.deflect.profiles defines them.");
  m.def("profile", profile<float>, py::arg("code"), py::arg("u").noconvert(), py::arg("p").noconvert(),
        py::arg("q").noconvert());
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
