"""Pallas kernels, installed as `lenskern._kernels.pallas`."""
