"""What a file does not say about itself: recognised, or stated by the user."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from segcrf._validation import InputError, check_choice, check_positive

__all__ = ["DATE_ORDERS", "Dialect"]

#: Orders of day, month and year in dates that are written as numbers.
DATE_ORDERS = ("dmy", "mdy", "ymd")


@dataclass(frozen=True)
class Dialect:
    """How files are written, where that is not to be recognised. None: it is recognised, and a note says how.

    Args:
        encoding: of text, such as ``"cp1252"``.
        separator: of columns in text: one character, or ``" "`` for any white space.
        decimal: ``"."`` or ``","``, the mark of decimals in text.
        dates: ``"dmy"``, ``"mdy"`` or ``"ymd"``, the order of day, month and year in dates of numbers.
        time_zone: of dates that state none, such as ``"Europe/Berlin"``. None: UTC.
        sampling_rate: frames per second of files that state neither times nor a rate.
        variable: the sheet of a workbook, the array of a .npz or .mat file, or the series of an NWB file to read.
            None: all, or the only one.

    Raises:
        InputError: a value is not one of these.

    Example:
        >>> Dialect(decimal=",", dates="dmy").dates
        'dmy'
    """

    encoding: str | None = None
    separator: str | None = None
    decimal: str | None = None
    dates: str | None = None
    time_zone: str | None = None
    sampling_rate: float | None = None
    variable: str | None = None

    def __post_init__(self) -> None:
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                expected = "an encoding that Python knows, such as utf-8 or cp1252"
                raise InputError("encoding", repr(self.encoding), expected) from error
        if self.separator is not None and len(self.separator) != 1:
            raise InputError("separator", repr(self.separator), "one character")
        if self.decimal is not None:
            check_choice(self.decimal, "decimal", (".", ","))
        if self.dates is not None:
            check_choice(self.dates, "dates", DATE_ORDERS)
        if self.sampling_rate is not None:
            check_positive(self.sampling_rate, "sampling_rate")
