// The default solver of one lane: an interior point that only has to find the active set, then an exact solve on it.
#pragma once

#include <limits>

#include "nnls_active_set.h"
#include "nnls_interior_point.h"

namespace lenskern::LENSKERN_ISA {

template <class D, class T>
class Crossover {
 public:
  // Float32 factors leave the 2n numbers of their interior point at `point` where they do not make it; float64 ones go
  // on from there unless it is null.
  Crossover(const nnls::Options& options, Workspace& workspace, Factors<T>& factors, Crew::Worker& worker,
            double* point)
      : options_(options), workspace_(workspace), factors_(factors), worker_(worker), point_(point) {}

  nnls::Outcome solve(const nnls::Lane<D>& lane) {
    constexpr int vectors = Problem<D>::kVectors + ActiveSet<D, T>::kVectors + InteriorPoint<D, T>::kVectors + 2;
    nnls::Outcome outcome;
    if (!workspace_.start(vectors, lane.n)) {
      outcome.status = nnls::kOutOfMemory;
      return outcome;
    }
    Problem<D> problem(worker_);
    outcome.status = problem.load(lane.Q, lane.q, lane.n, factors_.pattern, workspace_);
    ActiveSet<D, T> active(problem, factors_, options_.tol, workspace_);
    if (outcome.status == nnls::kCertified) outcome.status = search(problem, lane.x0, active, outcome.iterations);
    if (lane.factor != nullptr) active.keep(outcome.status == nnls::kCertified && active.passes > 0, lane.factor);
    outcome.passes = active.passes;
    outcome.residual = active.residual;
    (sizeof(T) == 4 ? outcome.single_flops : outcome.double_flops) = factors_.fast.take_flops();
    outcome.double_flops += factors_.exact.take_flops() + problem.flops();
    bool finite = true;
    for (int i = 0; i < lane.n; ++i) {
      const double y = active.y[i], w = y > 0 || active.w[i] < 0 ? 0 : active.w[i];
      lane.x[i] = static_cast<D>(y * problem.x_unit(i));
      lane.z[i] = static_cast<D>(w * problem.z_unit(i));
      finite &= std::isfinite(lane.x[i]) && std::isfinite(lane.z[i]);
    }
    const bool answered = outcome.status == nnls::kCertified || outcome.status == nnls::kMaxIter ||
                          outcome.status == nnls::kStalled;
    if (answered && finite) return outcome;
    if (answered) outcome.status = nnls::kNotFinite;  // overflow in the units of the data
    outcome.residual = std::numeric_limits<double>::quiet_NaN();
    for (int i = 0; i < lane.n; ++i) lane.x[i] = lane.z[i] = std::numeric_limits<D>::quiet_NaN();
    return outcome;
  }

 private:
  static constexpr int kPatience = sizeof(T) == 4 ? 25 : 1 << 30;  // iterations after which float32 will not make it

  nnls::Status search(Problem<D>& problem, const D* x0, ActiveSet<D, T>& active, int32_t& iterations) {
    const int n = problem.size();
    if (active.accept_zero()) return nnls::kCertified;
    problem.arrange(factors_.pattern, workspace_);
    if (!factors_.fast.load(problem)) return nnls::kOutOfMemory;
    if (!factors_.fast.semidefinite(nnls::slack<D>(n), worker_)) return nnls::kNotPositiveDefinite;
    const bool resumed = sizeof(T) == 8 && point_ != nullptr;
    if (x0 != nullptr && !resumed) {
      for (int i = 0; i < n; ++i) active.free[i] = x0[i] > 0;
      if (active.finish(nnls::warm_patience(n), worker_)) return nnls::kCertified;
    }
    InteriorPoint<D, T> point(problem, factors_.fast, workspace_);
    if (resumed) {
      point.start(point_, point_ + n);
    } else {
      point.start();
    }
    const double first = dot(point.x, point.z, n) / n;
    bool* before = workspace_.template take<bool>(n);
    bool* tried = workspace_.template take<bool>(n);
    for (int i = 0; i < n; ++i) before[i] = tried[i] = false;
    bool stalled = false, decided = false;
    for (iterations = 0;; ++iterations) {
      int changed = 0, untried = 0, undecided = 0;
      for (int i = 0; i < n; ++i) {
        const double x = point.x[i], z = point.z[i];
        active.free[i] = x > z;
        changed += active.free[i] != before[i];
        untried += active.free[i] != tried[i];
        undecided += nnls::undecided(x, z);
        before[i] = active.free[i];
      }
      const bool last = stalled || iterations == options_.max_iter;
      const bool fresh = !resumed || iterations > 0;  // float32 factors ended with a try of what they left
      const double mu = dot(point.x, point.z, n) / n;
      if (sizeof(T) == 4 && mu < nnls::kDecided && !decided) {
        decided = true, untried = n;  // with a better factor now what has failed before
      }
      if (untried > 0 && (last || (fresh && nnls::ready<T>(n, changed, undecided, mu, first)))) {
        for (int i = 0; i < n; ++i) tried[i] = active.free[i];
        if (active.finish(nnls::patience(n), worker_, mu)) return nnls::kCertified;
        if (active.settled) return leave(point, n);
      }
      if (last) break;
      stalled = iterations == kPatience || !point.step(mu, worker_);
    }
    if (active.accept(point.x, before)) return nnls::kCertified;
    return stalled ? leave(point, n) : nnls::kMaxIter;
  }

  nnls::Status leave(const InteriorPoint<D, T>& point, int n) {
    if (sizeof(T) == 4) {
      for (int i = 0; i < n; ++i) point_[i] = point.x[i], point_[n + i] = point.z[i];
    }
    return nnls::kStalled;
  }

  const nnls::Options options_;
  Workspace& workspace_;
  Factors<T>& factors_;
  Crew::Worker& worker_;
  double* const point_;
};

// y = Q[F,F]^-1 b on F, zero elsewhere: the linear map of every derivative of the solution.
template <class D, class T>
nnls::Status free_solve(const nnls::FreeLane<D>& lane, Workspace& workspace, Factors<T>& factors,
                        Crew::Worker& worker) {
  constexpr int vectors = Problem<D>::kVectors + ActiveSet<D, T>::kVectors;
  const auto solve = [&](Problem<D>& problem, bool kept) {
    ActiveSet<D, T> active(problem, factors, 0, workspace);
    for (int i = 0; i < lane.n; ++i) active.free[i] = lane.free[i];
    const bool solved = kept ? active.solve_kept(problem.h(), lane.factor) : active.solve(problem.h(), worker);
    for (int i = 0; i < lane.n; ++i) lane.y[i] = static_cast<D>(lane.free[i] ? active.y[i] * problem.x_unit(i) : 0);
    return solved;
  };
  if (lane.factor != nullptr) {
    Problem<D> problem(worker);
    if (!workspace.start(vectors, lane.n)) return nnls::kOutOfMemory;
    const nnls::Status status = problem.load_trusted(lane.Q, lane.b, lane.n, workspace);
    if (status == nnls::kCertified && solve(problem, true)) return status;
  }
  Problem<D> problem(worker);
  if (!workspace.start(vectors, lane.n)) return nnls::kOutOfMemory;
  const nnls::Status status = problem.load(lane.Q, lane.b, lane.n, factors.pattern, workspace);
  if (status != nnls::kCertified) {
    for (int i = 0; i < lane.n; ++i) lane.y[i] = std::numeric_limits<D>::quiet_NaN();
    return status;
  }
  problem.arrange(factors.pattern, workspace);
  if (!factors.fast.load(problem)) return nnls::kOutOfMemory;
  return solve(problem, false) ? nnls::kCertified : nnls::kStalled;
}

}  // namespace lenskern::LENSKERN_ISA
