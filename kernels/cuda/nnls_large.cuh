// One kernel solves all lanes of a batch of large systems: groups of blocks take lanes in turn, and each does with its
// lane what kernels/cpp/nnls_crossover.h does.
#pragma once

#include <math.h>

#include "nnls.h"
#include "nnls_large_active_set.cuh"
#include "nnls_large_interior_point.cuh"

namespace lenskern::cuda {
namespace large {

template <class D>
struct Call {
  Problems<D> problems;
  Solutions<D> out;
  char* scratch;
  int groups;
};

template <class D>
class Crossover {
 public:
  __device__ Crossover(Problem<D>& S, char* vectors, char* tiles, const nnls::Options& options)
      : S_(S), options_(options), vectors_{reinterpret_cast<double*>(vectors), Layout(S.group.n).padded},
        factors_(S, vectors_, tiles), active_(S, factors_, options.tol, vectors_), point_(S, factors_, vectors_) {
    static_assert(Factors<D>::kVectors + ActiveSet<D>::kVectors + InteriorPoint<D>::kVectors + 2 == kVectors);
  }

  // From a problem that is loaded, with float32 factors first and float64 ones where those do not make it.
  __device__ nnls::Status solve(const D* x0) {
    const nnls::Status status = search(x0, options_.max_iter);
    if (status != nnls::kStalled) return status;
    factors_.single = false;
    active_.settled = false;
    return search(x0, options_.max_iter - iterations);
  }

  __device__ const ActiveSet<D>& answer() const { return active_; }
  int iterations = 0;

 private:
  static constexpr int kPatience = 25;  // iterations after which float32 factors will not make it

  __device__ LENSKERN_NOINLINE nnls::Status search(const D* x0, int max_iter) {
    Group& group = S_.group;
    const int n = group.n;
    if (active_.accept_zero()) return nnls::kCertified;
    if (!factors_.semidefinite(nnls::slack<D>(n))) return nnls::kNotPositiveDefinite;
    if (x0 != nullptr && factors_.single) {
      group.each([&](int i) { active_.free[i] = x0[i] > 0; });
      if (active_.finish(nnls::warm_patience(n))) return nnls::kCertified;
    }
    factors_.single ? point_.start() : point_.resume();
    group.each([&](int i) { active_.before[i] = active_.tried[i] = false; });
    bool stalled = false, decided = false;
    double first = 0;
    for (int iteration = 0;; ++iteration, ++iterations) {
      double sums[4];  // changed, untried, undecided, complementarity
      group.reduce(sums, Plus<double>(), [&](int i, double(&parts)[4]) {
        const double x = point_.x[i], z = point_.z[i];
        const bool free = active_.free[i] = x > z;
        parts[0] = free != active_.before[i];
        parts[1] = free != active_.tried[i];
        parts[2] = nnls::undecided(x, z);
        parts[3] = x * z;
        active_.before[i] = free;
      });
      const int changed = static_cast<int>(sums[0]), undecided = static_cast<int>(sums[2]);
      const double mu = sums[3] / n;
      if (iteration == 0) first = mu;
      const bool ready = factors_.single ? nnls::ready<float>(n, changed, undecided, mu, first)
                                         : nnls::ready<double>(n, changed, undecided, mu, first);
      const bool last = stalled || iteration == max_iter;
      // With a better factor now what has failed before.
      const bool again = factors_.single && mu < nnls::kDecided && !decided;
      decided = decided || again;
      const bool fresh = factors_.single || iteration > 0;  // float32 factors ended with a try of what they left
      if ((sums[1] > 0 || again) && (last || (fresh && ready))) {
        group.each([&](int i) { active_.tried[i] = active_.free[i]; });
        if (active_.finish(nnls::patience(n), mu)) return nnls::kCertified;
        if (active_.settled) return nnls::kStalled;
      }
      if (last) break;
      stalled = (factors_.single && iteration == kPatience) || !point_.step(mu);
    }
    if (active_.accept(point_.x, active_.before)) return nnls::kCertified;
    return stalled ? nnls::kStalled : nnls::kMaxIter;
  }

  Problem<D>& S_;
  const nnls::Options options_;
  Vectors vectors_;
  Factors<D> factors_;
  ActiveSet<D> active_;
  InteriorPoint<D> point_;
};

// Lane `lane` of a call by a group of blocks, in the group's scratch memory.
template <class D>
__device__ LENSKERN_NOINLINE void solve_lane(const Call<D>& call, int64_t lane, Group& group, char* memory) {
  const Problems<D>& problems = call.problems;
  const Place place = problems.lanes.place(lane);
  const Layout layout(group.n);
  double* vectors = reinterpret_cast<double*>(memory);
  Problem<D> S{group, *reinterpret_cast<Shared*>(dynamic_shared()), nullptr, vectors, vectors + layout.padded, 1};
  memory += 2 * layout.vector_bytes();
  Crossover<D> crossover(S, memory, memory + (kVectors - 2) * layout.vector_bytes(), problems.options);
  nnls::Status status = S.load(problems.Q(place), problems.q(place));
  if (status == nnls::kCertified) status = crossover.solve(problems.x0(place));

  const ActiveSet<D>& answer = crossover.answer();
  const bool answered = status == nnls::kCertified || status == nnls::kMaxIter || status == nnls::kStalled;
  D *x = call.out.x + lane * group.n, *z = call.out.z + lane * group.n;
  double overflows[1];
  group.reduce(overflows, Largest(), [&](int i, double(&parts)[1]) {
    const double y = answer.y[i], w = y > 0 || answer.w[i] < 0 ? 0 : answer.w[i];
    x[i] = static_cast<D>(answered ? y * S.x_unit(i) : NAN);
    z[i] = static_cast<D>(answered ? w * S.z_unit(i) : NAN);
    parts[0] = answered && !(isfinite(x[i]) && isfinite(z[i]));
  });
  if (overflows[0] > 0) {  // in the units of the data
    status = nnls::kNotFinite;
    group.each([&](int i) { x[i] = z[i] = static_cast<D>(NAN); });
  }
  if (group.block == 0 && threadIdx.x == 0) {
    call.out.status[lane] = status;
    call.out.iterations[lane] = crossover.iterations;
    call.out.passes[lane] = answer.passes;
    call.out.residual[lane] = static_cast<D>(answered && !(overflows[0] > 0) ? answer.residual : NAN);
  }
}

// Words of all groups first, which are zero; then the memory of each.
template <class D>
__global__ void __launch_bounds__(kThreads, kBlocks) solve_lanes(const __grid_constant__ Call<D> call) {
  const int n = call.problems.n, blocks = gridDim.x / call.groups, index = blockIdx.x / blocks;
  const Layout layout(n);
  char* memory = call.scratch + call.groups * layout.word_bytes() + index * (layout.group_bytes() - layout.word_bytes());
  Group group{n,
              static_cast<int>(layout.chunks),
              static_cast<int>(blockIdx.x % blocks),
              blocks,
              0,
              0,
              reinterpret_cast<unsigned*>(call.scratch + index * layout.word_bytes()),
              memory,
              layout.box_bytes()};
  for (int64_t lane = index; lane < call.problems.lanes.count; lane += call.groups) {
    solve_lane(call, lane, group, memory + 2 * layout.box_bytes());
  }
}

}  // namespace large

template <class D>
cudaError_t nnls_large(cudaStream_t stream, const Problems<D>& problems, const Solutions<D>& out, char* scratch) {
  // As many blocks as the device runs at once, for they wait for one another; a cooperative launch makes sure of it
  // whatever else runs.
  int device = 0, processors = 0, blocks = 0;
  void (*kernel)(large::Call<D>) = large::solve_lanes<D>;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (error == cudaSuccess) {
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kThreads, sizeof(large::Shared));
  }
  if (error != cudaSuccess) return error;
  const int64_t resident = int64_t{processors} * blocks;
  if (resident == 0) return cudaErrorInvalidValue;
  const large::Layout layout(problems.n);
  const auto least = [](int64_t a, int64_t b) { return a < b ? a : b; };
  const int64_t groups = least(least(problems.lanes.count, large::kMostGroups), resident);
  const int64_t each = least(resident / groups, layout.chunks);

  error = cudaMemsetAsync(scratch, 0, groups * layout.word_bytes(), stream);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute cooperative{};
  cooperative.id = cudaLaunchAttributeCooperative;
  cooperative.val.cooperative = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(groups * each));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = sizeof(large::Shared);
  config.stream = stream;
  config.attrs = &cooperative;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, large::Call<D>{problems, out, scratch, static_cast<int>(groups)});
}

}  // namespace lenskern::cuda
