"""Annotations of WFDB (PhysioNet): rhythms and other stretches in .atr files.

A band begins at an annotation with a text such as ``(AFIB``, and ends at the next such one; ``(`` alone begins an
unlabelled stretch. The last band ends with the recording, if its header (.hea) is beside the file. Annotations without
such a text, as of beats, are instants and are left out. Times are whole samples; the sampling rate is in the file, in
the header or given. Source: Moody, *WFDB Programmer's Guide*, annotation files.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from segcrf._validation import InputError, frames_per_second
from segcrf.data.files import write_atomically
from segcrf.data.formats.base import (
    Band,
    LabelFormat,
    check_characters,
    check_side_by_side,
    make_table,
    read_bytes,
    recording_of,
    to_bands,
)
from segcrf.data.readers import TableError

__all__ = ["WFDB"]

# Codes of annotations that carry no time of their own.
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63
_NOTE, _RHYTHM = 22, 28
_RATE = re.compile(r"## time resolution: ([0-9.eE+-]+)")
_STEP = 1023  # longest interval that a word holds


class _Mark(NamedTuple):
    row: int
    sample: int
    code: int
    text: str


def _read(file: Path, sampling_rate: float | None) -> Any:
    content = read_bytes(file)
    marks = list(_parse_marks(content, file))
    if not marks and len(content) > 2:
        raise TableError("", "no annotation", "a file of WFDB", "check the format of the file", file=file)
    rate, length = _read_header(file)
    noted = next((found[1] for mark in marks if (found := _RATE.match(mark.text))), None)
    if noted is not None:
        rate = _parse_rate(noted, file)
    rate = sampling_rate or rate
    if rate is None:
        expected = f"the rate in {file.with_suffix('.hea').name} beside it"
        raise TableError("sampling rate", "none in the file", expected, "give the sampling rate", file=file)
    if any(one.sample > other.sample for one, other in itertools.pairwise(marks)):
        raise TableError("", "samples that go backwards", "increasing ones", "copy the file again", file=file)
    borders = [mark for mark in marks if mark.text.startswith("(")]
    beats = sum(mark.code not in (0, _NOTE) for mark in marks) - len(borders)
    if beats and not borders:
        got, expected = f"{beats} instants such as beats", "stretches, such as of rhythms"
        raise TableError("", got, expected, "give annotations with texts such as (AFIB", file=file)
    last = max([mark.sample for mark in marks], default=0) if length is None else length
    ends = [mark.sample for mark in borders[1:]] + [last]
    name = recording_of(file)
    bands = [
        Band(mark.row, name, mark.sample / rate, max(end, mark.sample) / rate, mark.text[1:])
        for mark, end in zip(borders, ends, strict=False)
        if mark.text[1:]
    ]
    return make_table(bands, file)


def _parse_marks(content: bytes, file: Path) -> Iterator[_Mark]:
    """Yield the annotations of a file."""
    at, sample, row = 0, 0, 0
    pending: _Mark | None = None
    whole = len(content) - len(content) % 2
    while at < whole:
        (word,) = struct.unpack_from("<H", content, at)
        code, value = word >> 10, word & _STEP
        at += 2
        if code == 0 and value == 0:
            break
        if code == _SKIP:
            if at + 4 > whole:
                raise _cut_off(file, row)
            high, low = struct.unpack_from("<hH", content, at)
            sample, at = sample + (high << 16) + low, at + 4
        elif code == _AUX:
            text = content[at : at + value]
            if pending is None or len(text) < value:
                raise _cut_off(file, row)
            pending = pending._replace(text=_decode(text.rstrip(b"\0"), file, row))
            at += value + value % 2
        elif code not in (_NUM, _SUB, _CHN):
            if pending is not None:
                yield pending
            row, sample = row + 1, sample + value
            pending = _Mark(row, sample, code, "")
    else:
        raise _cut_off(file, row)
    if pending is not None:
        yield pending


def _cut_off(file: Path, row: int) -> TableError:
    got, expected = "the end of the file", "a mark that ends the annotations"
    return TableError("", got, expected, "copy the file again", file=file, row=row + 1)


def _decode(text: bytes, file: Path, row: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise TableError("text", repr(text)[:80], "text in UTF-8", file=file, row=row) from error


def _read_header(file: Path) -> tuple[float | None, int | None]:
    """Return samples per second and the length of the recording, from the header beside the file if there is one."""
    header = file.with_suffix(".hea")
    if not header.is_file():
        return None, None
    text = read_bytes(header).decode("utf-8", "replace")
    fields = next((line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")), [])
    rate = _parse_rate(re.split(r"[/(]", fields[2])[0], header) if len(fields) > 2 else 250.0  # WFDB's default
    return rate, int(fields[3]) if len(fields) > 3 and re.fullmatch(r"[1-9]\d{0,17}", fields[3]) else None


def _parse_rate(word: str, file: Path) -> float:
    try:
        return frames_per_second(float(word))
    except ValueError as error:
        advice = "correct the file"
        raise TableError("sampling rate", repr(word)[:80], "samples per second", advice, file=file) from error


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = check_side_by_side(to_bands(table, file), "WFDB")
    check_characters(bands, "\0", "WFDB", recordings=False)
    if sampling_rate is None:
        raise InputError("sampling_rate", "None", "samples per second, in which WFDB counts", "give it")
    marks: list[tuple[int, str]] = []
    for band in bands:
        start, end = round(band.start * sampling_rate), round(band.end * sampling_rate)
        if not 0 <= start < end < 1 << 31:
            got = f"a band from {band.start:g} to {band.end:g} at {sampling_rate:g} per second"
            raise InputError("bands", got, "a sample or more, from 0 on", "leave it out, or write .csv")
        if marks and marks[-1][0] == start:
            marks.pop()  # the end of the band before
        marks += [(start, f"({band.label}"), (end, "(")]
    content = [_encode(_NOTE, 0, f"## time resolution: {sampling_rate!r}")]
    before = 0
    for sample, text in marks:
        content.append(_encode(_RHYTHM, sample - before, text))
        before = sample
    with write_atomically(file) as temporary:
        temporary.write_bytes(b"".join(content) + b"\0\0")


def _encode(code: int, step: int, text: str) -> bytes:
    """Return an annotation so many samples after the one before."""
    encoded = text.encode()
    if len(encoded) > 255:
        raise InputError("bands", f"the name {text[1:81]!r}", "at most 254 bytes, as WFDB holds", "shorten it")
    skip = b"" if step <= _STEP else struct.pack("<HHH", _SKIP << 10, step >> 16, step & 0xFFFF)
    head = skip + struct.pack("<HH", code << 10 | (0 if skip else step), _AUX << 10 | len(encoded))
    return head + encoded + b"\0" * (len(encoded) % 2)


WFDB = LabelFormat("wfdb", (".atr",), _read, _write)
