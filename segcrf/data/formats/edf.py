"""Annotations of EDF+ and BDF+, hypnograms among them.

Times are seconds from the start of the file, ends are exclusive. An annotation without a duration is an instant and is
left out. A file holds one recording; its signals are not read. Written files hold annotations alone. Source: Kemp and
Olivan (2003), *European data format "plus"*.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from segcrf._validation import InputError
from segcrf.data.files import write_atomically
from segcrf.data.formats.base import (
    Band,
    LabelFormat,
    check_characters,
    format_seconds,
    make_table,
    parse_seconds,
    read_bytes,
    recording_of,
    to_bands,
)
from segcrf.data.readers import TableError

__all__ = ["EDF"]

_FIXED = 256  # bytes of the header, and again for each signal
_SIGNALS_MOST = 4096
_ONSET = re.compile(rb"[+-]\d+(\.\d*)?")


def _read(file: Path, sampling_rate: float | None) -> Any:
    content = read_bytes(file)
    header, (start, size), record_size = _read_header(content, file)
    name, bands = recording_of(file), []
    for record, first in enumerate(range(header, len(content), record_size), start=1):
        piece = content[first + start : first + start + size]
        for onset, duration, label in _parse_annotations(piece, record, file):
            if duration > 0:
                bands.append(Band(record, name, onset, onset + duration, label))
    return make_table(sorted(bands, key=lambda band: band.start), file)


def _read_header(content: bytes, file: Path) -> tuple[int, tuple[int, int], int]:
    """Return bytes of the header, first byte and size of the annotations in a record, and bytes of a record."""
    bdf = content[:8] == b"\xffBIOSEMI"
    if not bdf and content[:8].strip() != b"0":
        raise TableError("", "no header of EDF", "a file in EDF+ or BDF+", "check the format", file=file)
    count = _parse_whole(content[252:256], "number of signals", file)
    if not 1 <= count <= _SIGNALS_MOST or len(content) < _FIXED * (count + 1):
        raise TableError("header", f"{count} signals in {len(content)} bytes", "a whole header", file=file)
    names = [content[_FIXED + 16 * i : _FIXED + 16 * (i + 1)].strip() for i in range(count)]
    at = _FIXED + 216 * count
    fields = [content[at + 8 * i : at + 8 * (i + 1)] for i in range(count)]
    width = 3 if bdf else 2
    sizes = [width * _parse_whole(field, "samples in a record", file) for field in fields]
    wanted = b"BDF Annotations" if bdf else b"EDF Annotations"
    if wanted not in names:
        got, advice = "signals without annotations", "give the file with the annotations"
        raise TableError("header", got, f"a signal called {wanted.decode()}", advice, file=file)
    place = names.index(wanted)
    if min(sizes) < 0 or sizes[place] < 1:
        raise TableError("header", "a record without samples", "1 or more", "copy the file again", file=file)
    return _FIXED * (count + 1), (sum(sizes[:place]), sizes[place]), sum(sizes)


def _parse_whole(field: bytes, what: str, file: Path) -> int:
    word = field.strip()
    if not re.fullmatch(rb"\d{1,8}", word):
        raise TableError(what, repr(word)[:80], "a whole number", "copy the file again", file=file)
    return int(word)


def _parse_annotations(piece: bytes, record: int, file: Path) -> list[tuple[float, float, str]]:
    """Return onset, duration and text of the annotations of a record."""
    found: list[tuple[float, float, str]] = []
    for entry in filter(None, piece.split(b"\0")):
        stamp, *texts = entry.split(b"\x14")
        onset, _, duration = stamp.partition(b"\x15")
        if not _ONSET.fullmatch(onset) or not texts or texts[-1]:
            got, expected = repr(entry)[:80], "an onset such as +1.5, a duration and a text"
            raise TableError("annotation", got, expected, "copy the file again", file=file, row=record)
        times = [parse_seconds(time.decode("ascii", "replace"), what, file, record) for time, what in (
            (onset, "onset"), (duration or b"0", "duration"))]  # fmt: skip
        for text in filter(None, texts):
            try:
                found.append((times[0], times[1], text.decode()))
            except UnicodeDecodeError as error:
                got, expected = repr(text)[:80], "text in UTF-8"
                raise TableError("annotation", got, expected, file=file, row=record) from error
    return found


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters(bands, "\0\x14\x15", "EDF+", recordings=False)
    entries = [
        f"{format_seconds(band.start) if band.start < 0 else '+' + format_seconds(band.start)}\x15"
        f"{format_seconds(band.end - band.start)}\x14{band.label}\x14\0".encode()
        for band in bands
    ]
    size = max([16, *(len(entry) + 16 for entry in entries)])
    size += size % 2
    if size > 61440:
        got, expected = f"{size} bytes in one annotation", "61,440 bytes, as a record of EDF+ holds"
        raise InputError("bands", got, expected, "shorten the names of classes")
    records = [b"+%d\x14\x14\0" % number + entry for number, entry in enumerate(entries)] or [b"+0\x14\x14\0"]
    header = (
        f"{'0':<8}{'X X X X':<80}{'Startdate X X X X':<80}01.01.8500.00.00{2 * _FIXED:<8}{'EDF+C':<44}"
        f"{len(records):<8}{1:<8}{1:<4}{'EDF Annotations':<16}{'':<80}{'':<8}{-1:<8}{1:<8}{-32768:<8}{32767:<8}"
        f"{'':<80}{size // 2:<8}{'':<32}"
    )
    with write_atomically(file) as temporary:
        temporary.write_bytes(header.encode() + b"".join(record.ljust(size, b"\0") for record in records))


EDF = LabelFormat("edf", (".edf", ".bdf"), _read, _write)
