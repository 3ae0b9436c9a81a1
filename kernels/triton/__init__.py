"""Triton kernels, installed as `lenskern._kernels.triton`."""
