"""The command line: one file per command."""

from segcrf.cli.main import BAD_INPUT, FAULT, INTERRUPTED, TERMINATED, main

__all__ = ["BAD_INPUT", "FAULT", "INTERRUPTED", "TERMINATED", "main"]
