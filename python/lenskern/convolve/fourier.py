"""Fourier transforms of small images as products with matrices, for the kernels that are made of products."""

import jax.numpy as jnp
import numpy as np

__all__ = ["matrices"]


def matrices(tall, wide, shape, dtype, rows_at_a_time, columns_at_a_time):
    """Real and imaginary parts of exp(−2πi f y / Fy) and exp(−2πi x f / Fx), and the scale of the inverse.

    Frequencies beyond the last, which fill up the last tile, have a scale of 0.

    Parameters
    ----------
    tall, wide : int
        Pixels along y and x.
    shape : (int, int)
        Of the transform of the kernel, (Fy, Fx / 2 + 1).
    dtype : dtype
        float32 or float64.
    rows_at_a_time, columns_at_a_time : int
        What the numbers of frequencies along y and x are made multiples of.

    Returns
    -------
    pair of arrays, shape (frequencies, tall)
    pair of arrays, shape (wide, frequencies)
    array, shape (frequencies, frequencies)
    """
    rows, half = shape
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
    return parts(high, tall, rows), parts(wide, low, columns), jnp.asarray(scale, dtype)
