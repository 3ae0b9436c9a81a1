#include <cmath>
#include <limits>

#include "lenskern/poisson.h"
#include "poisson.h"
#include "simd.h"

namespace lenskern::LENSKERN_ISA {
namespace poisson {
namespace {

constexpr int kPiece = 1024;  // elements that a thread takes at a time
constexpr int kTile = 64;     // elements that a loop of whole vectors takes; divides kPiece

template <class T>
struct alignas(kVectorBytes) Tile {
  T at[kTile];
  T& operator[](int i) { return at[i]; }
  T operator[](int i) const { return at[i]; }
};

// Elements of a piece by their position in it, and what is known of them.
struct List {
  int size = 0;
  int32_t position[kPiece];
};

// Elements that the squeeze has not accepted.
struct alignas(kVectorBytes) Undecided {
  int size = 0;
  int32_t position[kPiece];
  double offset[kPiece], u[kPiece], v[kPiece];
};

// Random numbers of a block of each element.
void draw(const uint32_t* seed, const Tile<uint32_t>& index, uint32_t block, Tile<double>& uniforms) {
  const uint32_t k0 = seed[0], k1 = seed[1];
  Tile<uint32_t> high, low;
  for (int i = 0; i < kTile; ++i) {
    uint32_t x0 = index[i], x1 = block;
    threefry(k0, k1, x0, x1);
    high[i] = x0;
    low[i] = x1;
  }
  for (int i = 0; i < kTile; ++i) uniforms[i] = uniform(high[i], low[i]);
}

// A tile of a list: the elements from `first` on, the last of them again where there are no more.
template <class D>
int gather(const int32_t* position, int first, int size, const D* rate, uint32_t start, Tile<uint32_t>& index,
           Tile<double>& rates) {
  const int count = size - first < kTile ? size - first : kTile;
  for (int i = 0; i < kTile; ++i) {
    const int32_t at = position[first + (i < count ? i : count - 1)];
    index[i] = start + at;
    rates[i] = rate[at];
  }
  return count;
}

template <class D>
void invert(const uint32_t* seed, uint32_t start, const List& small, const D* rate, D* counts) {
  Tile<uint32_t> index;
  Tile<double> rates, uniforms, term, total, found;
  for (int first = 0; first < small.size; first += kTile) {
    const int count = gather(small.position, first, small.size, rate, start, index, rates);
    draw(seed, index, 0, uniforms);
    for (int i = 0; i < kTile; ++i) {
      term[i] = total[i] = exp_of_minus(rates[i]);
      found[i] = 0;
    }
    double searching = 1;
    for (double k = 1; searching > 0; ++k) {
      const double inverse = 1 / k;
      searching = 0;
      for (int i = 0; i < kTile; ++i) {
        const double more = (uniforms[i] > total[i]) & (term[i] > kLeastProbability) ? 1.0 : 0.0;
        found[i] += more;
        searching += more;
        term[i] = times(term[i], times(rates[i], inverse));
        total[i] += term[i];
      }
    }
    for (int i = 0; i < count; ++i) counts[small.position[first + i]] = static_cast<D>(found[i]);
  }
}

// One attempt for each element of a list; those that the squeeze does not accept are listed.
template <class D>
void propose(const uint32_t* seed, uint32_t start, uint32_t n, const List& list, const D* rate, D* counts,
             Undecided& undecided) {
  Tile<uint32_t> index;
  Tile<double> rates, u, v, offset, decided;
  undecided.size = 0;
  for (int first = 0; first < list.size; first += kTile) {
    const int count = gather(list.position, first, list.size, rate, start, index, rates);
    draw(seed, index, 2 * n, u);
    draw(seed, index, 2 * n + 1, v);
    for (int i = 0; i < kTile; ++i) {
      u[i] -= 0.5;
      const Attempt made = attempt(rates[i], u[i], v[i]);
      offset[i] = made.offset;
      decided[i] = made.accepted ? 1.0 : 0.0;
      rates[i] = std::floor(rates[i]) + made.offset;
    }
    for (int i = 0; i < count; ++i) {
      const int32_t at = list.position[first + i];
      counts[at] = static_cast<D>(rates[i]);
      undecided.position[undecided.size] = at;
      undecided.offset[undecided.size] = offset[i];
      undecided.u[undecided.size] = u[i];
      undecided.v[undecided.size] = v[i];
      undecided.size += decided[i] == 0;
    }
  }
  // The rest of the last tile is computed as well.
  for (int i = undecided.size; i % kTile != 0; ++i) undecided.offset[i] = undecided.u[i] = undecided.v[i] = 0;
}

// The elements whose attempt is rejected.
template <class D>
void reject(Undecided& undecided, const D* rate, List& rejected) {
  Tile<double> rates, few, passed;
  rejected.size = 0;
  for (int first = 0; first < undecided.size; first += kTile) {
    const int count = undecided.size - first < kTile ? undecided.size - first : kTile;
    for (int i = 0; i < kTile; ++i) {
      const int from = first + (i < count ? i : 0);
      rates[i] = rate[undecided.position[from]];
    }
    const double *offset = undecided.offset + first, *u = undecided.u + first, *v = undecided.v + first;
    for (int i = 0; i < kTile; ++i) few[i] = stirling_of_few(std::floor(rates[i]) + offset[i]);
    for (int i = 0; i < kTile; ++i) passed[i] = accepted(rates[i], offset[i], u[i], v[i], few[i]) ? 1.0 : 0.0;
    for (int i = 0; i < count; ++i) {
      rejected.position[rejected.size] = undecided.position[first + i];
      rejected.size += passed[i] == 0;
    }
  }
}

template <class D>
void piece(const uint32_t* seed, uint32_t start, int size, const D* rate, D* counts) {
  List small, large;
  for (int i = 0; i < size; ++i) {
    const double r = rate[i];
    // What has no list: 0 and what is too large to change, or what is no rate.
    counts[i] = (r == 0) | ((r > kLargest) & (r < std::numeric_limits<double>::infinity()))
                    ? rate[i]
                    : std::numeric_limits<D>::quiet_NaN();
    small.position[small.size] = large.position[large.size] = i;
    small.size += (r > 0) & (r < kLeastRejection);
    large.size += (r >= kLeastRejection) & (r <= kLargest);
  }
  invert(seed, start, small, rate, counts);
  Undecided undecided;
  for (uint32_t n = 0; large.size > 0 && n < kMostAttempts; ++n) {
    propose(seed, start, n, large, rate, counts, undecided);
    reject(undecided, rate, large);
  }
  for (int i = 0; i < large.size; ++i) counts[large.position[i]] = std::numeric_limits<D>::quiet_NaN();
}

template <class D>
void sample(const uint32_t* seed, int64_t n, const D* rate, D* counts, Crew::Worker& worker) {
  worker.parallel_for(static_cast<int>((n + kPiece - 1) / kPiece), [&](int i) {
    const int64_t start = static_cast<int64_t>(i) * kPiece;
    const int size = static_cast<int>(n - start < kPiece ? n - start : kPiece);
    piece(seed, static_cast<uint32_t>(start), size, rate + start, counts + start);
  });
}

}  // namespace
}  // namespace poisson

template <class D>
PoissonKernel<D> poisson_kernel() {
  return poisson::sample<D>;
}
template PoissonKernel<float> poisson_kernel<float>();
template PoissonKernel<double> poisson_kernel<double>();

}  // namespace lenskern::LENSKERN_ISA
