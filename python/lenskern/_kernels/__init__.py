"""Kernel implementations: the compiled `_cpp` module, where it was built, and the Pallas kernels."""
