"""Events of BIDS (``*_events.tsv``): onset, duration and trial_type.

Times are seconds, and a duration of 0 is an instant, which is left out; n/a is no value. A file holds one recording,
called as the file without ``_events.tsv``. Source: Brain Imaging Data Structure 1.10, *Events*.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segcrf.data.files import write_atomically
from segcrf.data.formats.base import LabelFormat, check_characters, format_seconds, recording_of, to_bands
from segcrf.data.formats.tables import read_band_table

__all__ = ["BIDS"]

_ENDING = "events.tsv"


def _read(file: Path, sampling_rate: float | None) -> Any:
    table = read_band_table(file, missing=["n/a"])
    table = table[table["end"] != table["start"]].dropna(subset=["end"])
    table.attrs["unit"] = "seconds"
    return table.assign(recording=recording_of(file, _ENDING))


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters(bands, '\t\r\n"', "BIDS", recordings=False)
    lines = ["onset\tduration\ttrial_type\n"]
    for band in bands:
        times = f"{format_seconds(band.start)}\t{format_seconds(band.end - band.start)}"
        lines.append(f"{times}\t{band.label}\n")
    with write_atomically(file) as temporary:
        temporary.write_bytes("".join(lines).encode())


BIDS = LabelFormat("bids", (_ENDING,), _read, _write)
