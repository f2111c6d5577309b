"""Compiled loops for training on a CPU, with Numba: no torch, and Numba only once a kernel is asked for."""
