"""What formats of labels share: their description, their text, and the table of bands that each reads and writes."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from segcrf._validation import InputError
from segcrf.data.readers import TableError, import_pandas

__all__ = [
    "COLUMNS",
    "Band",
    "LabelFormat",
    "check_characters",
    "check_side_by_side",
    "format_seconds",
    "make_table",
    "parse_rows",
    "parse_seconds",
    "read_bytes",
    "read_text",
    "recording_of",
    "to_bands",
]

COLUMNS = ("recording", "start", "end", "label")
#: Largest file of labels, in bytes. A file beyond it is a recording, or an attack.
MOST_BYTES = 1 << 28
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Band(NamedTuple):
    """One band of a file.

    Attributes:
        row: line of the file, or number of the entry, from 1.
        recording: name.
        start: seconds.
        end: seconds, half-open.
        label: name of the class; "" is unlabelled.
        annotator: person or tier; "" if the file names none.
    """

    row: int
    recording: str
    start: float
    end: float
    label: str
    annotator: str = ""


@dataclass(frozen=True)
class LabelFormat:
    """A format of labels.

    Args:
        name: as ``format=`` takes it.
        endings: of file names, in lower case; the first is the usual one. A file so named is read and written in this
            format.
        read: returns the table of bands of a file, given its path and the sampling rate or None. ``attrs["unit"]`` of
            the table is the unit of its times: ``"seconds"`` from the start of the recording, ``"frames"``, or None
            where the file does not say it.
        write: writes a table of bands in seconds, given the table, the path and the sampling rate or None.
        found_in: other endings under which the content of a file decides.
        recognises: whether the first characters of a file are of this format.
        many: whether one file holds several recordings. Otherwise the recording has the name of its file.
    """

    name: str
    endings: tuple[str, ...]
    read: Callable[[Path, float | None], Any]
    write: Callable[[Any, Path, float | None], None]
    found_in: tuple[str, ...] = ()
    recognises: Callable[[str], bool] = lambda head: False
    many: bool = False


# ---------------------------------------------------------------------------------------------------------- reading
def read_bytes(file: Path) -> bytes:
    """Return the content of a file.

    Raises:
        TableError: the file is larger than a file of labels can be.
    """
    size = file.stat().st_size
    if size > MOST_BYTES:
        got, expected = f"{size:,} bytes", f"a file of labels, at most {MOST_BYTES:,} bytes"
        raise TableError("", got, expected, "is it a recording? labels are read apart from it", file=file)
    return file.read_bytes()


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark; line ends stay as they are.

    Raises:
        TableError: the file is not text.
    """
    content = read_bytes(file)
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        got, advice = f"byte {content[error.start]:#04x} at {error.start}", "save the file as UTF-8"
        raise TableError("", got, "text in UTF-8 or UTF-16", advice, file=file) from error
    if "\0" in text:
        raise TableError("", "binary data", "a text file", "check the format of the file", file=file)
    return text


def parse_rows(text: str, separator: str, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line and the fields of each row that is not empty.

    Args:
        text: of the file.
        separator: of fields.
        quoted: whether a field in quotation marks may hold separators and line ends.
    """
    if not quoted:
        for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
            if line.strip():
                yield number, line.split(separator)
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    before = 0
    for fields in reader:
        if any(field.strip() for field in fields):
            yield before + 1, fields
        before = reader.line_num


def parse_seconds(word: object, column: str, file: Path, row: int) -> float:
    """Return a time in seconds.

    Args:
        word: a number, or text such as "1.5" or "0:01:30.5".
        column: name of the field, for the error.
        file: of the time.
        row: of the time.

    Raises:
        TableError: it is no finite number.
    """
    seconds = math.nan
    if isinstance(word, (int, float)) and not isinstance(word, bool):
        seconds = float(word) if abs(word) < 1e300 else math.inf
    elif isinstance(word, str):
        seconds = _parse_clock(word.strip())
    if not math.isfinite(seconds):
        expected = "a number of seconds, or a clock time such as 0:01:30.5"
        raise TableError(column, repr(word)[:80], expected, "correct the value", file=file, row=row)
    return seconds


def recording_of(file: Path, ending: str = "") -> str:
    """Return the name of the recording that a file of labels belongs to: its name without the ending.

    Args:
        file: of the labels.
        ending: that the name may have; "": the last suffix.
    """
    if ending and file.name.lower().endswith(ending):
        return file.name[: -len(ending)].rstrip("._") or file.stem
    return file.stem


def make_table(bands: Iterable[Band], file: Path, unit: str = "seconds") -> Any:
    """Return bands as a table with the columns recording, start, end, label, and annotator if the file names any.

    Args:
        bands: in the order of the file. Instants, which cover no time, are left out.
        file: of the bands.
        unit: of their times: ``"seconds"`` or ``"frames"``.

    Raises:
        TableError: a band ends before it begins, or a name is not text.
    """
    kept: list[Band] = []
    for band in bands:
        if band.end < band.start:
            got = f"{band.end:g}, before the start {band.start:g}"
            raise TableError("end", got, "an end after the start", "exchange them", file=file, row=band.row)
        if band.end > band.start:
            kept.append(band)
        for name in (band.recording, band.label, band.annotator):
            if any("\ud800" <= letter <= "\udfff" for letter in name):
                got, expected = repr(name)[:80], "text in Unicode"
                raise TableError("label", got, expected, "save the file again", file=file, row=band.row)
    pd = import_pandas()
    table = {name: [getattr(band, name) for band in kept] for name in COLUMNS}
    index = pd.Index([band.row for band in kept], dtype="int64")
    frame = pd.DataFrame(table, index=index).astype({"start": "float64", "end": "float64"})
    if any(band.annotator for band in kept):
        frame["annotator"] = [band.annotator for band in kept]
    frame.attrs["unit"] = unit
    return frame


# ---------------------------------------------------------------------------------------------------------- writing
def to_bands(table: Any, file: Path) -> list[Band]:
    """Return the labelled bands of a table, in its order.

    Args:
        table: columns recording, start, end and label; times are seconds.
        file: to be written, for the error.

    Raises:
        InputError: times are dates or not finite.
    """
    columns = [table[name].tolist() for name in COLUMNS]
    bands: list[Band] = []
    for row, (recording, start, end, label) in enumerate(zip(*columns, strict=True)):
        if not all(isinstance(time, (int, float)) and math.isfinite(time) for time in (start, end)):
            got, expected = f"{start} to {end} in row {row}", "seconds from the start of the recording"
            raise InputError("bands", got, expected, f"convert them, or write .csv instead of {file.name}")
        if end <= start:
            raise InputError("bands", f"{start} to {end} in row {row}", "an end after the start", "leave it out")
        if str(label):
            bands.append(Band(row, str(recording), float(start), float(end), str(label)))
    return bands


def check_characters(bands: Sequence[Band], unwritable: str, kind: str, *, recordings: bool = True) -> None:
    """Check that a format can hold the names of bands.

    Args:
        bands: to be written.
        unwritable: characters that it cannot hold.
        kind: name of the format.
        recordings: whether names of recordings are written too.

    Raises:
        InputError: a name holds one of them.
    """
    for band in bands:
        for name in (band.label, *((band.recording,) if recordings else ())):
            found = sorted(set(name) & set(unwritable))
            if found:
                expected = f"no {found[0]!r}, which {kind} cannot hold"
                raise InputError("bands", f"the name {name!r}", expected, "rename it, or write .csv")


def check_side_by_side(bands: Sequence[Band], kind: str) -> list[Band]:
    """Return bands of one recording by their start, after checking that they do not overlap.

    Args:
        bands: to be written.
        kind: name of the format.

    Raises:
        InputError: two bands overlap.
    """
    ordered = sorted(bands, key=lambda band: band.start)
    for one, other in itertools.pairwise(ordered):
        if other.start < one.end:
            got = f"{one.label!r} until {one.end:g} and {other.label!r} from {other.start:g}"
            raise InputError("bands", got, f"bands side by side, as {kind} holds them", "cut one of the two")
    return ordered


def format_seconds(seconds: float) -> str:
    """Return seconds as digits without an exponent, so that they are read back exactly.

    Example:
        >>> format_seconds(1e-07), format_seconds(2.0)
        ('0.0000001', '2.0')
    """
    digits = repr(seconds)
    if "e" not in digits:
        return digits
    mantissa, _, exponent = digits.partition("e")
    places = max(len(mantissa.partition(".")[2]) - int(exponent), 1)
    return f"{seconds:.{places}f}"


def _parse_clock(word: str) -> float:
    """Return the seconds of "90.5", "1:30.5" or "0:01:30.5"; NaN: it is none of them."""
    try:
        parts = [math.nan if "_" in part else float(part) for part in word.split(":")]
    except ValueError:
        return math.nan
    if len(parts) == 1:
        return parts[0]
    if len(parts) > 3 or not all(0 <= part < 60 for part in parts[1:]) or parts[0] < 0:
        return math.nan
    seconds = 0.0
    for part in parts:
        seconds = 60 * seconds + part
    return seconds
