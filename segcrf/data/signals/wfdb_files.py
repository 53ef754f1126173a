"""Reading of WFDB records, as PhysioNet has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segcrf.data.readers.dependencies import import_reader
from segcrf.data.readers.dialect import Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.resampling import align_channels
from segcrf.data.readers.sheet import Sheet, distinct_names, sheet_of_arrays

__all__ = ["open_wfdb"]


def open_wfdb(file: Path, dialect: Dialect) -> list[Sheet]:
    """Return the only recording of a WFDB record, in physical units, with seconds from its start.

    Args:
        file: the .hea file; the signal files it names lie beside it.
        dialect: not used.

    Raises:
        ImportError: wfdb is not installed.
        TableError: there is no signal.
    """
    wfdb: Any = import_reader("wfdb", "hea")
    record: Any = wfdb.rdrecord(str(file.with_suffix("")), smooth_frames=False, physical=True)
    signals: list[Any] = record.e_p_signal or []
    if not signals:
        raise TableError("", "a record without signals", "signals", file=file)
    names, notes = distinct_names([str(name) if name else "channel" for name in record.sig_name])
    named = [f"{name} [{unit}]" if unit else name for name, unit in zip(names, record.units, strict=True)]
    rates = [float(record.fs) * samples for samples in record.samps_per_frame]
    values, rate, said = align_channels(dict(zip(named, zip(signals, rates, strict=True), strict=True)))
    return [sheet_of_arrays(None, values, rate, [*notes, *said])]
