// One block of threads solves one inversion in its shared memory, in float64, as kernels/cpp/nnls_crossover.h does:
// the same steps with the same constants. Thread i holds entry i of every vector.
#pragma once

#include <math.h>

#include "nnls.h"
#include "nnls_cholesky.cuh"

namespace lenskern::cuda::small {

// What all threads reduce to one number; to Largest a NaN is larger than everything.
struct Sum {
  __device__ double operator()(double a, double b) const { return a + b; }
};
struct Largest {
  __device__ double operator()(double a, double b) const { return a != a || a >= b ? a : b; }
};

class Team {
 public:
  __device__ explicit Team(int n) : n_(n), inside_(threadIdx.x < static_cast<unsigned>(n)), slots_(Matrix(n).slots) {}

  // Each is the same for all threads; only those that have an unknown count.
  __device__ double sum(double value) { return over_all(inside_ ? value : 0, Sum{}); }
  __device__ double largest(double value) { return over_all(inside_ ? value : 0, Largest{}); }  // of values >= 0
  __device__ int count(bool is) const { return __syncthreads_count(inside_ && is); }
  __device__ bool any(bool is) const { return __syncthreads_or(inside_ && is); }

 protected:
  const int n_;
  const bool inside_;

 private:
  template <class Combine>
  __device__ double over_all(double value, Combine combine) {
    value = over_warp(value, combine);
    const int warps = blockDim.x / kWarp;
    if (warps == 1) {
      __syncwarp();  // a barrier for those that rely on one
      return value;
    }
    double* slots = slots_ + turn_;
    turn_ = kMatrixWarps - turn_;
    if (threadIdx.x % kWarp == 0) slots[threadIdx.x / kWarp] = value;
    __syncthreads();
    value = slots[0];
    for (int warp = 1; warp < warps; ++warp) value = combine(value, slots[warp]);
    return value;
  }

  double* const slots_;
  int turn_ = 0;
};

// A lane's scaled problem beside its matrix: minimise y'Sy / 2 - h'y, where x = unit * scale * y.
struct Scaled {
  double scale, unit, h;
};

// What a search ends with.
struct Answer {
  nnls::Status status;
  int32_t iterations, passes;
  double residual;
  double y, w;  // y >= 0 and its gradient S y - h
};

class Search : public Team {
 public:
  __device__ Search(int n, const nnls::Options& options, double h) : Team(n), options_(options), h_(h) {}

  // An eigenvalue of S below -slack is none of a valid problem. `guess`: whether the entry is thought to be positive.
  __device__ Answer run(double slack, bool warm, bool guess) {
    int32_t iterations = 0;
    const nnls::Status status = search(slack, warm, guess, iterations);
    return {status, iterations, passes_, residual_, y_, w_};
  }

 private:
  // The interior point, with tries to end exactly in between.
  __device__ nnls::Status search(double slack, bool warm, bool guess, int32_t& iterations) {
    if (certify(0)) return nnls::kCertified;
    const double zero = nnls::zero_eigenvalue<double>();
    if (!factor(n_, n_, 1 + (slack > zero ? slack : zero))) return nnls::kNotPositiveDefinite;
    if (warm) {
      free_ = inside_ && guess;
      if (finish(nnls::warm_patience(n_))) return nnls::kCertified;
    }
    start();
    bool before = false, tried = false, stalled = false;
    for (iterations = 0;; ++iterations) {
      free_ = inside_ && px_ > pz_;
      const int changed = count(free_ != before), untried = count(free_ != tried);
      const int undecided = count(nnls::undecided(px_, pz_));
      const double mu = sum(px_ * pz_) / n_;
      before = free_;
      const bool last = stalled || iterations == options_.max_iter;
      if (untried > 0 && (last || nnls::ready<double>(n_, changed, undecided, mu, mu))) {
        tried = free_;
        if (finish(nnls::patience(n_))) return nnls::kCertified;
        if (settled_) return nnls::kStalled;
      }
      if (last) break;
      stalled = !step(mu);
    }
    if (certify(before ? px_ : 0)) return nnls::kCertified;
    return stalled ? nnls::kStalled : nnls::kMaxIter;
  }

  // x about (S + I)^-1 h, z about the gradient, both shifted into the interior.
  __device__ void start() {
    double x = 0, r = h_, p = h_, rr = sum(r * r);
    for (int k = 0; k < nnls::kStartSteps && rr > 0; ++k) {
      const double Sp = multiply(n_, p) + p, pSp = sum(p * Sp);
      if (!(pSp > 0)) break;
      const double a = rr / pSp;
      x += a * p, r -= a * Sp;
      const double next = sum(r * r);
      p = r + next / rr * p;
      rr = next;
    }
    px_ = x > 0 ? x : 0;
    const double g = multiply(n_, px_) - h_;
    const double mean_x = sum(px_) / n_, mean_g = sum(fabs(g)) / n_;
    px_ += nnls::into_interior(mean_x);
    pz_ = (g > 0 ? g : 0) + nnls::into_interior(mean_g);
  }

  // One iteration of the interior point; false where there is no more progress.
  __device__ bool step(double mu) {
    const double g = multiply(n_, px_) - h_, extra = pz_ / px_;
    const double diagonal = 1 + (extra < nnls::kLargestExtra ? extra : nnls::kLargestExtra);
    bool positive = false;
    for (double shift = 0; !positive; shift = nnls::next_shift<double>(shift)) {
      if (shift > nnls::largest_shift<double>()) return false;
      positive = factor(n_, n_, diagonal + shift);
    }
    double dx, dz;
    newton(g, -px_ * pz_, dx, dz);
    double a = longest(dx, dz);
    const double ratio = sum((px_ + a * dx) * (pz_ + a * dz)) / n_ / mu;
    newton(g, nnls::mehrotra_target(px_, pz_, dx, dz, nnls::mehrotra_centre(ratio, mu)), dx, dz);
    a = longest(dx, dz) * nnls::step_share(mu);
    if (!(a > nnls::kShortestStep)) return false;
    px_ += a * dx, pz_ += a * dz;
    return true;
  }
  // The direction for the complementarity target c.
  __device__ void newton(double g, double c, double& dx, double& dz) {
    dx = solve(n_, n_, inside_, nnls::newton_right_side(g - pz_, c, px_));
    dz = nnls::newton_dual(c, px_, pz_, dx);
  }
  // Longest step of at most 1 that keeps both parts non-negative.
  __device__ double longest(double dx, double dz) {
    const double bx = nnls::blocking(px_, dx), bz = nnls::blocking(pz_, dz);
    double top = bx > 1 ? bx : 1;
    top = bz > top ? bz : top;
    return 1 / largest(top);
  }

  // From the set in free_: solve, exchange the violators, again, as long as they are few and become fewer quickly.
  // True when none is left and the KKT conditions hold; settled_ when none is left and rounding stands in the way.
  __device__ bool finish(double patience) {
    settled_ = false;
    for (int pass = 0; pass < nnls::kPasses; ++pass) {
      ++passes_;
      m_ = set_index(n_, free_);
      if (!begin(0) && (++failures_ == 1 || !begin(nnls::kExactShift))) return false;
      bool wrong = violates(nnls::kCoarse, nnls::kCoarse);
      int many = count(wrong);
      if (many <= nnls::kDoubtful) {
        if (!polish(nnls::kRounding)) return false;
        wrong = violates(nnls::kNegative, options_.tol);
        many = count(wrong);
        settled_ = many == 0;
        if (settled_) return certify(y_);
      }
      if (many > patience) return false;
      patience = nnls::patience_after(n_, many);
      free_ = free_ != wrong;
    }
    return false;
  }

  // Factors S[F,F] + shift I and begins conjugate gradients with it. Their residual is kept on all entries: it is the
  // gradient too.
  __device__ bool begin(double shift) {
    for (;; shift = nnls::next_shift<double>(shift)) {
      if (shift > nnls::largest_shift<double>()) return false;
      if (factor(n_, m_, 1 + shift)) break;
    }
    y_ = p_ = 0, w_ = -h_;
    h_top_ = largest(free_ ? fabs(h_) : 0), wv_ = 1, steps_ = 0;
    return polish(nnls::kCoarse, nnls::kCoarseSteps);
  }
  __device__ bool polish(double relative, int most = nnls::kPolishSteps) {
    while (largest(free_ ? fabs(w_) : 0) > relative * h_top_) {
      if (steps_ == most) return false;
      const double v = solve(n_, m_, free_, w_);
      const double next = sum(free_ ? w_ * v : 0), beta = steps_ == 0 ? 0 : next / wv_;
      p_ = free_ ? beta * p_ - v : 0;
      const double Sp = multiply(n_, p_), pSp = sum(p_ * Sp);
      if (!(pSp > 0) || !(next > 0)) return false;
      const double a = next / pSp;
      y_ += a * p_, w_ += a * Sp;
      wv_ = next, ++steps_;
    }
    return true;
  }
  __device__ bool violates(double y_slack, double w_slack) {
    const double top = largest(free_ ? fabs(y_) : 0);
    return nnls::violates(free_, y_, w_, y_slack * top, w_slack);
  }

  // Makes y, clipped, the answer; takes nothing from the recurrences.
  __device__ bool certify(double y) {
    y_ = inside_ && y > 0 ? y : 0;
    w_ = multiply(n_, y_) - h_;
    const double violation = nnls::kkt_violation(y_, w_);
    residual_ = largest(violation < 0 ? 0 : violation);
    return residual_ <= options_.tol;
  }

  const nnls::Options options_;
  const double h_;
  double px_ = 0, pz_ = 0;             // the interior point, both positive
  bool free_ = false;                  // whether the entry may be positive
  double y_ = 0, w_ = 0;               // the answer on the free entries, zero elsewhere; the gradient S y - h
  double p_ = 0, h_top_ = 0, wv_ = 1;  // of the conjugate gradients under way
  int steps_ = 0, m_ = 0;
  int passes_ = 0, failures_ = 0;
  double residual_ = 0;  // of the last certificate
  bool settled_ = false;
};

// Apart from the kernels, which differ in the type of the data only.
LENSKERN_NOINLINE __device__ inline Answer search(int n, nnls::Options options, double h, double slack, bool warm,
                                                  bool guess) {
  return Search(n, options, h).run(slack, warm, guess);
}

// Puts S into the upper triangle; whether the problem can be solved. Every entry of Q is read once.
template <class D>
__device__ nnls::Status load(int n, const D* Q, const D* q, Scaled& scaled) {
  const Matrix S(n);
  Team team(n);
  const int i = threadIdx.x;
  const bool inside = i < n;
  const double diagonal = inside ? static_cast<double>(Q[i * n + i]) : 1, right = inside ? static_cast<double>(q[i]) : 0;
  const double scale = diagonal > 0 ? 1 / sqrt(diagonal) : 0;
  if (inside) S.vector[i] = scale;
  for (int at = i, row = 0, column = i; at < n * n; at += blockDim.x, column += blockDim.x) {
    while (column >= n) column -= n, ++row;
    S(row, column) = Q[at];
  }
  const bool infinite = team.any(!(isfinite(diagonal) && isfinite(right)));
  double gap = 0, top = 0, all = 0;
  for (int j = 0; inside && j < i; ++j) {
    const double lower = S(i, j), both = S.vector[j] * scale;
    const double difference = fabs(lower - S(j, i)) * both, size = fabs(lower) * both;
    gap = difference > gap ? difference : gap;
    top = size > top ? size : top;
    all += difference + size;
    S(j, i) = lower * both;
  }
  const bool overflows = team.any(!isfinite(all)), positive = team.count(!(diagonal > 0)) == 0;
  gap = team.largest(gap), top = team.largest(top);
  const double unit = team.largest(fabs(right * scale));
  scaled.scale = scale, scaled.unit = unit > 0 ? unit : 1, scaled.h = right * scale / scaled.unit;
  if (infinite || overflows) return nnls::kNotFinite;
  if (gap > nnls::asymmetry<D>()) return nnls::kNotSymmetric;
  return positive && top <= 1 + nnls::asymmetry<D>() ? nnls::kCertified : nnls::kNotPositiveDefinite;
}

template <class D>
__device__ void store(int n, const Scaled& scaled, Answer answer, int64_t lane, const Solutions<D>& out) {
  const double gradient = answer.y > 0 || answer.w < 0 ? 0 : answer.w;
  D x = static_cast<D>(answer.y * (scaled.unit * scaled.scale));
  D z = static_cast<D>(gradient * (scaled.unit / scaled.scale));
  bool answered = answer.status == nnls::kCertified || answer.status == nnls::kMaxIter ||
                  answer.status == nnls::kStalled;
  const int i = threadIdx.x;
  if (__syncthreads_or(answered && i < n && !(isfinite(x) && isfinite(z)))) {
    answered = false, answer.status = nnls::kNotFinite;  // overflow in the units of the data
  }
  if (!answered) x = z = static_cast<D>(NAN);
  if (i < n) out.x[lane * n + i] = x, out.z[lane * n + i] = z;
  if (i > 0) return;
  out.status[lane] = answer.status;
  out.iterations[lane] = answer.iterations;
  out.passes[lane] = answer.passes;
  out.residual[lane] = static_cast<D>(answered ? answer.residual : NAN);
}

// Two blocks of the largest number of threads on a multiprocessor, eight of 64 threads.
template <class D>
__global__ void __launch_bounds__(kWarp* kMatrixWarps, kBlocks)
    solve_lanes(const __grid_constant__ Problems<D> problems, const __grid_constant__ Solutions<D> out) {
  const int n = problems.n;
  for (int64_t lane = blockIdx.x; lane < problems.lanes.count; lane += gridDim.x) {
    const Place place = problems.lanes.place(lane);
    const D* x0 = problems.x0(place);
    Scaled scaled;
    Answer answer{load(n, problems.Q(place), problems.q(place), scaled), 0, 0, 0, 0, 0};
    if (answer.status == nnls::kCertified) {
      const bool guess = x0 != nullptr && threadIdx.x < static_cast<unsigned>(n) && x0[threadIdx.x] > 0;
      answer = search(n, problems.options, scaled.h, nnls::slack<D>(n), x0 != nullptr, guess);
    }
    store(n, scaled, answer, lane, out);
  }
}

// A thread for each unknown; above 64 the updates of the factorisation have work for more.
inline int threads_for(int n) { return n <= 32 ? 32 : n <= 64 ? 64 : kWarp * kMatrixWarps; }

}  // namespace lenskern::cuda::small
