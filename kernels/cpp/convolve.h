// Convolution of an image with a small or a separable kernel, as the handlers pass it to an instruction set.
#pragma once

#include <cstdint>

#include "by_isa.h"
#include "crew.h"

namespace lenskern {
namespace convolve {

// In each dimension, out[i] = sum_d k[c + d] x[i - d] with c = (n - 1) / 2 for n entries of the kernel and x = 0 beyond
// the image; transposed, x[i + d] stands in place of x[i - d].
struct Shape {
  int64_t height, width;                // of the image
  int64_t kernel_height, kernel_width;  // of the kernel
  int64_t rank;                         // products that the kernel is a sum of, for `separable`
  bool transposed;
};

// Images as the columns of a matrix, of which only some pixels are there.
struct Columns {
  int64_t height, width;                        // of the images
  int64_t kernel_height, kernel_width;          // of the kernel
  bool transposed;
  int64_t columns, inputs, outputs;             // columns of the matrix, its rows, and those of the result
  const int32_t *input_pixels, *output_pixels;  // (y, x) of each row; those beyond the images count for nothing
};

// Entries of the matrix, in any order; where a place has several it has their sum, and those beyond it count for nothing.
struct List {
  int64_t count;
  const int32_t *rows, *columns;
};

}  // namespace convolve

// All return false where memory ran out.
template <class D>
struct ConvolveKernels {
  // image and out (height, width), kernel (kernel_height, kernel_width).
  bool (*direct)(const convolve::Shape&, const D* image, const D* kernel, D* out, Crew::Worker&);
  // y (rank, kernel_height), x (rank, kernel_width).
  bool (*separable)(const convolve::Shape&, const D* image, const D* y, const D* x, D* out, Crew::Worker&);
  // matrix (inputs, columns), kernel (kernel_height, kernel_width), out (outputs, columns).
  bool (*columns)(const convolve::Columns&, const D* matrix, const D* kernel, D* out, Crew::Worker&);
  // values (count,) of the matrix, which is not there; and the transpose of it, from a matrix as `out` to those values.
  bool (*scatter)(const convolve::Columns&, const convolve::List&, const D* values, const D* kernel, D* out,
                  Crew::Worker&);
  bool (*gather)(const convolve::Columns&, const convolve::List&, const D* matrix, const D* kernel, D* values,
                 Crew::Worker&);
};

LENSKERN_DECLARE_BY_ISA(ConvolveKernels, convolve_kernels)

}  // namespace lenskern
