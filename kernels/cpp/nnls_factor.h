// Cholesky factors of principal parts of one lane's matrix, as directions and preconditioners use them.
#pragma once

#include "nnls_problem.h"

namespace lenskern::LENSKERN_ISA {

// A principal part of S plus a diagonal, factored in precision T and shifted only where that precision breaks down.
template <class T>
class Factor {
 public:
  // Packs all of S, for all that follows.
  template <class D>
  bool load(const Problem<D>& S) {
    n_ = S.size(), order_ = S.order(), first_ = S.first();
    const int64_t size = Panels<T>::size(n_), padded = Panels<T>::padded(n_);
    if (!all_.reserve<T>(size) || !factor_.reserve<T>(size) || !inverse_.reserve<T>(padded) ||
        !diagonal_.reserve<T>(padded) || !vector_.reserve<T>(padded) || !start_.reserve<int>(padded) ||
        !rank_.reserve<int>(n_ + 1)) {
      return false;
    }
    S.pack(all_.get<T>());
    return true;
  }

  // Whether S has no eigenvalue below about -slack, or as little as T can tell from zero.
  bool semidefinite(double slack, Crew::Worker& worker) {
    m_ = n_, at_ = nullptr;
    set_start([](int position) { return position; });
    const double zero = nnls::zero_eigenvalue<T>();
    return factor(all_.get<T>(), nullptr, slack > zero ? slack : zero, worker);
  }

  // S + diag(extra). False where that is not positive definite by more than rounding.
  bool set_all(const double* extra, Crew::Worker& worker) {
    m_ = n_, at_ = nullptr;
    set_start([](int position) { return position; });
    for (double shift = 0; shift <= nnls::largest_shift<T>(); shift = nnls::next_shift<T>(shift)) {
      if (factor(all_.get<T>(), extra, shift, worker)) return true;
    }
    return false;
  }

  // S[F,F] + shift I, for the entries at m positions of the order, ascending, that outlive the use of this factor.
  bool set(const int* positions, int m, double shift, Crew::Worker& worker) {
    m_ = m, at_ = positions;
    int* rank = rank_.get<int>();  // of a position: how many of F come before it
    for (int k = 0, i = 0; k <= n_; ++k) {
      rank[k] = i;
      i += i < m && positions[i] == k;
    }
    set_start([&](int position) { return rank[position]; });
    for (; shift <= nnls::largest_shift<T>(); shift = nnls::next_shift<T>(shift)) {
      gather(worker);
      if (factor(factor_.get<T>(), nullptr, shift, worker)) return true;
    }
    return false;
  }

  // Writes the factor of S[F,F], if that is what was set last, to kept_words(n) at `kept`, for `restore`.
  void save(float* kept) const {
    static_assert(sizeof(T) == sizeof(float) && sizeof(int) == sizeof(float));
    if (at_ == nullptr) return;
    Kept to(n_, kept);
    to.head[0] = 1, to.head[1] = m_;
    std::memcpy(to.order, order_, sizeof(int) * n_);
    std::memcpy(to.positions, at_, sizeof(int) * m_);
    std::memcpy(to.start, start_.get<int>(), sizeof(int) * Panels<T>::count(m_));
    std::memcpy(to.inverse, inverse_.get<T>(), sizeof(T) * Panels<T>::padded(m_));
    std::memcpy(to.panels, factor_.get<T>(), sizeof(T) * Panels<T>::size(m_));
  }
  // False where there is nothing to restore.
  bool restore(int n, const float* kept) {
    const Kept from(n, const_cast<float*>(kept));
    if (from.head[0] != 1) return false;
    n_ = n, m_ = from.head[1], order_ = from.order, at_ = from.positions;
    const int64_t size = Panels<T>::size(m_), padded = Panels<T>::padded(m_);
    if (!factor_.reserve<T>(size) || !inverse_.reserve<T>(padded) || !vector_.reserve<T>(padded) ||
        !start_.reserve<int>(padded)) {
      return false;
    }
    std::memcpy(start_.get<int>(), from.start, sizeof(int) * Panels<T>::count(m_));
    std::memcpy(inverse_.get<T>(), from.inverse, sizeof(T) * padded);
    std::memcpy(factor_.get<T>(), from.panels, sizeof(T) * size);
    return true;
  }

  // Floating-point operations since the last call.
  double take_flops() const {
    const double count = flops_;
    flops_ = 0;
    return count;
  }

  // out = (factored matrix)^-1 v on its entries; the rest of `out` stays. v is scaled for the range of T.
  void solve(const double* v, double* out) const {
    T* t = vector_.get<T>();
    double top = 0;
    for (int i = 0; i < m_; ++i) top = std::fabs(v[entry(i)]) > top ? std::fabs(v[entry(i)]) : top;
    const double down = top > 0 ? 1 / top : 0;
    for (int i = 0; i < m_; ++i) t[i] = static_cast<T>(v[entry(i)] * down);
    for (int i = m_; i < Panels<T>::padded(m_); ++i) t[i] = 0;
    flops_ += Cholesky<T>::solve_flops(m_, start_.get<int>());
    Cholesky<T>::solve(m_, start_.get<int>(), factor_.get<T>(), inverse_.get<T>(), t);
    for (int i = 0; i < m_; ++i) out[entry(i)] = t[i] * top;
  }

 private:
  // The parts of a kept factor.
  struct Kept {
    Kept(int n, float* words) {
      const int64_t padded = (n + 31) / 32 * 32;
      head = reinterpret_cast<int*>(words);
      order = reinterpret_cast<int*>(words + 16);
      positions = order + padded;
      start = positions + padded;
      inverse = words + 16 + 3 * padded;
      panels = inverse + padded;
    }
    int *head, *order, *positions, *start;
    float *inverse, *panels;
  };

  int position(int i) const { return at_ == nullptr ? i : at_[i]; }
  int entry(int i) const { return order_[position(i)]; }

  // The envelope is that of the float32 pattern; other precisions keep everything.
  template <class Rank>
  void set_start(const Rank& rank) {
    constexpr int R = Panels<T>::rows;
    int* start = start_.get<int>();
    for (int p = 0; p < Panels<T>::count(m_); ++p) {
      int from = p * R;
      for (int i = p * R; i < (p + 1) * R && i < m_; ++i) {
        const int k = rank(first_[position(i)]);
        from = k < from ? k : from;
      }
      start[p] = sizeof(T) == 4 ? from / kTileColumns * kTileColumns : 0;
    }
  }

  void gather(Crew::Worker& worker) {
    constexpr int R = Panels<T>::rows;
    worker.parallel_for(Panels<T>::count(m_), [&](int p) {
      T* out = factor_.get<T>() + Panels<T>::offset(p);
      const T* row[R];
      const int many = m_ - p * R < R ? m_ - p * R : R;
      for (int r = 0; r < many; ++r) {
        const int k = at_[p * R + r];
        row[r] = all_.get<T>() + Panels<T>::offset(k / R) + k % R;
      }
      for (int k = start_.get<int>()[p]; k < (p + 1) * R; ++k) {
        for (int r = 0; r < R; ++r) {
          // Beyond the row's own diagonal the packed square still holds S; beyond that square nothing is needed.
          const bool within = r < many && k < m_ && k <= p * R + r;
          out[k * R + r] = within ? row[r][at_[k] * R] : T(k == p * R + r);
        }
      }
    });
  }

  bool factor(const T* source, const double* extra, double shift, Crew::Worker& worker) {
    T* d = diagonal_.get<T>();
    for (int i = 0; i < m_; ++i) {
      const double more = extra == nullptr ? 0 : extra[entry(i)];
      d[i] = static_cast<T>((more < nnls::kLargestExtra ? more : nnls::kLargestExtra) + shift);
    }
    for (int i = m_; i < Panels<T>::padded(m_); ++i) d[i] = 0;
    flops_ += Cholesky<T>::flops(m_, start_.get<int>());
    return Cholesky<T>::factor(m_, start_.get<int>(), source, d, factor_.get<T>(), inverse_.get<T>(), worker);
  }

  int n_ = 0, m_ = 0;
  mutable double flops_ = 0;
  const int *order_ = nullptr, *first_ = nullptr, *at_ = nullptr;
  Buffer all_, factor_, inverse_, diagonal_, vector_, start_, rank_;
};

// The factors a worker holds: precision T by default, float64 where those fail on an active set that is decided.
template <class T>
struct Factors {
  Pattern pattern;
  Factor<T> fast;
  Factor<double> exact;
};

}  // namespace lenskern::LENSKERN_ISA
