"""Files of labels in any format: which format a file has, reading and writing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrf._validation import InputError, frames_per_second
from segcrf.data.formats.audacity import AUDACITY
from segcrf.data.formats.base import LabelFormat
from segcrf.data.formats.bids import BIDS
from segcrf.data.formats.boris import BORIS
from segcrf.data.formats.crowsetta import CROWSETTA
from segcrf.data.formats.edf import EDF
from segcrf.data.formats.elan import ELAN
from segcrf.data.formats.label_studio import LABEL_STUDIO
from segcrf.data.formats.praat import PRAAT
from segcrf.data.formats.raven import RAVEN
from segcrf.data.formats.rttm import RTTM
from segcrf.data.formats.tables import TABLE
from segcrf.data.formats.wfdb import WFDB
from segcrf.data.readers import TableError, listing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LABEL_FORMATS", "find_label_format", "read_labels", "write_labels"]

#: Formats of labels by name.
LABEL_FORMATS: dict[str, LabelFormat] = {
    each.name: each
    for each in (TABLE, AUDACITY, PRAAT, ELAN, LABEL_STUDIO, BORIS, BIDS, EDF, WFDB, RTTM, RAVEN, CROWSETTA)
}
_HEAD = 4096


def read_labels(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    sampling_rate: float | None = None,
    annotator: str | None = None,
) -> pd.DataFrame:
    r"""Read the bands of a file of labels.

    Args:
        path: a file in one of the :data:`LABEL_FORMATS`.
        format: its format; None: by the ending of its name, and by its content where several formats share an ending.
        sampling_rate: frames per second, which regions of time series in Label Studio and annotations of WFDB need.
        annotator: the person, tier or subject to keep; None: all.

    Returns:
        Table with a row per band: recording, start, end (exclusive) and label, and annotator if the file has several;
        indexed by the line or entry of the file. An empty label is unlabelled. ``attrs["unit"]`` is ``"seconds"`` from
        the start of the recording, ``"frames"``, or None for the unit of the recordings' own times.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas is not installed.
        InputError: the format or the annotator is unknown.
        TableError: the file is damaged, or is no file of labels.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "walk.txt"
        ...     _ = file.write_text("0.0\t1.5\trest\n")
        ...     read_labels(file)
          recording  start  end label
        1      walk    0.0  1.5  rest
    """
    file = Path(path)
    if not file.is_file():
        kind = "a folder, not a file" if file.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {kind}; expected a file of labels")
    if sampling_rate is not None:
        frames_per_second(sampling_rate)
    table: Any = find_label_format(file, format).read(file, sampling_rate)
    if annotator is None:
        return table
    known = [*dict.fromkeys(table["annotator"])] if "annotator" in table else []
    if annotator not in known:
        expected = f"one of {listing(known)}" if known else f"None, as {file} names no annotators"
        raise InputError("annotator", repr(annotator), expected)
    return table[table["annotator"] == annotator].drop(columns="annotator")


def write_labels(
    bands: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    sampling_rate: float | None = None,
) -> None:
    r"""Write bands as a file of labels, whole or not at all.

    Args:
        bands: columns recording, start, end (exclusive) and label. Times are seconds; a table may also be in frames or
            dates. Bands without a label are left out, except in a table.
        path: the file; an existing one is replaced.
        format: its format; None: by the ending of its name.
        sampling_rate: frames per second, which WFDB needs, and with which Label Studio gets regions of time series.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: the path is not writable.
        InputError: a name or a band cannot be held by the format, or a file of one recording would hold several.
        TableError: the format is unknown.

    Example:
        >>> import pathlib, tempfile
        >>> import segcrf
        >>> bands = segcrf.Segments.from_labels([[0, 0, 1]]).to_table(classes=["rest", "walk"], sampling_rate=2.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "walk.txt"
        ...     write_labels(bands, file)
        ...     file.read_text()
        '0.0\t1.0\trest\n1.0\t1.5\twalk\n'
    """
    file = Path(path)
    chosen = find_label_format(file, format, existing=False)
    if sampling_rate is not None:
        frames_per_second(sampling_rate)
    table: Any = bands
    names = table["recording"].astype(str).unique().tolist()
    if not chosen.many and len(names) > 1:
        got, expected = f"{len(names)} recordings ({listing(names)})", f"one, as a file of {chosen.name} holds"
        raise InputError("bands", got, expected, "write a file for each, or .csv")
    chosen.write(table, file, None if sampling_rate is None else float(sampling_rate))


def find_label_format(path: str | os.PathLike[str], form: str | None = None, *, existing: bool = True) -> LabelFormat:
    """Return the format of a file of labels.

    Args:
        path: the file.
        form: its name, if it was given.
        existing: whether the content of the file may decide, where several formats share an ending.

    Raises:
        InputError: no format has this name.
        TableError: no format has this ending.

    Example:
        >>> find_label_format("walk.TextGrid").name, find_label_format("sub-01_events.tsv").name
        ('praat', 'bids')
    """
    if form is not None:
        if form not in LABEL_FORMATS:
            raise InputError("format", repr(form), f"one of {', '.join(LABEL_FORMATS)}")
        return LABEL_FORMATS[form]
    file = Path(path)
    name = file.name.lower()
    known = [(ending, each) for each in LABEL_FORMATS.values() for ending in each.endings if name.endswith(ending)]
    found = max(known, key=lambda pair: len(pair[0]), default=None)
    if existing and file.is_file() and (found is None or found[0] in (".txt", ".csv", ".tsv", ".json")):
        head = _read_head(file)
        for each in LABEL_FORMATS.values():
            if any(name.endswith(ending) for ending in each.found_in) and each.recognises(head):
                return each
    if found is None:
        endings = [ending for each in LABEL_FORMATS.values() for ending in each.endings]
        expected = f"a name that ends in {', '.join(dict.fromkeys(endings))}"
        raise TableError("", "an unknown format of labels", expected, "name the format", file=path)
    return found[1]


def _read_head(file: Path) -> str:
    """Return the first characters of a file, whatever its encoding."""
    with file.open("rb") as stream:
        content = stream.read(_HEAD)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return content.decode(encoding, "replace")
