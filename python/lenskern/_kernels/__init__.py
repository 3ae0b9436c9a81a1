"""Kernel implementations: the compiled `_cpp` module, where it was built, and those of Pallas and Triton."""
