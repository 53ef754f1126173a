"""Reading of sound files."""

from __future__ import annotations

from pathlib import Path

from segcrf.data.readers.dependencies import import_reader
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.sheet import Sheet, sheet_of_arrays

__all__ = ["open_audio"]


def open_audio(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the only recording of a sound file, with amplitudes of -1 to 1.

    Args:
        file: a .wav or .flac file.
        dialect: not used.

    Raises:
        ImportError: soundfile is not installed.
    """
    samples, rate = import_reader("soundfile", file.suffix[1:]).read(file, dtype="float32", always_2d=True)
    columns = {f"channel {place}": samples[:, place] for place in range(samples.shape[1])}
    return [sheet_of_arrays(None, columns, float(rate))]
