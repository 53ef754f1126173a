"""Kernels of the linear chain: forward-backward and Viterbi, one file per device and role."""
