"""Sequences of crowsetta (``generic-seq``): CSV with label, onset_s, offset_s and notated_path.

Times are seconds, ends are exclusive. The recording is the name of the file in notated_path. Where there are no
columns in seconds, those in samples are frames. Source: crowsetta 5, *generic-seq*.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segcrf._validation import InputError
from segcrf.data.files import write_atomically
from segcrf.data.formats.base import LabelFormat, check_characters, to_bands
from segcrf.data.formats.tables import read_band_table
from segcrf.data.readers import import_pandas

__all__ = ["CROWSETTA"]


def _read(file: Path, sampling_rate: float | None) -> Any:
    return read_band_table(file)


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters([band._replace(label="") for band in bands], "/\\", "a file name of crowsetta")
    places: dict[str, int] = {}
    for band in bands:
        if not band.recording:
            raise InputError("bands", "a recording without a name", "a name", "name it, or write .csv")
        places.setdefault(band.recording, len(places))
    columns: dict[str, list[Any]] = {
        "label": [band.label for band in bands],
        "onset_s": [band.start for band in bands],
        "offset_s": [band.end for band in bands],
        "notated_path": [f"{band.recording}.wav" for band in bands],
        "annot_path": [file.name for _ in bands],
        "sequence": [0 for _ in bands],
        "annotation": [places[band.recording] for band in bands],
    }
    with write_atomically(file) as temporary:
        import_pandas().DataFrame(columns).to_csv(temporary, index=False, encoding="utf-8")


CROWSETTA = LabelFormat(
    "crowsetta",
    (".seq.csv",),
    _read,
    _write,
    found_in=(".csv",),
    recognises=lambda head: {"label", "notated_path", "sequence"} <= {*head.partition("\n")[0].strip().split(",")},
    many=True,
)
