// Inversions for ThreadSanitizer, which takes each emulated thread for a thread of its own.
#include "nnls_small.cu"

namespace {

// Overlapping bumps fitted to data of which half want a negative one; false where that is not certified. With twins
// every bump is there twice, so that factors break down.
bool solve(int n, bool warm, bool twins) {
  std::vector<double> A(2 * n * n), Q(n * n), q(n), x0(n), x(n), z(n);
  for (int row = 0; row < 2 * n; ++row) {
    for (int i = 0; i < n; ++i) {
      const double distance = row - 2.0 * (twins ? i - i % 2 : i);
      A[row * n + i] = std::exp(-0.3 * distance * distance);
    }
  }
  for (int row = 0; row < 2 * n; ++row) {
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) Q[i * n + j] += A[row * n + i] * A[row * n + j];
      q[i] += A[row * n + i] * (0.3 + std::sin(1.7 * row));
    }
  }
  for (int i = 0; i < n; ++i) x0[i] = i % 3;
  int32_t status = -1, iterations, passes;
  double residual;
  lenskern::cuda::Problems<double> problems{};
  problems.lanes.count = problems.lanes.axes = problems.lanes.sizes[0] = 1;
  problems.n = n, problems.options = {1e-12, 50};
  problems.Q.data = Q.data(), problems.q.data = q.data(), problems.x0.data = warm ? x0.data() : nullptr;
  const lenskern::cuda::Solutions<double> out{x.data(), z.data(), &status, &iterations, &passes, &residual};
  const bool launched = lenskern::cuda::nnls_small(nullptr, problems, out) == cudaSuccess;
  std::printf("n = %d: status %d after %d iterations and %d passes\n", n, status, iterations, passes);
  return launched && status == lenskern::nnls::kCertified && (warm || iterations > 0);
}

}  // namespace

// The numbers of unknowns.
int main(int count, char** sizes) {
  bool good = true;
  for (int i = 1; i < count; ++i) {
    const int n = std::atoi(sizes[i]);
    good &= solve(n, false, false) & solve(n, true, false) & solve(n, true, true);
  }
  return good ? 0 : 1;
}
