"""Selection tables of Raven: columns separated by tabs, one row per selection and view.

Times are seconds, ends are exclusive. The views of a selection repeat its times, so the first row of each number
counts. The label is the column Annotation, Label or Species. A file holds one recording. Source: Raven Pro 1.6 user's
manual, *Selection tables*.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    recording_of,
    to_bands,
)
from segcrf.data.readers import TableError, listing

__all__ = ["RAVEN"]

_ENDING = ".selections.txt"
_TIMES = ("Begin Time (s)", "End Time (s)")
_LABELS = ("Annotation", "Label", "Species", "Common Name")


def _read(file: Path, sampling_rate: float | None) -> Any:
    rows = parse_rows(read_text(file), "\t", quoted=False)
    _, header = next(rows, (1, []))
    header = [name.strip() for name in header]
    label = next((name for name in _LABELS if name in header), "")
    if not label or not {"Selection", *_TIMES} <= {*header}:
        expected = f"Selection, {listing(_TIMES)} and one of {listing(_LABELS)}"
        got = f"the columns {listing(header)}"[:200]
        raise TableError("header", got, expected, "save the table with these measurements", file=file)
    bands: dict[str, Band] = {}
    name = recording_of(file, _ENDING)
    for row, fields in rows:
        if len(fields) != len(header):
            got, expected = f"{len(fields)} fields", f"{len(header)}, as in the header"
            raise TableError("", got, expected, "save the table again", file=file, row=row)
        cells = dict(zip(header, fields, strict=True))
        start, end = (parse_seconds(cells[column], f"column {column!r}", file, row) for column in _TIMES)
        bands.setdefault(cells["Selection"], Band(row, name, start, end, cells[label].strip()))
    return make_table(bands.values(), file)


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters(bands, "\t\r\n", "Raven", recordings=False)
    lines = ["\t".join(("Selection", "View", "Channel", *_TIMES, "Annotation"))]
    for number, band in enumerate(bands, start=1):
        times = format_seconds(band.start), format_seconds(band.end)
        lines.append("\t".join((str(number), "Waveform 1", "1", *times, band.label)))
    with write_atomically(file) as temporary:
        temporary.write_bytes(("\n".join(lines) + "\n").encode())


RAVEN = LabelFormat(
    "raven",
    (_ENDING,),
    _read,
    _write,
    found_in=(".txt", ".tsv"),
    recognises=lambda head: head.startswith("Selection\t"),
)
