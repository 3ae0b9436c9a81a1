// Convolution of an image with a small or a separable kernel, as the handlers pass it to an instruction set.
#pragma once

#include <cstdint>

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

}  // namespace convolve

// Both return false where memory ran out.
template <class D>
struct ConvolveKernels {
  // image and out (height, width), kernel (kernel_height, kernel_width).
  bool (*direct)(const convolve::Shape&, const D* image, const D* kernel, D* out, Crew::Worker&);
  // y (rank, kernel_height), x (rank, kernel_width).
  bool (*separable)(const convolve::Shape&, const D* image, const D* y, const D* x, D* out, Crew::Worker&);
};

// Those of the processor that this runs on.
template <class D>
ConvolveKernels<D> convolve_kernels();

namespace baseline {
template <class D>
ConvolveKernels<D> convolve_kernels();
}
namespace avx2 {
template <class D>
ConvolveKernels<D> convolve_kernels();
}
namespace avx512 {
template <class D>
ConvolveKernels<D> convolve_kernels();
}

}  // namespace lenskern
