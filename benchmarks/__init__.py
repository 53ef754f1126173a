"""Benchmarks: each is a command, ``python -m benchmarks.NAME``, that writes what it measured to
``results/NAME.json``."""
