"""Kernels of the semi-Markov chain, one file per device and role."""
