"""Convolution as products with matrices of cosines and sines, for the kernels that are made of products."""

import jax.numpy as jnp
import numpy as np

__all__ = ["operands"]


def operands(tall, wide, transform, dtype, rows_at_a_time, columns_at_a_time, transposed):
    """The kernel's transform, scaled for the way back, and the matrices exp(−2πi f y / Fy) and exp(−2πi x f / Fx).

    Frequencies beyond the last, which fill up the last tile, have a transform of 0.

    Parameters
    ----------
    tall, wide : int
        Pixels along y and x.
    transform : array, shape (B, Fy, Fx / 2 + 1)
        Complex, of the kernel.
    dtype : dtype
        float32 or float64.
    rows_at_a_time, columns_at_a_time : int
        What the numbers of frequencies along y and x are made multiples of.
    transposed : bool
        Correlate in place of convolving.

    Returns
    -------
    pair of arrays, shape (B, frequencies, frequencies)
        Real and imaginary parts, as of the matrices.
    pair of arrays, shape (frequencies, tall)
    pair of arrays, shape (wide, frequencies)
    """
    rows, half = transform.shape[1:]
    columns = 2 * (half - 1)
    high, low = (-(-n // step) * step for n, step in ((rows, rows_at_a_time), (half, columns_at_a_time)))

    def parts(a, b, n):
        # Whole turns are taken off as integers, which keeps the digits of the angle.
        angle = -2 * np.pi * (np.outer(np.arange(a), np.arange(b)) % n) / n
        return jnp.asarray(np.cos(angle), dtype), jnp.asarray(np.sin(angle), dtype)

    scale = np.zeros((high, low))
    # A real transform leaves out the frequencies that mirror those between the first and the last.
    scale[:rows, :half] = 2 / (rows * columns)
    scale[:, [0, half - 1]] /= 2
    scaled = jnp.pad(transform, [(0, 0), (0, high - rows), (0, low - half)]) * jnp.asarray(scale, dtype)
    real_imag = scaled.real, -scaled.imag if transposed else scaled.imag
    return real_imag, parts(high, tall, rows), parts(wide, low, columns)
