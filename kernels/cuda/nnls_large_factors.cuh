// The factor that a group of blocks has at a time, float32 or float64, and the set of entries that it is of.
#pragma once

#include "nnls_large_factor.cuh"

namespace lenskern::cuda::large {

// Vectors of a lane, handed out one after the other.
struct Vectors {
  double* next;
  int64_t each;
  __device__ double* take() {
    double* v = next;
    next += each;
    return v;
  }
};

template <class D>
class Factors {
 public:
  static constexpr int kVectors = 2;

  __device__ Factors(const Problem<D>& S, Vectors& vectors, char* tiles)
      : S_(S), swept_(vectors.take()), fast_(S.group, S.shared, tiles, swept_),
        exact_(S.group, S.shared, tiles, swept_) {
    vectors.take();
  }

  bool single = true;  // whether factors are float32 where nothing else is asked for

  // Whether S has no eigenvalue below about -slack, or as little as the factor can tell from zero.
  __device__ LENSKERN_NOINLINE bool semidefinite(double slack) {
    const double zero = single ? nnls::zero_eigenvalue<float>() : nnls::zero_eigenvalue<double>();
    take_all();
    return factor(single, nullptr, slack > zero ? slack : zero, false);
  }

  // S + diag(extra). False where that is not positive definite by more than rounding.
  __device__ LENSKERN_NOINLINE bool set_all(const double* extra) {
    take_all();
    for (double shift = 0; shift <= largest_shift(single); shift = next_shift(single, shift)) {
      double* box = S_.group.outbox();
      S_.group.each([&](int i) { box[i] = extra[i] < nnls::kLargestExtra ? extra[i] : nnls::kLargestExtra; });
      S_.group.barrier();
      if (factor(single, S_.group.inbox(), shift, true)) return true;
    }
    return false;
  }

  // S[F,F] + shift I for the entries of F.
  __device__ LENSKERN_NOINLINE bool set(const bool* free, double shift, bool exact) {
    take(free);
    for (const bool in_single = single && !exact; shift <= largest_shift(in_single);
         shift = next_shift(in_single, shift)) {
      if (factor(in_single, nullptr, shift, true)) return true;
    }
    return false;
  }

  // out = (factored matrix)^-1 v on its entries; the rest of `out` stays.
  __device__ void solve(const double* v, double* out) {
    if (is_single_) {
      fast_.solve(v, out);
    } else {
      exact_.solve(v, out);
    }
  }

 private:
  __device__ static double largest_shift(bool single) {
    return single ? nnls::largest_shift<float>() : nnls::largest_shift<double>();
  }
  __device__ static double next_shift(bool single, double shift) {
    return single ? nnls::next_shift<float>(shift) : nnls::next_shift<double>(shift);
  }

  __device__ bool factor(bool in_single, const double* extra, double shift, bool inverse) {
    const Source<D> source{S_.Q, S_.scale, extra, S_.shared.at, S_.group.n, m_, shift};
    is_single_ = in_single;
    return in_single ? fast_.run(source, inverse) : exact_.run(source, inverse);
  }

  __device__ void take_all() {
    const int n = m_ = S_.group.n;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += kThreads) S_.shared.at[i] = i;
    for (int c = threadIdx.x; c <= S_.group.chunks; c += kThreads) {
      S_.shared.rank[c] = c * kChunk < n ? c * kChunk : n;
    }
    __syncthreads();
  }
  // Every block puts the whole list together.
  __device__ void take(const bool* free) {
    Group& group = S_.group;
    double* box = group.outbox();
    group.each([&](int i) { box[i] = free[i]; });
    group.barrier();
    const double* in = group.inbox();
    static_assert(kMostEntries / kChunk <= kThreads);
    const int chunk = threadIdx.x, first = chunk * kChunk;
    const int last = first + kChunk < group.n ? first + kChunk : group.n;
    int count = 0;
    for (int i = first; i < last; ++i) count += in[i] > 0;
    uint16_t* counts = reinterpret_cast<uint16_t*>(S_.shared.operands);
    counts[chunk] = count;
    __syncthreads();
    if (chunk < group.chunks) {
      int rank = 0;
      for (int c = 0; c < chunk; ++c) rank += counts[c];
      S_.shared.rank[chunk] = rank;
      if (chunk == group.chunks - 1) S_.shared.rank[group.chunks] = rank + count;
      for (int i = first; i < last; ++i) {
        if (in[i] > 0) S_.shared.at[rank++] = i;
      }
    }
    __syncthreads();
    m_ = S_.shared.rank[group.chunks];
  }

  const Problem<D>& S_;
  double* swept_;
  Factor<D, float> fast_;
  Factor<D, double> exact_;
  int m_ = 0;
  bool is_single_ = true;
};

}  // namespace lenskern::cuda::large
