"""Benchmarks of lenskern against other packages: ``python -m lenskern.bench --help``."""
