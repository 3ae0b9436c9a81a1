#include "nnls_isa.h"

#include <time.h>

#include <new>

#include "nnls_crossover.h"

namespace lenskern::LENSKERN_ISA {
namespace {

// Below this size float64 factors cost less than the iterations that float32 factors add.
constexpr int kFloat64Below = 128;

struct Scratch {
  Workspace workspace;
  Factors<float> single_precision;
  Factors<double> double_precision;
  Buffer point;
};

template <class D>
nnls::Outcome solve(const nnls::Lane<D>& lane, const nnls::Options& options, void* memory, Crew::Worker& worker) {
  Scratch& scratch = *static_cast<Scratch*>(memory);
  nnls::Outcome before;
  double* point = nullptr;
  if (lane.n > kFloat64Below) {
    point = scratch.point.reserve<double>(2 * lane.n);
    if (point == nullptr) {
      before.status = nnls::kOutOfMemory;
      return before;
    }
    before = Crossover<D, float>(options, scratch.workspace, scratch.single_precision, worker, point).solve(lane);
    if (before.status != nnls::kStalled) return before;
  }
  const nnls::Options left{options.tol, options.max_iter - before.iterations};
  nnls::Outcome outcome =
      Crossover<D, double>(left, scratch.workspace, scratch.double_precision, worker, point).solve(lane);
  outcome.iterations += before.iterations;
  outcome.passes += before.passes;
  outcome.single_flops += before.single_flops;
  outcome.double_flops += before.double_flops;
  return outcome;
}

template <class D>
nnls::Status solve_on_free(const nnls::FreeLane<D>& lane, void* memory, Crew::Worker& worker) {
  Scratch& scratch = *static_cast<Scratch*>(memory);
  if (lane.n <= kFloat64Below) return free_solve(lane, scratch.workspace, scratch.double_precision, worker);
  return free_solve(lane, scratch.workspace, scratch.single_precision, worker);
}

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

template <class T>
bool cholesky(int n, const T* A, T* L, double* seconds, Crew::Worker& worker) {
  constexpr int R = Panels<T>::rows;
  const int count = Panels<T>::count(n);
  Buffer panels, vectors, starts;
  T* packed = panels.reserve<T>(Panels<T>::size(n));
  T* inverse = vectors.reserve<T>(2 * Panels<T>::padded(n));
  int* start = starts.reserve<int>(count);
  if (packed == nullptr || inverse == nullptr || start == nullptr) return false;
  T* shift = inverse + Panels<T>::padded(n);
  for (int i = 0; i < Panels<T>::padded(n); ++i) shift[i] = 0;
  worker.parallel_for(count, [&](int p) {
    start[p] = 0;
    for (int k = 0; k < (p + 1) * R; ++k) {
      T* out = packed + Panels<T>::offset(p) + k * R;
      for (int r = 0; r < R; ++r) {
        const int i = p * R + r;
        out[r] = i < n && k < n ? A[int64_t{k} * n + i] : T(i == k);
      }
    }
  });
  const double begin = now();
  const bool positive = Cholesky<T>::factor(n, start, packed, shift, packed, inverse, worker);
  *seconds = now() - begin;
  if (!positive) return false;
  worker.parallel_for(n, [&](int i) {
    const T* row = packed + Panels<T>::offset(i / R) + i % R;
    for (int k = 0; k < n; ++k) L[int64_t{i} * n + k] = k <= i ? row[k * R] : T(0);
  });
  return true;
}

}  // namespace

template <class D>
NnlsKernels<D> nnls_kernels() {
  return {solve<D>, solve_on_free<D>, cholesky<D>, [] { return static_cast<void*>(new (std::nothrow) Scratch); },
          [](void* scratch) { delete static_cast<Scratch*>(scratch); }};
}
template NnlsKernels<float> nnls_kernels<float>();
template NnlsKernels<double> nnls_kernels<double>();

}  // namespace lenskern::LENSKERN_ISA
