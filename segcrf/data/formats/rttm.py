"""RTTM: one line of ten fields per band, separated by spaces.

``SPEAKER recording 1 start duration <NA> <NA> label <NA> <NA>``. Times are seconds. A file holds many recordings.
Lines of other types, and comments that begin with ;; are left out. Source: NIST, Rich Transcription 2009 evaluation
plan, appendix A.
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
    parse_rows,
    parse_seconds,
    read_text,
    to_bands,
)
from segcrf.data.readers import TableError

__all__ = ["RTTM"]


def _read(file: Path, sampling_rate: float | None) -> Any:
    bands: list[Band] = []
    for row, (line,) in parse_rows(read_text(file), "\n", quoted=False):
        fields = re.split(r"[ \t]+", line.strip(" \t"))
        if line.startswith(";;"):
            continue
        if not 9 <= len(fields) <= 10 or not fields[0].isupper():
            got, expected = f"{len(fields)} fields", "9 or 10, and first a type such as SPEAKER"
            raise TableError("", got, expected, "name the format if it is another", file=file, row=row)
        if fields[0] == "SPEAKER":
            start = parse_seconds(fields[3], "start", file, row)
            duration = parse_seconds(fields[4], "duration", file, row)
            bands.append(Band(row, fields[1], start, start + duration, fields[7]))
    return make_table(bands, file)


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters(bands, " \t\r\n", "RTTM")
    lines: list[str] = []
    for band in bands:
        if not band.recording:
            raise InputError("bands", "a recording without a name", "a name", "name it, or write .csv")
        times = f"{format_seconds(band.start)} {format_seconds(band.end - band.start)}"
        lines.append(f"SPEAKER {band.recording} 1 {times} <NA> <NA> {band.label} <NA> <NA>\n")
    with write_atomically(file) as temporary:
        temporary.write_bytes("".join(lines).encode())


RTTM = LabelFormat("rttm", (".rttm",), _read, _write, many=True)
