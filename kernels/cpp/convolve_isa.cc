#include <cstring>

#include "convolve.h"
#include "convolve_entries.h"
#include "simd.h"
#include "workspace.h"

namespace lenskern::LENSKERN_ISA {
namespace convolve {
namespace {

using Shape = lenskern::convolve::Shape;

// Output rows of a register tile: each vector of the input is loaded once for all of them.
constexpr int kRows = 4;
// Output vectors of a register tile, so that all sums stay in registers.
constexpr int kVectors = kTileColumns >= 8 ? 4 : 2;
// Rows that a thread takes at a time.
constexpr int64_t kPiece = 4 * kRows;

// In place of the standard library's functions: the linker might keep a copy of them from another instruction set.
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
template <class D>
void zero(D* to, int64_t count) {
  std::memset(to, 0, static_cast<size_t>(count) * sizeof(D));
}

template <class D>
constexpr int64_t whole_vectors(int64_t n) {
  return (n + Simd<D>::width - 1) / Simd<D>::width * Simd<D>::width;
}

struct Scratch {
  Buffer padded, planes, weights;
};
void* make_scratch() { return new Scratch; }
void free_scratch(void* scratch) { delete static_cast<Scratch*>(scratch); }
Scratch& scratch_of(Crew::Worker& worker) { return *static_cast<Scratch*>(worker.scratch(make_scratch, free_scratch)); }

template <class D>
struct Rows {
  D* data;
  int64_t stride;
  D* operator[](int64_t i) const { return data + i * stride; }
};

// Weights of a correlation: out[i][j] = sum_ab row(a)[b] in[i - top + a][j + b]. There are kRows - 1 rows of zeros
// above and below, as the rows of a tile begin and end at different rows of the input.
template <class D>
struct Weights {
  D* data;
  int64_t height, width, top;
  const D* row(int64_t a) const { return data + (a + kRows - 1) * width; }
};

constexpr int64_t weights_size(int64_t height, int64_t width) { return (height + 2 * (kRows - 1)) * width; }

// Fills weights_size(height, width) numbers. A convolution is a correlation with the kernel turned round.
template <class D>
Weights<D> weights_of(const D* kernel, int64_t height, int64_t width, bool transposed, D* data) {
  zero(data, weights_size(height, width));
  D* to = data + (kRows - 1) * width;
  const int64_t n = height * width;
  for (int64_t k = 0; k < n; ++k) to[k] = kernel[transposed ? k : n - 1 - k];
  return {data, height, width, before_centre(height, transposed)};
}

template <class D>
void store_first(D* to, Vector<D> v, int64_t count) {
  if (count >= Simd<D>::width) return store(to, v);
  for (int64_t k = 0; k < count; ++k) to[k] = v[k];
}

// kRows rows from i on and V vectors from column j on, summed over planes of the input that are `height` rows apart and
// have their weights one after the other.
template <class D, int V>
void tile(const Weights<D>& w, int64_t planes, Rows<const D> in, int64_t height, int64_t i, int64_t j, int64_t width,
          Rows<D> out) {
  constexpr int W = Simd<D>::width;
  Vector<D> sum[kRows][V] = {};
  for (int64_t plane = 0; plane < planes; ++plane) {
    const int64_t first = larger(i - w.top, 0), end = smaller(i + kRows - 1 - w.top + w.height, height);
    for (int64_t m = first; m < end; ++m) {
      const D *from = in[plane * height + m] + j,
              *weight = w.row(m - i + w.top) + plane * weights_size(w.height, w.width);
      for (int64_t b = 0; b < w.width; ++b) {
        Vector<D> x[V];
        for (int v = 0; v < V; ++v) x[v] = load(from + b + v * W);
        for (int r = 0; r < kRows; ++r) {
          const D k = weight[b - r * w.width];
          for (int v = 0; v < V; ++v) sum[r][v] += k * x[v];
        }
      }
    }
  }
  for (int r = 0; r < smaller(kRows, height - i); ++r) {
    for (int v = 0; v < V; ++v) store_first(out[i + r] + j + v * W, sum[r][v], width - j - v * W);
  }
}

// V vectors from column j on of two rows.
template <class D, int V>
void lines(const D* weights, int64_t taps, const D* first, const D* second, int64_t j, D* out, D* out_second) {
  constexpr int W = Simd<D>::width;
  Vector<D> sum[2][V] = {};
  for (int64_t b = 0; b < taps; ++b) {
    const D k = weights[b];
    for (int v = 0; v < V; ++v) {
      sum[0][v] += k * load(first + j + b + v * W);
      sum[1][v] += k * load(second + j + b + v * W);
    }
  }
  for (int v = 0; v < V; ++v) {
    store(out + j + v * W, sum[0][v]);
    store(out_second + j + v * W, sum[1][v]);
  }
}

// Calls run.operator()<V>(j) with up to kVectors vectors at a time, until they cover the columns.
template <class D, class F>
void over_columns(int64_t width, const F& run) {
  constexpr int64_t W = Simd<D>::width;
  for (int64_t j = 0; j < width; j += kVectors * W) {
    const int64_t left = (width - j + W - 1) / W;
    if (left >= kVectors) {
      run.template operator()<kVectors>(j);
    } else if (left == 3) {
      run.template operator()<3>(j);
    } else if (left == 2) {
      run.template operator()<2>(j);
    } else {
      run.template operator()<1>(j);
    }
  }
}

// Calls run(start, end) for pieces of the rows, on all workers that help.
template <class F>
void over_rows(int64_t height, Crew::Worker& worker, const F& run) {
  worker.parallel_for(static_cast<int>((height + kPiece - 1) / kPiece),
                      [&](int piece) { run(piece * kPiece, smaller((piece + 1) * kPiece, height)); });
}

// Row i of the image between `before` zeros and as many as make up the stride.
template <class D>
void pad_row(const Shape& s, const D* image, int64_t before, int64_t i, Rows<D> padded) {
  D* row = padded[i];
  zero(row, before);
  std::memcpy(row + before, image + i * s.width, static_cast<size_t>(s.width) * sizeof(D));
  zero(row + before + s.width, padded.stride - before - s.width);
}

template <class D>
bool direct(const Shape& s, const D* image, const D* kernel, D* out, Crew::Worker& worker) {
  Scratch& scratch = scratch_of(worker);
  const int64_t stride = whole_vectors<D>(s.width) + s.kernel_width - 1;
  const Rows<D> padded{scratch.padded.reserve<D>(s.height * stride), stride}, rows{out, s.width};
  D* numbers = scratch.weights.reserve<D>(weights_size(s.kernel_height, s.kernel_width));
  if (padded.data == nullptr || numbers == nullptr) return false;
  const Weights<D> weights = weights_of(kernel, s.kernel_height, s.kernel_width, s.transposed, numbers);
  over_rows(s.height, worker, [&](int64_t start, int64_t end) {
    for (int64_t i = start; i < end; ++i) pad_row(s, image, before_centre(s.kernel_width, s.transposed), i, padded);
  });
  over_rows(s.height, worker, [&](int64_t start, int64_t end) {
    for (int64_t i = start; i < end; i += kRows) {
      over_columns<D>(s.width, [&]<int V>(int64_t j) {
        tile<D, V>(weights, 1, {padded.data, stride}, s.height, i, j, s.width, rows);
      });
    }
  });
  return true;
}

template <class D>
bool separable(const Shape& s, const D* image, const D* y, const D* x, D* out, Crew::Worker& worker) {
  Scratch& scratch = scratch_of(worker);
  const int64_t width = whole_vectors<D>(s.width), stride = width + s.kernel_width - 1;
  const int64_t y_size = weights_size(s.kernel_height, 1), x_size = weights_size(1, s.kernel_width);
  const Rows<D> padded{scratch.padded.reserve<D>(s.height * stride), stride}, rows{out, s.width};
  const Rows<D> planes{scratch.planes.reserve<D>(s.rank * s.height * width), width};
  D* numbers = scratch.weights.reserve<D>(s.rank * (y_size + x_size));
  if (padded.data == nullptr || planes.data == nullptr || numbers == nullptr) return false;
  Weights<D> by_y{}, by_x{};
  for (int64_t r = s.rank; r-- > 0;) {
    by_y = weights_of(y + r * s.kernel_height, s.kernel_height, 1, s.transposed, numbers + r * y_size);
    by_x = weights_of(x + r * s.kernel_width, 1, s.kernel_width, s.transposed, numbers + s.rank * y_size + r * x_size);
  }
  over_rows(s.height, worker, [&](int64_t start, int64_t end) {
    for (int64_t i = start; i < end; i += 2) {
      const int64_t second = smaller(i + 1, end - 1);
      pad_row(s, image, before_centre(s.kernel_width, s.transposed), i, padded);
      pad_row(s, image, before_centre(s.kernel_width, s.transposed), second, padded);
      for (int64_t r = 0; r < s.rank; ++r) {
        over_columns<D>(s.width, [&]<int V>(int64_t j) {
          lines<D, V>(by_x.row(0) + r * x_size, s.kernel_width, padded[i], padded[second], j, planes[r * s.height + i],
                      planes[r * s.height + second]);
        });
      }
    }
  });
  over_rows(s.height, worker, [&](int64_t start, int64_t end) {
    for (int64_t i = start; i < end; i += kRows) {
      over_columns<D>(s.width, [&]<int V>(int64_t j) {
        tile<D, V>(by_y, s.rank, {planes.data, width}, s.height, i, j, s.width, rows);
      });
    }
  });
  return true;
}

}  // namespace
}  // namespace convolve

template <class D>
ConvolveKernels<D> convolve_kernels() {
  return {convolve::direct<D>, convolve::separable<D>, convolve::columns<D>, convolve::scatter<D>, convolve::gather<D>};
}
template ConvolveKernels<float> convolve_kernels<float>();
template ConvolveKernels<double> convolve_kernels<double>();

}  // namespace lenskern::LENSKERN_ISA
