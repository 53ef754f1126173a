"""The command line: one file per command."""

from segcrf.cli.main import main

__all__ = ["main"]
