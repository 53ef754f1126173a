"""Kernels: how the scans of structures are made fast, on CPUs and GPUs."""

from segcrf.kernels.operator import BACKENDS, Operator, agreeing, clamp, empty_beside, pick, time_first, working_dtype

__all__ = ["BACKENDS", "Operator", "agreeing", "clamp", "empty_beside", "pick", "time_first", "working_dtype"]
