// Cholesky factors of principal parts of one lane's matrix, as directions and preconditioners use them.
#pragma once

#include "nnls_problem.h"

namespace lenskern::LENSKERN_ISA {

// S[index, index] + diag(extra), factored in precision T and shifted only where that precision breaks down.
template <class T>
class Factor {
 public:
  // Room for problems of up to n entries.
  bool reserve(int n) {
    return factor_.reserve<T>(Panels<T>::size(n)) && inverse_.reserve<T>(Panels<T>::padded(n)) &&
           diagonal_.reserve<T>(Panels<T>::padded(n)) && vector_.reserve<T>(Panels<T>::padded(n));
  }

  // Packs all of S once, for `set_all`.
  template <class D>
  bool load(const Problem<D>& S, Crew::Worker& worker) {
    T* all = all_.reserve<T>(Panels<T>::size(S.size()));
    if (all == nullptr) return false;
    S.template pack<T>(nullptr, S.size(), all, worker);
    return true;
  }

  // S + diag(extra). False where that is not positive definite by more than rounding.
  bool set_all(int n, const double* extra, Crew::Worker& worker) {
    m_ = n, index_ = nullptr;
    for (double shift = 0; shift <= kLargestShift; shift = next(shift)) {
      if (factor(all_.get<T>(), extra, shift, worker)) return true;
    }
    return false;
  }

  // S[index, index]: m entries, ascending, that outlive the use of this factor.
  template <class D>
  bool set(const Problem<D>& S, const int* index, int m, Crew::Worker& worker) {
    m_ = m, index_ = index;
    for (double shift = 0; shift <= kLargestShift; shift = next(shift)) {
      S.template pack<T>(index, m, factor_.get<T>(), worker);
      if (factor(factor_.get<T>(), nullptr, shift, worker)) return true;
    }
    return false;
  }

  // out[index] = (factored matrix)^-1 v[index]; the rest of `out` stays. v is scaled for the range of T.
  void solve(const double* v, double* out) const {
    T* t = vector_.get<T>();
    double top = 0;
    for (int i = 0; i < m_; ++i) top = std::fabs(v[at(i)]) > top ? std::fabs(v[at(i)]) : top;
    const double down = top > 0 ? 1 / top : 0;
    for (int i = 0; i < m_; ++i) t[i] = static_cast<T>(v[at(i)] * down);
    for (int i = m_; i < Panels<T>::padded(m_); ++i) t[i] = 0;
    Cholesky<T>::solve(m_, factor_.get<T>(), inverse_.get<T>(), t);
    for (int i = 0; i < m_; ++i) out[at(i)] = t[i] * top;
  }

 private:
  // A positive semi-definite matrix of unit diagonal breaks down by rounding alone, far less than the largest shift.
  static constexpr double kFirstShift = sizeof(T) == 4 ? 1e-6 : 1e-14;
  static constexpr double kLargestShift = sizeof(T) == 4 ? 1e-2 : 1e-10;
  static constexpr double kLargestExtra = 1e30;
  static double next(double shift) { return shift == 0 ? kFirstShift : 4 * shift; }

  int at(int i) const { return index_ == nullptr ? i : index_[i]; }

  bool factor(const T* source, const double* extra, double shift, Crew::Worker& worker) {
    T* d = diagonal_.get<T>();
    for (int i = 0; i < m_; ++i) {
      const double more = extra == nullptr ? 0 : extra[i];
      d[i] = static_cast<T>((more < kLargestExtra ? more : kLargestExtra) + shift);
    }
    for (int i = m_; i < Panels<T>::padded(m_); ++i) d[i] = 0;
    return Cholesky<T>::factor(m_, source, d, factor_.get<T>(), inverse_.get<T>(), worker);
  }

  int m_ = 0;
  const int* index_ = nullptr;
  Buffer all_, factor_, inverse_, diagonal_, vector_;
};

// The factors a worker holds: precision T by default, float64 where the polish stalls.
template <class T>
struct Factors {
  Factor<T> fast;
  Factor<double> exact;
};

}  // namespace lenskern::LENSKERN_ISA
