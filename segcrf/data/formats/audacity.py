"""Labels of Audacity: lines of start, end and label, separated by tabs.

Times are seconds, ends are exclusive. A line that begins with a backslash holds frequencies of the label before it and
is left out. A label track holds one recording. Source: Audacity manual, *Importing and Exporting Labels*.
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
from segcrf.data.readers import TableError

__all__ = ["AUDACITY"]


def _read(file: Path, sampling_rate: float | None) -> Any:
    bands: list[Band] = []
    for row, fields in parse_rows(read_text(file), "\t", quoted=False):
        if fields[0].startswith("\\"):
            continue
        if len(fields) not in (2, 3):
            got, expected = f"{len(fields)} fields", "start, end and label, separated by tabs"
            raise TableError("", got, expected, "name the format if it is another", file=file, row=row)
        start, end = (parse_seconds(fields[column], name, file, row) for column, name in ((0, "start"), (1, "end")))
        bands.append(Band(row, recording_of(file), start, end, "".join(fields[2:]).strip()))
    return make_table(bands, file)


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters(bands, "\t\r\n", "Audacity", recordings=False)
    lines = [f"{format_seconds(band.start)}\t{format_seconds(band.end)}\t{band.label}\n" for band in bands]
    with write_atomically(file) as temporary:
        temporary.write_bytes("".join(lines).encode())


AUDACITY = LabelFormat("audacity", (".txt",), _read, _write)
