// The kernel for large inversions for ThreadSanitizer: blocks are threads, and it takes the emulated threads of a block
// for threads too. One iteration has all that a solve does, and float64 factors follow.
#define LENSKERN_BLOCKS_ARE_THREADS
#include "cuda_runtime.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "nnls_large.cuh"

namespace {

using namespace lenskern::cuda;

constexpr int kSize = 130, kLanes = 2;  // two tiles, and what is left

struct Systems {
  std::vector<double> Q = std::vector<double>(kLanes * kSize * kSize), q = std::vector<double>(kLanes * kSize);

  Systems() {
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    std::vector<double> A(kSize * kSize);
    for (int lane = 0; lane < kLanes; ++lane) {
      for (double& a : A) a = normal(random);
      for (int i = 0; i < kSize; ++i) {
        for (int j = 0; j < kSize; ++j) {
          double sum = i == j ? 1 : 0;
          for (int k = 0; k < kSize; ++k) sum += A[i * kSize + k] * A[j * kSize + k];
          Q[(lane * kSize + i) * kSize + j] = sum;
        }
        q[lane * kSize + i] = normal(random);
      }
    }
  }
};

struct Results {
  std::vector<double> x = std::vector<double>(kLanes * kSize), z = x;
  std::vector<int32_t> status = std::vector<int32_t>(kLanes), iterations = status, passes = status;
  std::vector<double> residual = std::vector<double>(kLanes);
};

Lanes lanes_of(int count) { return {count, 1, {count, 1, 1, 1, 1, 1}}; }

Results solve(const Systems& systems, int blocks) {
  Results results;
  const Problems<double> problems{lanes_of(kLanes),
                                  kSize,
                                  {1e-12, 1},
                                  {systems.Q.data(), {kSize * kSize}},
                                  {systems.q.data(), {kSize}},
                                  {nullptr, {}}};
  const Solutions<double> out{results.x.data(),          results.z.data(),      results.status.data(),
                              results.iterations.data(), results.passes.data(), results.residual.data()};
  std::vector<char> scratch(nnls_scratch(1, kSize), char(0));
  const large::Call<double> call{problems, out, scratch.data(), 1};
  gridDim.x = blocks;
  emulation::run_at_once(blocks, kThreads, sizeof(large::Shared), [&] { large::solve_lanes<double>(call); });
  return results;
}

// Float64 factors and substitution, which a solve falls back on: (S + I)^-1 v on every other entry, and then on all.
void solve_exactly(const double* Q, const double* q, char* scratch, int blocks, double* out) {
  const large::Layout layout(kSize);
  large::Group group{kSize,
                     static_cast<int>(layout.chunks),
                     static_cast<int>(blockIdx.x),
                     blocks,
                     0,
                     0,
                     reinterpret_cast<unsigned*>(scratch),
                     scratch + layout.word_bytes(),
                     layout.box_bytes()};
  double* memory = reinterpret_cast<double*>(scratch + layout.word_bytes() + 2 * layout.box_bytes());
  large::Vectors vectors{memory, layout.padded};
  double *scale = vectors.take(), *h = vectors.take(), *v = vectors.take();
  large::Problem<double> S{group, *reinterpret_cast<large::Shared*>(dynamic_shared()), nullptr, scale, h, 1};
  large::Factors<double> factors(S, vectors, reinterpret_cast<char*>(memory + large::kVectors * layout.padded));
  factors.single = false;
  bool* free = reinterpret_cast<bool*>(vectors.take());
  if (S.load(Q, q) != lenskern::nnls::kCertified) return;
  group.each([&](int i) { free[i] = i % 2 == 0, v[i] = 1, out[i] = 0; });
  if (!factors.set(free, 0, false)) return;
  factors.solve(S.h, out);
  group.each([&](int i) { h[i] += out[i]; });
  if (factors.set_all(v)) factors.solve(S.h, out);
}

bool solve_exactly(const Systems& systems, int blocks) {
  std::vector<double> out(kSize);
  std::vector<char> scratch(nnls_scratch(1, kSize), char(0));
  const auto body = [&] {
    solve_exactly(systems.Q.data(), systems.q.data(), scratch.data(), blocks, out.data());
  };
  emulation::run_at_once(blocks, kThreads, sizeof(large::Shared), body);
  return std::all_of(out.begin(), out.end(), [](double y) { return std::isfinite(y) && y != 0; });
}

}  // namespace

int main() {
  const Systems systems;
  const Results found = solve(systems, 2);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (found.status[lane] != lenskern::nnls::kMaxIter || found.iterations[lane] != 1 || found.passes[lane] == 0) {
      return std::printf("status %d after %d iterations\n", found.status[lane], found.iterations[lane]), 1;
    }
  }
  return solve_exactly(systems, 2) ? 0 : 1;
}
