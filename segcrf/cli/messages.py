"""What commands print on stderr: warnings, and errors of Python's parameters in the words of the command line."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from segcrf._validation import InputError, InputTypeError
from segcrf.cli.options import OPTION_OF
from segcrf.data import TableError

if TYPE_CHECKING:
    from collections.abc import Generator

    from segcrf.data import RecordingTable

__all__ = [
    "count",
    "describe_fault",
    "in_one_line",
    "naming_options_and_rows",
    "say",
    "show_warning",
    "warn",
]


@contextlib.contextmanager
def naming_options_and_rows(
    recordings: RecordingTable, validation: RecordingTable | None = None
) -> Generator[None, None, None]:
    """Let input errors name options as they are typed, and recordings and rows as the table does.

    Args:
        recordings: the recordings that the command works on.
        validation: recordings for validation, if others were given.
    """
    try:
        yield
    except TableError:
        raise
    except (InputError, InputTypeError) as error:
        raise _translate(error, recordings, validation) from error


def _translate(
    error: InputError | InputTypeError, recordings: RecordingTable, validation: RecordingTable | None
) -> InputError:
    """Return the error with an option or a column for the argument, a name for the recording, a row for the frame."""
    origin, _, rest = error.argument.rpartition(": ")
    table = validation if origin == "validation" and validation is not None else recordings
    parameter, _, _ = rest.partition(" ")  # without what may follow it in brackets
    recording, row = error.recording, None
    if isinstance(recording, int) and 0 <= recording < len(table.names):
        row = table.row_of(recording, error.frame)
        recording = table.names[recording]
    columns = _columns_of(parameter, table)
    argument = columns or OPTION_OF.get(parameter, error.argument)
    if columns is None and recording is None:
        return InputError(argument, error.got, error.expected, error.advice, frame=error.frame)
    file = table.source
    return TableError(
        argument,
        error.got,
        error.expected,
        error.advice,
        file=file,
        row=row,
        recording=recording,
        frame=error.frame,
    )


def _columns_of(parameter: str, table: RecordingTable) -> str | None:
    """Return the columns that were given as a parameter of ``fit`` or ``predict``; None: it was none."""
    columns = table.columns
    if parameter == "X":
        return f"channels {', '.join(columns.channels or ())}"
    if parameter == "y":
        return f"column {columns.label!r}"
    if parameter == "targets" and columns.targets:
        return f"targets {', '.join(columns.targets)}"
    return None


def warn(*texts: str) -> None:
    """Print warnings on stderr, each in one line.

    Args:
        texts: the warnings.
    """
    for text in texts:
        print(f"segcrf: warning: {_printable(' '.join(text.split()))}", file=sys.stderr)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning of Python in one line, without its place in the code.

    Args:
        message: the warning.
    """
    warn(str(message))


def in_one_line(error: BaseException) -> str:
    """Return the text of an error in one line that a terminal can show.

    Args:
        error: any error; its type is the text if it has none.
    """
    return _printable(" ".join(str(error).split())) or type(error).__name__


def describe_fault(error: BaseException) -> str:
    """Return the text of an error that is not one of the input.

    Args:
        error: any error; one without memory is known by its type or, from PyTorch, by its text.
    """
    text = in_one_line(error)
    if isinstance(error, MemoryError) or "not enough memory" in text or "out of memory" in text:
        advice = "give fewer or shorter recordings at a time, or a machine with more memory"
        return f"memory is not enough ({text}); {advice}"
    kind = type(error).__name__
    described = kind if text == kind else f"{kind}: {text}"
    return f"a fault of segcrf ({described}); run the command again with --debug, and report what it prints"


def say(text: object) -> None:
    """Print a result on stdout, with control characters as escapes.

    Args:
        text: one line or more.
    """
    print("\n".join(map(_printable, str(text).split("\n"))))


def _printable(text: str) -> str:
    r"""Return a text with control characters written as escapes: they could move the cursor or change colours.

    Args:
        text: of a file or a user.

    Example:
        >>> print(_printable("on\x1b[31m"))
        on\x1b[31m
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun.

    Args:
        number: of things.
        one: the noun in the singular.
        many: in the plural; None: with an s.

    Example:
        >>> count(1, "band"), count(1200, "band")
        ('1 band', '1,200 bands')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
