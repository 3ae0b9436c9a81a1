"""Calls of Triton kernels from JAX, and why there are none where something is missing."""

import importlib.util

try:
    import jax_triton
except ImportError as error:
    MISSING = f"jax-triton cannot be imported ({error}); pip install 'lenskern[triton]'"
else:
    MISSING = None
    if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        MISSING = "jax-triton needs the CUDA plugin of jax; pip install 'jax[cuda13]'"

# Programs of a launch.
MOST_PROGRAMS = 2**31 - 1


def call(kernel, *operands, out, programs, warps, **constants):
    """Run a kernel.

    Parameters
    ----------
    kernel : triton.JITFunction
        Takes the operands, the pointer of the result, and the constants.
    *operands : arrays and ints
    out : jax.ShapeDtypeStruct
    programs : int
    warps : int
        Of a program.
    **constants
        Parameters of the kernel that are `constexpr`.

    Returns
    -------
    array

    Raises
    ------
    NotImplementedError
        For 2^31 programs or more.
    """
    if programs > MOST_PROGRAMS:
        raise NotImplementedError(
            f"backend 'triton' runs up to {MOST_PROGRAMS} programs in a call, got {programs}: take the lanes in "
            "several calls"
        )
    # Only ever called while a primitive of ours is lowered, where JAX looks for no dead code: the rule that jax-triton
    # 0.4 has for that does not fit JAX 0.12.
    return jax_triton.triton_call(
        *operands, kernel=kernel, out_type=out, grid=(programs,), num_warps=warps, num_stages=1, **constants
    )
