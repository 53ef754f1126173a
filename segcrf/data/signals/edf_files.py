"""Reading of EDF, EDF+ and BDF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segcrf.data.readers.dependencies import import_reader
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.resampling import align_channels
from segcrf.data.readers.sheet import Sheet, distinct_names, sheet_of_arrays

__all__ = ["open_edf"]


def open_edf(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the only recording of an EDF or BDF file, in physical units, with seconds from its start.

    Channels of lower rates are interpolated to the highest one. Annotations are read as labels, not here.

    Args:
        file: a .edf or .bdf file.
        dialect: not used.

    Raises:
        ImportError: pyedflib is not installed.
        TableError: there is no signal.
    """
    pyedflib: Any = import_reader("pyedflib", "edf")
    with pyedflib.EdfReader(str(file), annotations_mode=pyedflib.DO_NOT_READ_ANNOTATIONS) as reader:
        if not reader.signals_in_file:
            raise TableError("", "no signal (annotations only?)", "signals", "give it as --labels", file=file)
        names, notes = distinct_names([label.strip() or "channel" for label in reader.getSignalLabels()])
        units = [reader.getPhysicalDimension(place).strip() for place in range(len(names))]
        named = [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units, strict=True)]
        channels = {
            name: (reader.readSignal(place), float(reader.getSampleFrequency(place)))
            for place, name in enumerate(named)
        }
    values, rate, said = align_channels(channels)
    return [sheet_of_arrays(None, values, rate, [*notes, *said])]
