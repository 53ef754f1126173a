"""Benchmarks: each command ``python -m benchmarks.NAME`` writes its measurements to ``results/NAME.json``."""
