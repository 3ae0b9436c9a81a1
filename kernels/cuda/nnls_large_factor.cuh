// Cholesky factors of principal parts of a lane's matrix, tile by tile over the blocks of a group.
#pragma once

#include "nnls_large_problem.cuh"

namespace lenskern::cuda::large {

// S on the entries `at`, plus shift and `extra` on the diagonal, padded with a unit matrix.
template <class D>
struct Source {
  const D* Q;
  const double *scale, *extra;  // extra may be null
  const uint16_t* at;
  int n, m;
  double shift;

  template <class T>
  __device__ T value(int p, int q) const {
    if (p >= m || q >= m) return T(p == q);
    const int a = at[p > q ? p : q], b = at[p > q ? q : p];
    double s = Q[int64_t{a} * n + b] * (scale[a] * scale[b]);
    if (p == q) s += shift + (extra == nullptr ? 0 : extra[a]);
    return static_cast<T>(s);
  }
};

// In float32 the factor comes with its inverse: below the unit matrix as a further block of rows the elimination leaves
// the inverse's transpose U, which takes no longer as long as there are blocks without work, and makes a solve two
// products with U, of one barrier each. In float64, which is rare, there is no room for U; there solves sweep.
//
// Blocks take tiles in turn, column after column. A tile waits for the tiles that it needs; those come before it in
// that order, and all blocks run at once, so that the first tile that is not finished can always go on.
template <class D, class T>
class Factor {
 public:
  static constexpr bool kInverse = sizeof(T) == 4;

  __device__ Factor(Group& group, Shared& shared, char* memory, double* swept)
      : group_(group), shared_(shared), slots_(reinterpret_cast<T*>(memory)), swept_(reinterpret_cast<T*>(swept)),
        operands_(*reinterpret_cast<Operand<T>(*)[2]>(shared.operands)),
        pivots_(*reinterpret_cast<Pivots<T>*>(&shared.pivots)) {}

  // False where S is not positive definite. `inverse` is not needed where only that is asked.
  __device__ LENSKERN_NOINLINE bool run(const Source<D>& S, bool inverse) {
    m_ = S.m, N_ = (m_ + kTile - 1) / kTile;
    signal_ = group_.signal += kSignals;
    eliminate(S, kInverse && inverse);
    group_.barrier();
    return acquire(failed()) != signal_;
  }

  // out = (factored matrix)^-1 v on its entries; the rest of `out` stays. v is scaled for the range of T.
  __device__ LENSKERN_NOINLINE void solve(const double* v, double* out) {
    double* box = group_.outbox();
    double top[1];
    group_.reduce(top, Largest(), [&](int i, double(&parts)[1]) {
      box[i] = v[i];
      parts[0] = fabs(v[i]);
    });
    const double down = top[0] > 0 ? 1 / top[0] : 0;
    if constexpr (kInverse) {
      multiply(down, top[0], out);
    } else {
      signal_ = group_.signal += kSignals;
      sweep(down, top[0], out);
    }
    __syncthreads();
  }

 private:
  static constexpr unsigned kSignals = 256;  // more than what is told of a row, or of a sweep
  static_assert(kSignals > 2 * kMostEntries / kTile + 1);

  // Where the tile of row i, column j is: rows from N_ on are those of the transposed inverse.
  __device__ T* slot(int i, int j) const {
    const int64_t at = kInverse ? int64_t{i} * N_ + j : int64_t{i} * (i + 1) / 2 + j;
    return slots_ + at * kTile * kTile;
  }
  __device__ Tile<T> tile(int i, int j) const {
    if (i < N_) return {slot(i, j), Part::kAll};
    return {slot(i - N_, j), i - N_ == j ? Part::kUpper : Part::kAll};
  }
  // What is told of a row: how many of its tiles are finished. The inverse's begin at the diagonal, where they are that
  // of the factor and told with it.
  __device__ unsigned* word(int i) const {
    return group_.ready(i < N_ ? i : i - N_ + static_cast<int>(Layout(group_.n).tiles));
  }
  __device__ unsigned* ready(int i, int count) const { return word(i == N_ + count - 1 ? i - N_ : i); }
  __device__ unsigned* failed() const { return group_.failed() + signal_ / kSignals % 2; }

  // Waits until the first `count` tiles of two rows are finished. How many of both are by then; -1 where a pivot failed.
  __device__ int await(int i, int j, int count) {
    if (threadIdx.x % kWarp == 0 && threadIdx.x < 2 * kWarp) {
      const unsigned *word = ready(threadIdx.x == 0 ? i : j, count), *stop = failed();
      int known = 0;
      while (true) {
        known = static_cast<int>(acquire(word) - signal_);
        if (known >= count) break;
        if (acquire(stop) == signal_) {
          known = -1;
          break;
        }
        pause();
      }
      shared_.heard[threadIdx.x / kWarp] = known;
    }
    __syncthreads();  // another one follows in all that uses the tiles
    return min(shared_.heard[0], shared_.heard[1]);
  }
  __device__ void tell(int i, int count) {
    __syncthreads();
    if (threadIdx.x == 0) release(word(i), signal_ + count);
  }

  __device__ void eliminate(const Source<D>& S, bool inverse) {
    int task = 0;
    const auto mine = [&] { return task++ % group_.blocks == group_.block; };
    for (int j = -1; j < N_; ++j) {
      if (j + 1 < N_ && mine() && !diagonal(S, j + 1)) return;
      if (j < 0) continue;
      for (int i = j + 2; i < N_; ++i) {
        if (mine() && !below(S, i, j)) return;
      }
      for (int i = 0; inverse && i < j; ++i) {
        if (mine() && !below(S, N_ + i, j)) return;
      }
    }
  }

  // A tile below the diagonal, or of the inverse.
  __device__ LENSKERN_NOINLINE bool below(const Source<D>& S, int i, int j) {
    Fragment<T> A;
    A.set([&](int r, int c) { return i < N_ ? S.template value<T>(i * kTile + r, j * kTile + c) : T(0); });
    for (int k = i < N_ ? 0 : i - N_, known = 0; k < j; ++k) {
      if (known <= k && (known = await(i, j, k + 1)) < 0) return false;
      subtract(A, tile(i, k), tile(j, k), operands_);
    }
    if (await(j, j, j + 1) < 0) return false;
    divide(A, j).store(slot(i < N_ ? i : i - N_, j));
    tell(i, j + 1);
    return true;
  }

  // The diagonal's tile of row i, and the one before it, which nothing waits for longer.
  __device__ LENSKERN_NOINLINE bool diagonal(const Source<D>& S, int i) {
    const auto from = [&](int j) {
      return [&S, i, j](int r, int c) { return S.template value<T>(i * kTile + r, j * kTile + c); };
    };
    Fragment<T> C;
    C.set(from(i));
    if (i > 0) {
      Fragment<T> A;
      A.set(from(i - 1));
      for (int k = 0, known = 0; k < i - 1; ++k) {
        if (known <= k && (known = await(i, i - 1, k + 1)) < 0) return false;
        subtract(A, tile(i, k), tile(i - 1, k), operands_, &C);
      }
      if (await(i - 1, i - 1, i) < 0) return false;
      const Fragment<T> L = divide(A, i - 1);
      L.store(slot(i, i - 1));
      tell(i, i);
      subtract_square(C, L, operands_[0]);
    }
    Spread<T> tile = spread(C, reinterpret_cast<T*>(shared_.operands)), inverse;
    if (!invert_factor(tile, inverse, pivots_)) {
      if (threadIdx.x == 0) release(failed(), signal_);
      return false;
    }
    T* out = slot(i, i);
    for (int a = 0; a < 4; ++a) {
      for (int b = 0; b < 4; ++b) {
        const int r = Spread<T>::row(a), c = Spread<T>::column(b);
        if (c <= r) out[r * kTile + c] = out[c * kTile + r] = inverse.of[a][b];
      }
    }
    tell(i, i + 1);
    return true;
  }

  // A times the inverse transpose of the factor's diagonal tile j.
  __device__ Fragment<T> divide(const Fragment<T>& A, int j) {
    Fragment<T> L;
    L.set([](int, int) { return T(0); });
    subtract(L, A, Tile<T>{slot(j, j), Part::kLower}, operands_);
    for (auto& row : L.of) {
      for (T& v : row) v = -v;
    }
    return L;
  }

  // out = U U' v, where v is in the inbox, entry by entry.
  __device__ void multiply(double down, double up, double* out) {
    T* all = reinterpret_cast<T*>(shared_.operands);
    const double* in = group_.inbox();
    for (int p = threadIdx.x; p < m_; p += kThreads) all[p] = static_cast<T>(in[shared_.at[p]] * down);
    __syncthreads();
    double* box = group_.outbox();
    int turn = 0;
    for (int chunk = group_.block; chunk < group_.chunks; chunk += group_.blocks, turn ^= 1) {
      const int p = shared_.rank[chunk] + threadIdx.x % kChunk;
      const bool inside = p < shared_.rank[chunk + 1];
      double sum = 0;
      if (inside) {
        const int last = p / kTile, row = threadIdx.x / kChunk;
        T part = 0;
#pragma unroll 4
        for (int t = 0; t < last; ++t) {
          const T *column = slot(t, last) + p % kTile, *in_tile = all + t * kTile;
#pragma unroll
          for (int r = 0; r < kTile; r += kChunk) part += column[(row + r) * kTile] * in_tile[row + r];
        }
        const T* column = slot(last, last) + p % kTile;
        for (int r = row; r <= p % kTile; r += kChunk) part += column[r * kTile] * all[last * kTile + r];
        sum = part;
      }
      add_classes(sum, shared_.sums[turn]);
      if (threadIdx.x < kChunk && inside) box[p] = total_of(shared_.sums[turn], threadIdx.x);
    }
    group_.barrier();
    in = group_.inbox();
    for (int p = threadIdx.x; p < m_; p += kThreads) all[p] = static_cast<T>(in[p]);
    __syncthreads();
    const int lane = threadIdx.x % kWarp;
    for (int chunk = group_.block; chunk < group_.chunks; chunk += group_.blocks) {
      for (int p = shared_.rank[chunk] + threadIdx.x / kWarp; p < shared_.rank[chunk + 1]; p += kWarps) {
        const int first = p / kTile;
        T sum = 0;
#pragma unroll 4
        for (int t = first; t < N_; ++t) {
          const T* row = slot(first, t) + p % kTile * kTile;
#pragma unroll
          for (int c = 0; c < kTile; c += kWarp) {
            const int q = t * kTile + c + lane;
            if (q >= p && q < m_) sum += row[c + lane] * all[q];
          }
        }
        sum = over_warp(sum, Plus<T>());
        if (lane == 0) out[shared_.at[p]] = up * sum;
      }
    }
  }

  // The same by forward and backward substitution with tiles: the blocks take rows of tiles in turn.
  __device__ void sweep(double down, double up, double* out) {
    T *forward = swept_, *backward = swept_ + N_ * kTile;
    const double* in = group_.inbox();
    for (int i = group_.block; i < N_; i += group_.blocks) {
      const int row = threadIdx.x / 4, part = threadIdx.x % 4, p = i * kTile + row;
      T sum = 0;
      for (int j = 0; j < i; ++j) {
        hear(j + 1);
        sum += quarter_row(slot(i, j), forward + j * kTile, row, part, Part::kAll);
      }
      const T v = p < m_ ? static_cast<T>(in[shared_.at[p]] * down) : T(0);
      substitute(i, v - over_quad(sum), Part::kLower, forward + i * kTile, i + 1);
    }
    for (int i = N_ - 1 - (N_ - 1 - group_.block + group_.blocks) % group_.blocks; i >= 0; i -= group_.blocks) {
      // Whoever has the row has the column: four threads add a sixteenth of its rows each.
      const int column = threadIdx.x % kTile, quarter = threadIdx.x / kTile;
      T sum = 0;
      for (int j = N_ - 1; j > i; --j) {
        hear(2 * N_ - j);
        const T *below = slot(j, i) + quarter * kChunk * kTile + column, *z = backward + j * kTile + quarter * kChunk;
        for (int r = 0; r < kChunk; ++r) sum += below[r * kTile] * z[r];
      }
      T* quarters = reinterpret_cast<T*>(shared_.operands);
      __syncthreads();
      quarters[quarter * kTile + column] = sum;
      __syncthreads();
      const int row = threadIdx.x / 4;
      sum = 0;
      for (int k = 0; k < 4; ++k) sum += quarters[k * kTile + row];
      substitute(i, forward[i * kTile + row] - sum, Part::kUpper, backward + i * kTile, 2 * N_ - i);
    }
    hear(2 * N_);
    group_.each([&](int i) {
      // Its position, if it has one: the entries of a chunk are few.
      for (int p = shared_.rank[i / kChunk]; p < shared_.rank[i / kChunk + 1]; ++p) {
        if (shared_.at[p] == i) out[i] = up * backward[p];
      }
    });
  }
  // The diagonal tile of row i times what four threads each know of a number of; becomes known as number `count`.
  __device__ void substitute(int i, T v, Part part, T* out, int count) {
    T* all = reinterpret_cast<T*>(shared_.operands) + 4 * kTile;
    const int row = threadIdx.x / 4;
    __syncthreads();
    if (threadIdx.x % 4 == 0) all[row] = v;
    __syncthreads();
    const T sum = over_quad(quarter_row(slot(i, i), all, row, threadIdx.x % 4, part));
    if (threadIdx.x % 4 == 0) out[row] = sum;
    __syncthreads();
    if (threadIdx.x == 0) release(group_.swept(), signal_ + count);
  }
  __device__ void hear(int count) {
    if (threadIdx.x == 0) wait_for(group_.swept(), signal_ + count);
    __syncthreads();
  }
  __device__ static T over_quad(T sum) {
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    return sum + __shfl_xor_sync(kAllLanes, sum, 2);
  }
  __device__ static T quarter_row(const T* tile, const T* v, int row, int quarter, Part part) {
    T sum = 0;
    for (int c = quarter; c < kTile; c += 4) {
      const bool kept = part == Part::kAll || (part == Part::kLower ? c <= row : c >= row);
      sum += kept ? tile[row * kTile + c] * v[c] : T(0);
    }
    return sum;
  }

  Group& group_;
  Shared& shared_;
  T *slots_, *swept_;
  Operand<T> (&operands_)[2];
  Pivots<T>& pivots_;
  int m_ = 0, N_ = 0;
  unsigned signal_ = 0;
};

}  // namespace lenskern::cuda::large
