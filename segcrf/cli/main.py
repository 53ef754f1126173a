"""The command ``segcrf``: its parser, exit codes, and errors in one line.

Recordings are long tables in CSV or Parquet (:mod:`segcrf.data.readers`). Bad input ends with exit code 2 and one line
that says what was wrong and what to do; ``--debug`` shows where it happened. Oddities that are no errors are reported
on stderr, in lines that begin with ``segcrf: warning``.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING, NoReturn

from segcrf.cli.convert import add_convert_command
from segcrf.cli.demo import add_demo_command
from segcrf.cli.export import add_export_command
from segcrf.cli.fit import add_fit_command
from segcrf.cli.messages import in_one_line, show_warning
from segcrf.cli.predict import add_predict_command
from segcrf.cli.score import add_score_command
from segcrf.cli.stream import add_stream_command

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BAD_INPUT", "INTERRUPTED", "main", "parser"]

#: Exit code when the input is at fault.
BAD_INPUT = 2
#: Exit code when the command was interrupted.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        0, or 2 when the input is at fault, or 130 when interrupted, or 143 when a stream was terminated.

    Example:
        >>> main(["score", "missing.csv", "--model", "nowhere"])
        2
    """
    arguments = parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return arguments.run(arguments) or 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        if arguments.debug:
            raise
        print(f"segcrf: error: {in_one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("segcrf: interrupted", file=sys.stderr)
        return INTERRUPTED


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the message with the command that has the help, and exit with code 2."""
        print(f"segcrf: error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    root = Parser(prog="segcrf", description="Solid class bands from long signals.")
    names = "demo | fit | predict | score | convert | stream | export"
    commands = root.add_subparsers(required=True, metavar=names, parser_class=Parser)
    add_demo_command(commands)
    add_fit_command(commands)
    add_predict_command(commands)
    add_score_command(commands)
    add_convert_command(commands)
    add_stream_command(commands)
    add_export_command(commands)
    return root
