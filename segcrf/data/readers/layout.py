"""The layout of a text table: encoding, lines before the header, separator, header and a row of units."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError

__all__ = ["Layout", "find_layout", "is_number"]

WHITE_SPACE = r"\s+"
_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE_BYTES = 1 << 18
_SAMPLE_LINES = 200
_CHUNK = 1 << 20
_COMMENT = re.compile(r"\s*(#|%|//)")
_NUMBER = re.compile(r"\s*[-+]?(\d[\d.,]*|[.,]\d+)([eE][-+]?\d+)?\s*")
_CLOCK = re.compile(r"\s*[-+]?\d{1,4}[-./:]\d{1,2}[-./:T ].*|\s*\d+:\d{2}.*")
_MISSING = re.compile(r"\s*(|-+|nan|na|n/a|null|none|\?)\s*", re.IGNORECASE)
_UNIT = re.compile(
    r"[\[(]?\s*(m?s|us|µs|ns|sec|min|h|m?g|m/s\^?2|m/s²|[mµuk]?V|[mµu]?A|k?W|k?N|k?Pa|k?Hz|deg|rad|°|°?C|K|%|deg/s|°/s"
    r"|rad/s|dps|px|[mck]?m|lux|[µu]?T|bpm|a\.?u\.?|hh:mm:ss.*|-*|n/?a|)\s*[\])]?",
    re.IGNORECASE,
)


class Layout(NamedTuple):
    r"""How a text table is laid out.

    Attributes:
        encoding: of the text.
        separator: of columns; ``\s+`` for white space.
        first: lines before the first row of data.
        names: of the columns, as they are written; a column without a name has ``""``.
        notes: what was recognised, a sentence each.
    """

    encoding: str
    separator: str
    first: int
    names: list[str]
    notes: tuple[str, ...]


def find_layout(file: Path, dialect: Dialect) -> Layout:
    """Recognise the layout of a text table by its first 200 lines.

    Args:
        file: a text file, perhaps compressed by gzip.
        dialect: what the user states about it.

    Raises:
        TableError: the file is empty, or its text cannot be decoded.
    """
    encoding, note = _find_encoding(file, dialect)
    notes = [note] if note else []
    with _open_bytes(file) as stream:
        text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(stream.read(_SAMPLE_BYTES))
    lines = re.split(r"\r\n|\r|\n", text)[:_SAMPLE_LINES]
    shown = [number for number, line in enumerate(lines) if line.strip() and not _COMMENT.match(line)]
    if not shown:
        raise TableError("", "an empty file", "a header and one row per frame", file=file)
    separator, width = _find_separator([lines[number] for number in shown], file, dialect)
    rows = {number: _cells(lines[number], separator) for number in shown}
    header = _find_header(rows, width)
    names, first = rows[header], header + 1
    before = [number for number in shown if number < header]
    commented = _commented_header(lines[:header], separator, width)
    if before:
        notes.append(f"{len(before)} lines before the header in line {header + 1} are left out")
    below = [rows[number] for number in shown if number > header][:2]
    if not before and _is_data(names, below):
        first = header
        if commented is not None and not _is_data(commented, below):
            names = commented
            notes.append("the header is the last line of comments")
        else:
            names = [f"column {number}" for number in range(1, len(names) + 1)]
            notes.append(f"there is no header; the columns are called column 1 to column {len(names)}")
    elif _is_units(names, below):
        first = next(number for number in shown if number > header) + 1
        notes.append(f"the row of units in line {first} is left out")
    if separator not in (",", "\t"):
        shown_as = "white space" if separator == WHITE_SPACE else f"'{separator}'"
        notes.append(f"columns are separated by {shown_as}")
    names = [name.strip().strip("\ufeff") for name in names]
    if width == len(names) + 1 and all(len(row) != width or not row[-1].strip() for row in rows.values()):
        names.append("")  # a separator at the end of every row but the header
    return Layout(encoding, separator, first, names, tuple(notes))


def _find_encoding(file: Path, dialect: Dialect) -> tuple[str, str]:
    """Return the encoding of a file, and a note unless it is UTF-8.

    Args:
        file: a text file, perhaps compressed by gzip.
        dialect: what the user states about it.

    Raises:
        TableError: the bytes are neither UTF-8, UTF-16 with a mark of order, nor Windows-1252.
    """
    with _open_bytes(file) as stream:
        start = stream.read(4096)
        if dialect.encoding is not None:
            named = codecs.lookup(dialect.encoding).name
            encoding = "utf-8-sig" if named == "utf-8" else dialect.encoding
        elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16", "the text is UTF-16"
        elif len(start) >= 4 and (start[1::2].count(0), start[::2].count(0)) == (len(start) // 2, 0):
            return "utf-16-le", "the text is UTF-16"
        else:
            encoding = "utf-8-sig"
        wrong = _first_undecodable(stream, start, encoding)
    if wrong is None:
        return encoding, ""
    row, line = wrong
    if dialect.encoding is not None:
        raise _undecodable(file, row, f"text in {dialect.encoding}", "leave --encoding out, or name another")
    if len(line) > 10_000 or b"\0" in line or b"\0" in start:
        raise _undecodable(file, row, "text in UTF-8", "export the table as text, or give the file its own ending")
    with _open_bytes(file) as stream:
        other = _first_undecodable(stream, b"", "cp1252")
    if other is not None:
        advice = "save it as UTF-8, or name its encoding: --encoding NAME"
        raise _undecodable(file, other[0], "text in UTF-8, UTF-16 or Windows-1252", advice)
    words = re.findall(r"\w*[^\x00-\x7f]\w*", line.decode("cp1252"))
    example = f" and reads {words[0]!r} in line {row}" if words else ""
    return "cp1252", f"the text is not UTF-8; it is taken for Windows-1252{example} (otherwise: --encoding NAME)"


def _open_bytes(file: Path) -> Any:
    """Open a text file for its bytes, uncompressed.

    Args:
        file: the file; an ending ``.gz`` says that it is compressed.
    """
    return gzip.open(file, "rb") if file.name.lower().endswith(".gz") else file.open("rb")


def is_number(word: str) -> bool:
    """Return whether a cell looks like a number, with a point or a comma for decimals.

    Args:
        word: the text of the cell.

    Example:
        >>> is_number("-1,5e3"), is_number("12:30")
        (True, False)
    """
    return _NUMBER.fullmatch(word) is not None


def _undecodable(file: Path, row: int, expected: str, advice: str) -> TableError:
    return TableError("", "bytes that are not such text", expected, advice, file=file, row=row)


def _first_undecodable(stream: Any, start: bytes, encoding: str) -> tuple[int, bytes] | None:
    """Return the number and the bytes of the first line that cannot be decoded, or None."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines, chunk = 1, start or stream.read(_CHUNK)
    while chunk:
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            # The object of the error begins with what was left of the last piece.
            position = max(error.start - (len(error.object) - len(chunk)), 0)
            begin = max(chunk.rfind(b"\n", 0, position), chunk.rfind(b"\r", 0, position)) + 1
            end = re.compile(rb"[\r\n]|$").search(chunk, position)
            assert end is not None
            return lines + chunk.count(b"\n", 0, position), chunk[begin : end.start()]
        lines += chunk.count(b"\n")
        chunk = stream.read(_CHUNK)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return lines, b""
    return None


def _find_separator(lines: Sequence[str], file: Path, dialect: Dialect) -> tuple[str, int]:
    """Return the separator that gives most lines the same number of cells, and that number."""
    candidates = _SEPARATORS
    if dialect.separator is not None:
        candidates = (WHITE_SPACE if dialect.separator == " " else dialect.separator,)
    elif re.search(r"\.tsv(\.gz)?$", file.name.lower()):
        candidates = ("\t",)
    best, separator, width = (-1.0, -1, 0), candidates[0], 1
    for candidate in candidates:
        counts = [len(_cells(line, candidate)) for line in lines]
        common, often = Counter(counts).most_common(1)[0]
        # Of equal ones, the first line decides, as a header has no decimal commas.
        score = (often / len(counts), counts[0], common) if common > 1 else (0.0, counts[0], common)
        if score > best:
            best, separator, width = score, candidate, common
    if width == 1 and dialect.separator is None and candidates == _SEPARATORS:
        rows = [_cells(line, WHITE_SPACE) for line in lines]
        common, often = Counter(map(len, rows)).most_common(1)[0]
        body = [row for row in rows if len(row) == common][1:]
        numeric = sum(_is_data(row, []) for row in body)
        if common > 1 and often >= 0.9 * len(rows) and body and numeric >= 0.9 * len(body):
            return WHITE_SPACE, common
    return separator, width


def _cells(line: str, separator: str) -> list[str]:
    if separator == WHITE_SPACE:
        return line.split()
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _find_header(rows: dict[int, list[str]], width: int) -> int:
    """Return the number of the line that has the header: the first of the table, or the one before it."""
    numbers = list(rows)
    if len(rows[numbers[0]]) >= width:
        return numbers[0]
    for place, number in enumerate(numbers):
        if len(rows[number]) != width:
            continue
        if _is_data(rows[number], [rows[each] for each in numbers[place + 1 : place + 3]]):
            return numbers[max(place - 1, 0)]  # the header has fewer names than the rows have cells
        return number
    return numbers[0]


def _commented_header(lines: Sequence[str], separator: str, width: int) -> list[str] | None:
    """Return the cells of the last line of comments if they are as many as the columns."""
    for line in reversed(lines):
        if _COMMENT.match(line):
            cells = _cells(_COMMENT.sub("", line, count=1).strip(), separator)
            return cells if len(cells) == width and width > 1 else None
    return None


def _is_data(cells: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Return whether a row holds numbers or times rather than names.

    Counted names (0, 1, 2, ...) are a header. Beside words, a number means data only if it is no whole number, and if
    there is a number below it.
    """
    if [cell.strip() for cell in cells] == [str(number) for number in range(len(cells))] and len(cells) > 1:
        return False
    filled = [cell for cell in cells if not _MISSING.fullmatch(cell)]
    if filled and all(map(_is_value, filled)):
        return True
    pairs = ((cell, under) for row in below[:1] for cell, under in zip(cells, row, strict=False))
    return any(_is_value(cell) and _is_value(under) and not cell.strip().isdecimal() for cell, under in pairs)


def _is_value(cell: str) -> bool:
    return is_number(cell) or _CLOCK.fullmatch(cell) is not None


def _is_units(names: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Return whether the row below the header has units only, and the next one numbers."""
    if len(below) < 2 or len(below[0]) != len(names):
        return False
    units = [cell.strip() for cell in below[0]]
    numeric = [unit for unit, cell in zip(units, below[1], strict=False) if is_number(cell)]
    known = bool(numeric) and all(_UNIT.fullmatch(unit) and not _MISSING.fullmatch(unit) for unit in numeric)
    return known and not any(is_number(unit) for unit in units)
