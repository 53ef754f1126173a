"""Kernels of the linear chain, one file per device and role."""
