"""Options of what is known at prediction: corrections, forbidden classes, the order of bands, and durations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf.cli.inputs import check_no_overlap, check_within
from segcrf.cli.messages import naming_options_and_rows
from segcrf.cli.options import parse_some_names
from segcrf.data import TableError, listing, read_labels, read_table, segments_to_frames
from segcrf.inference import duration_in_frames

if TYPE_CHECKING:
    from segcrf.data import RecordingTable

__all__ = ["add_prompt_options", "read_prompt_options"]

Array = npt.NDArray[Any]


def add_prompt_options(command: Any) -> None:
    """Add ``--given``, ``--forbid``, ``--transcript``, ``--min-duration`` and ``--min-confidence``.

    Args:
        command: the parser of a command.
    """
    group = command.add_argument_group("what is known (decoding is exact under it)")
    group.add_argument(
        "--given", metavar="FILE", help="bands that are known, a table as predict writes it; rows without a label: none"
    )
    group.add_argument(
        "--forbid", metavar="A,B,...|FILE", help="classes that cannot occur, or a table of bands where they cannot"
    )
    group.add_argument(
        "--transcript", metavar="FILE", help="the bands in their order, a table with the columns recording and label"
    )
    group.add_argument(
        "--min-duration",
        type=_parse_durations,
        metavar="D|A=D,...",
        help="shortest band, of all classes or by class, in the unit of the time column, else in frames; the edges of "
        "a recording may cut bands shorter",
    )
    group.add_argument(
        "--min-confidence", type=float, metavar="P", help="leave the label of bands with less confidence empty"
    )


def _parse_durations(text: str) -> float | dict[str, float]:
    """Return a duration, or durations by class.

    Args:
        text: as it was typed.

    Raises:
        argparse.ArgumentTypeError: it is neither a number nor numbers by class.

    Example:
        >>> _parse_durations("0.5"), _parse_durations("walk=2,run=1")
        (0.5, {'walk': 2.0, 'run': 1.0})
    """
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.rpartition("=") for part in parse_some_names(text)]
        return {name.strip(): float(value) for name, _, value in pairs}
    except ValueError:
        expected = "a number such as 0.5, or numbers by class such as walk=2,run=1"
        raise argparse.ArgumentTypeError(f"got {text!r}, expected {expected}") from None


def read_prompt_options(arguments: argparse.Namespace, recordings: RecordingTable, classes: Array) -> dict[str, Any]:
    """Return what is known as arguments of ``predict``, with all times in frames.

    Args:
        arguments: of a command with these options.
        recordings: the recordings to predict.
        classes: of the model.

    Raises:
        TableError: a table of bands does not fit the recordings or the classes.
    """
    known: dict[str, Any] = {}
    number = {str(name): name for name in classes.tolist()}
    if arguments.given is not None:
        bands = _read_bands(arguments.given, arguments, recordings, number)
        check_no_overlap(bands, arguments.given)
        known["given"] = _by_index(bands, recordings)
    if arguments.forbid is not None:
        if _is_file(arguments.forbid):
            known["forbid"] = _by_index(_read_bands(arguments.forbid, arguments, recordings, number), recordings)
        else:
            known["forbid"] = [number.get(name, name) for name in parse_some_names(arguments.forbid)]
    if arguments.transcript is not None:
        known["transcript"] = _read_orders(arguments.transcript, recordings, number)
    if arguments.min_duration is not None:
        known["min_duration"] = _in_frames(arguments.min_duration, recordings, number)
    return known


def _is_file(text: str) -> bool:
    """Return whether text names a table rather than classes; a missing file is reported as one."""
    return Path(text).is_file() or Path(text).suffix.lower() in (".csv", ".gz", ".tsv", ".parquet")


def _read_bands(path: str, arguments: argparse.Namespace, recordings: RecordingTable, number: dict[str, Any]) -> Any:
    """Return the labelled bands of a table in frames, with classes as the model has them."""
    table: Any = read_labels(path, sampling_rate=arguments.sampling_rate)
    table = table[table["label"] != ""]
    _check_classes(table, number, path)
    bands: Any = segments_to_frames(table, recordings, source=path, sampling_rate=arguments.sampling_rate)
    check_within(bands, recordings, path)
    return bands.assign(label=[number[label] for label in bands["label"]])


def _by_index(bands: Any, recordings: RecordingTable) -> Any:
    """Return bands with recordings by their index."""
    place = {name: index for index, name in enumerate(recordings.names)}
    return bands.assign(recording=np.array([place[str(name)] for name in bands["recording"]], dtype=np.int64))


def _read_orders(path: str, recordings: RecordingTable, number: dict[str, Any]) -> list[list[Any] | None]:
    """Return the classes of each recording in the order of the rows; None for a recording without rows."""
    table: Any = read_table(path, ("recording", "label"), text=["recording", "label"])
    table = table.assign(recording=table["recording"].astype(str), label=table["label"].fillna("").astype(str))
    _check_classes(table, number, path)
    for row, name in zip(table.index, table["recording"], strict=True):
        if name not in recordings.names:
            expected = f"a recording of {recordings.source}: {listing(recordings.names)}"
            raise TableError("column 'recording'", repr(name), expected, file=path, row=int(row))
    orders = {name: [number[label] for label in rows["label"]] for name, rows in table.groupby("recording")}
    return [orders.get(name) for name in recordings.names]


def _check_classes(table: Any, number: dict[str, Any], path: str) -> None:
    """Raise for a label that is no class of the model."""
    for row, name, label in zip(table.index, table["recording"], table["label"], strict=True):
        if label not in number:
            raise TableError(
                "column 'label'",
                repr(label),
                f"a class of the model: {listing(list(number))}",
                "correct its spelling",
                file=path,
                row=int(row),
                recording=name,
            )


def _in_frames(durations: Any, recordings: RecordingTable, number: dict[str, Any]) -> Any:
    """Return durations, in the unit of the time column, in frames."""
    rate = recordings.sampling_rate
    with naming_options_and_rows(recordings):
        if isinstance(durations, dict):
            return {number.get(name, name): duration_in_frames(value, rate) for name, value in durations.items()}
        return duration_in_frames(durations, rate)
