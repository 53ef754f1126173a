"""The command line: one file per command."""

from segcrf.cli.main import BAD_INPUT, INTERRUPTED, main

__all__ = ["BAD_INPUT", "INTERRUPTED", "main"]
