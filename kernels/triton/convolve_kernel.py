"""The body of the convolution by Fourier transforms: one program takes one image there and back."""

import triton
import triton.language as tl


@triton.jit
def convolve_images(
    image,
    real,
    imag,
    row_real,
    row_imag,
    column_real,
    column_imag,
    height,
    width,
    out,
    LANES: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
    HIGH: tl.constexpr,
    LOW: tl.constexpr,
    FREQUENCIES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    # LANES says of the image and of the transform whether it has lanes: 0 where all share it. The frequencies along x
    # are taken in tiles: forward along both axes, times the kernel, and back.
    lane = tl.program_id(0).to(tl.int64)
    image += lane * LANES[0] * height * width
    real += lane * LANES[1] * HIGH * LOW
    imag += lane * LANES[1] * HIGH * LOW
    out += lane * height * width
    tall = tl.arange(0, TALL)
    for first in range(0, LOW, FREQUENCIES):
        f = first + tl.arange(0, FREQUENCIES)

        # Along x: sums over the columns of the image.
        a = tl.zeros([TALL, FREQUENCIES], out.dtype.element_ty)
        b = tl.zeros([TALL, FREQUENCIES], out.dtype.element_ty)
        for start in range(0, WIDE, COLUMNS):
            x = start + tl.arange(0, COLUMNS)
            inside = (tall[:, None] < height) & (x[None, :] < width)
            pixels = tl.load(image + tall[:, None] * width + x[None, :], mask=inside, other=0)
            at = x[:, None] * LOW + f[None, :]
            a = tl.dot(pixels, tl.load(column_real + at), a, input_precision="ieee", out_dtype=a.dtype)
            b = tl.dot(pixels, tl.load(column_imag + at), b, input_precision="ieee", out_dtype=b.dtype)

        # Along y, times the kernel, and back along y.
        back_a = tl.zeros([TALL, FREQUENCIES], out.dtype.element_ty)
        back_b = tl.zeros([TALL, FREQUENCIES], out.dtype.element_ty)
        for row in range(0, HIGH, ROWS):
            g = row + tl.arange(0, ROWS)
            c = tl.load(row_real + g[:, None] * TALL + tall[None, :])
            s = tl.load(row_imag + g[:, None] * TALL + tall[None, :])
            k = tl.load(real + g[:, None] * LOW + f[None, :])
            l = tl.load(imag + g[:, None] * LOW + f[None, :])
            u = tl.dot(c, a, input_precision="ieee", out_dtype=a.dtype)
            u = tl.dot(-s, b, u, input_precision="ieee", out_dtype=a.dtype)
            v = tl.dot(c, b, input_precision="ieee", out_dtype=a.dtype)
            v = tl.dot(s, a, v, input_precision="ieee", out_dtype=a.dtype)
            p = u * k - v * l
            q = u * l + v * k
            c = tl.trans(c)
            s = tl.trans(s)
            back_a = tl.dot(c, p, back_a, input_precision="ieee", out_dtype=a.dtype)
            back_a = tl.dot(s, q, back_a, input_precision="ieee", out_dtype=a.dtype)
            back_b = tl.dot(c, q, back_b, input_precision="ieee", out_dtype=a.dtype)
            back_b = tl.dot(-s, p, back_b, input_precision="ieee", out_dtype=a.dtype)

        # Back along x; the result is summed in memory, a few columns at a time.
        for start in range(0, WIDE, COLUMNS):
            x = start + tl.arange(0, COLUMNS)
            inside = (tall[:, None] < height) & (x[None, :] < width)
            to = out + tall[:, None] * width + x[None, :]
            total = tl.load(to, mask=inside & (first > 0), other=0)
            at = f[:, None] + x[None, :] * LOW
            total = tl.dot(back_a, tl.load(column_real + at), total, input_precision="ieee", out_dtype=a.dtype)
            total = tl.dot(back_b, tl.load(column_imag + at), total, input_precision="ieee", out_dtype=a.dtype)
            tl.store(to, total, mask=inside)
        tl.debug_barrier()  # what one thread has stored another may load
