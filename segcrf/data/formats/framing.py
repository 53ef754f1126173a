"""Labels of frames from bands, and what becomes of bands that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import InputError, check_choice, frames_per_second
from segcrf.data.readers import TableError, listing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OVERLAPS", "fill_frames", "label_frames"]

Array = npt.NDArray[Any]

#: What becomes of a frame in several bands: an error, or the label of the band that starts first or last, or of the
#: shortest.
OVERLAPS = ("error", "first", "last", "shortest")


def label_frames(
    bands: pd.DataFrame,
    lengths: Sequence[int],
    *,
    recordings: Sequence[str] | None = None,
    sampling_rate: float | None = None,
    overlaps: str = "error",
) -> list[Array]:
    """Return the label of every frame from a table of bands, such as :func:`read_labels` returns.

    Args:
        bands: columns recording, start, end (exclusive) and label; an empty label is none.
        lengths: (B,) frames of each recording.
        recordings: (B,) names of the recordings. None: the table numbers them from 0; or there is one, called anything.
        sampling_rate: frames per second, if times are seconds; a frame is labelled if more than half of it lies in the
            band. None: times are frames.
        overlaps: rule for frames in several bands: ``"error"``, or the label of the ``"first"`` band to start, the
            ``"last"`` or the ``"shortest"``.

    Returns:
        B arrays (T,) of text, "" where a frame is in no band.

    Raises:
        InputError: a column is missing, a recording is unknown, a time is no number or no whole frame, a band ends
            before it begins or lies beyond its recording, or two bands overlap.

    Example:
        >>> import pandas as pd
        >>> bands = pd.DataFrame({"recording": [0], "start": [0.5], "end": [1.5], "label": ["walk"]})
        >>> label_frames(bands, [4], sampling_rate=2.0)
        [array(['', 'walk', 'walk', ''], dtype='<U4')]
    """
    check_choice(overlaps, "overlaps", OVERLAPS)
    table: Any = bands
    _check_table(table, sampling_rate)
    names = [str(index) for index in range(len(lengths))] if recordings is None else [str(name) for name in recordings]
    written = table["recording"].astype(str)
    if recordings is None and len(lengths) == 1 and written.nunique() == 1:
        names = [str(written.iloc[0])]
    unknown = [name for name in dict.fromkeys(written) if name not in names]
    if unknown:
        expected = f"the recordings {listing(names)}"
        raise InputError("bands: column 'recording'", repr(unknown[0]), expected, "name the recordings in their order")
    framed = table.assign(recording=written)
    for column in ("start", "end"):
        times = _check_numbers(table[column], sampling_rate)
        framed[column] = np.rint(times * frames_per_second(sampling_rate)).astype(np.int64)
    length = dict(zip(names, lengths, strict=True))
    ends = written.map(length).to_numpy()
    for wrong, expected in (
        ((framed["end"] < framed["start"]).to_numpy(), "an end after the start"),
        ((framed["start"] < 0).to_numpy() | (framed["end"].to_numpy() > ends), "frames within the recording"),
    ):
        if wrong.any():
            band = framed.iloc[int(wrong.argmax())]
            got, row = f"frames {band['start']} to {band['end']} of {length[band['recording']]}", band.name
            raise InputError(f"bands: row {row}", got, expected, "correct the times", recording=band["recording"])
    return fill_frames(framed, names, lengths, overlaps=overlaps)


def fill_frames(
    bands: Any, names: Sequence[str], lengths: Sequence[int], *, overlaps: str = "error", source: object = "bands"
) -> list[Array]:
    """Return the label of every frame from bands in frames.

    Args:
        bands: columns recording, start, end (frames within their recording) and label.
        names: (B,) names of the recordings.
        lengths: (B,) frames of each.
        overlaps: one of :data:`OVERLAPS`.
        source: file of the bands, for the error.

    Raises:
        TableError: two bands overlap, and ``overlaps`` is ``"error"``.
    """
    check_choice(overlaps, "overlaps", OVERLAPS)
    labelled = bands[bands["label"] != ""].sort_values("start", kind="stable")
    kept = dict(iter(labelled.groupby("recording", sort=False)))
    filled: list[Array] = []
    for name, length in zip(names, lengths, strict=True):
        own = kept.get(name, labelled.iloc[:0])
        if overlaps == "error":
            _check_side_by_side(own, name, source)
        elif overlaps == "first":
            own = own.iloc[::-1]
        elif overlaps == "shortest":
            own = own.iloc[np.argsort((own["start"] - own["end"]).to_numpy(), kind="stable")]
        classes, codes = np.unique(own["label"].to_numpy(dtype=str), return_inverse=True)
        frames = np.full(length, len(classes), dtype=np.int64)
        for start, end, code in zip(own["start"].tolist(), own["end"].tolist(), codes.tolist(), strict=True):
            frames[start:end] = code
        filled.append(np.append(classes, "")[frames])
    return filled


def _check_side_by_side(own: Any, name: str, source: object) -> None:
    """Raise if two bands of one recording, by their start, share a frame."""
    ends = np.maximum.accumulate(own["end"].to_numpy()) if len(own) else np.empty(0)
    found = np.flatnonzero(ends[:-1] > own["start"].to_numpy()[1:])
    if not found.size:
        return
    second = own.iloc[int(found[0]) + 1]
    first = own.iloc[int(np.flatnonzero(own["end"].to_numpy() == ends[found[0]])[0])]
    annotators = {band.get("annotator", "") for band in (first, second)}
    advice = "cut one, or choose overlaps: first, last or shortest"
    if len(annotators) > 1:
        advice = f"choose one annotator of {listing(sorted(map(str, annotators)))}"
    got = f"{first['label']!r} in frames {first['start']} to {first['end']} and {second['label']!r} in "
    got += f"{second['start']} to {second['end']}, which overlap"
    row, expected = int(second.name), "one class per frame"
    raise TableError("", got, expected, advice, file=source, row=row, recording=name)


def _check_table(table: Any, sampling_rate: float | None) -> None:
    """Check the columns of a table of bands, and that the unit of its times is known."""
    for name in ("recording", "start", "end", "label"):
        if name not in getattr(table, "columns", ()):
            got = f"the columns {listing([str(column) for column in getattr(table, 'columns', ())])}"
            raise InputError("bands", got, f"a table with a column {name!r}", "rename the column")
    unit = table.attrs.get("unit")
    if unit == "seconds" and sampling_rate is None:
        raise InputError("sampling_rate", "None", "frames per second, as bands are in seconds", "give it")


def _check_numbers(values: Any, sampling_rate: float | None) -> Array:
    """Return a column of times as float64."""
    numeric = values.dtype.kind in "iuf"
    times = values.to_numpy(dtype=np.float64) if numeric else np.full(len(values), np.nan)
    wrong = ~np.isfinite(times)
    expected = "a number of seconds"
    if sampling_rate is None:
        wrong |= times != np.rint(times)
        expected = "a whole number of frames (seconds need a sampling rate)"
    if wrong.any():
        row = int(wrong.argmax())
        got = repr(values.tolist()[row])
        raise InputError(f"bands: column {values.name!r}, row {values.index[row]}", got, expected, "correct the times")
    return times
