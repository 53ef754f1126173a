"""The command ``segcrf``: its parser, exit codes, and errors in one line.

Recordings are long tables in CSV or Parquet (:mod:`segcrf.data.readers`). An error is one line on stderr that says what
was wrong and what to do; ``--debug`` shows where it happened. Oddities that are no errors are reported on stderr, in
lines that begin with ``segcrf: warning``. Exit codes:

* 0: done;
* 1: a fault of segcrf, or the memory was not enough;
* 2: the arguments or the input cannot be used;
* 130, 143: interrupted, terminated.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from segcrf.cli.convert import add_convert_command
from segcrf.cli.demo import add_demo_command
from segcrf.cli.doctor import add_doctor_command
from segcrf.cli.export import add_export_command
from segcrf.cli.fit import add_fit_command
from segcrf.cli.messages import describe_fault, in_one_line, show_warning
from segcrf.cli.predict import add_predict_command
from segcrf.cli.score import add_score_command
from segcrf.cli.stream import add_stream_command

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

__all__ = ["BAD_INPUT", "FAULT", "INTERRUPTED", "TERMINATED", "main", "parser"]

#: Exit code of a fault of segcrf itself, and when memory was not enough.
FAULT = 1
#: Exit code when the arguments or the input are at fault.
BAD_INPUT = 2
#: Exit code when the command was interrupted.
INTERRUPTED = 130
#: Exit code when the command was terminated.
TERMINATED = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The exit code, see above.

    Example:
        >>> main(["score", "missing.csv", "--model", "nowhere"])
        2
    """
    arguments = parser().parse_args(argv)
    try:
        with warnings.catch_warnings(), _ended_by_termination():
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
    except _Terminated:
        print("segcrf: terminated", file=sys.stderr)
        return TERMINATED
    except Exception as error:
        if arguments.debug:
            raise
        print(f"segcrf: error: {describe_fault(error)}", file=sys.stderr)
        return FAULT


class _Terminated(BaseException):
    """SIGTERM came in."""


@contextlib.contextmanager
def _ended_by_termination() -> Generator[None, None, None]:
    """Let SIGTERM end the command as an exception does, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> NoReturn:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the message with the command that has the help, and exit with code 2."""
        print(f"segcrf: error: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    codes = "Exit codes: 0 done; 1 a fault of segcrf, or too little memory; 2 the arguments or the input cannot be"
    codes += " used; 130 interrupted; 143 terminated."
    root = Parser(prog="segcrf", description="Solid class bands from long signals.", epilog=codes)
    names = "demo | fit | predict | score | convert | stream | export | doctor"
    commands = root.add_subparsers(required=True, metavar=names, parser_class=Parser)
    add_demo_command(commands)
    add_fit_command(commands)
    add_predict_command(commands)
    add_score_command(commands)
    add_convert_command(commands)
    add_stream_command(commands)
    add_export_command(commands)
    add_doctor_command(commands)
    return root
