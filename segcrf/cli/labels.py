"""Files of labels that commands read and write: labels of recordings, and bands in any format."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcrf._validation import InputError
from segcrf.cli.inputs import check_within
from segcrf.cli.messages import warn
from segcrf.data import (
    LABEL_FORMATS,
    OVERLAPS,
    RecordingTable,
    TableError,
    check_folder,
    columns_of,
    fill_frames,
    find_label_format,
    holds_bands,
    listing,
    read_labels,
    segments_to_frames,
    write_labels,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Sequence

    import pandas as pd

__all__ = [
    "PLACE",
    "add_label_options",
    "check_bands_file",
    "check_no_bands",
    "is_label_file",
    "label_column_of",
    "label_recordings",
    "naming_sampling_rate",
    "write_bands",
]

#: What stands in ``--out`` for the name of a recording, where a format holds one per file.
PLACE = "{recording}"
# Words that people add to the name of a recording for the file of its labels.
_ADDED = re.compile(r"[._ -]+(labels?|annotations?|annot|events|bands|segments|hypnogram|truth)$", re.IGNORECASE)


def add_label_options(command: Any) -> None:
    """Add ``--labels`` and the options about its files.

    Args:
        command: the parser of a command.
    """
    group = command.add_argument_group("labels in files of their own")
    group.add_argument(
        "--labels",
        type=Path,
        metavar="FILE|FOLDER",
        help="bands of the recordings: a table of recording, start, end and label; or a file per recording, called "
        "alike, of any of the formats",
    )
    formats = ", ".join(LABEL_FORMATS)
    group.add_argument("--labels-format", metavar="NAME", help=f"{formats} (default: by the ending and the content)")
    group.add_argument("--annotator", metavar="NAME", help="person, tier or subject to take (default: all)")
    text = f"rule for frames in several bands: {', '.join(OVERLAPS)} (default: error)"
    group.add_argument("--overlaps", choices=OVERLAPS, default="error", metavar="RULE", help=text)


@contextlib.contextmanager
def naming_sampling_rate() -> Generator[None, None, None]:
    """Let errors about a missing sampling rate name the option that gives it."""
    try:
        yield
    except InputError as error:
        if error.argument == "sampling_rate":
            error.argument = "--sampling-rate"
        raise


# ---------------------------------------------------------------------------------------------------------- reading
def check_no_bands(paths: str | Sequence[str], channels: Sequence[str] | None, advice: str) -> None:
    """Check that recordings are not bands: a table of them would pass for a signal of start and end.

    Args:
        paths: files that were given as recordings.
        channels: that were asked for; a table with them is a signal.
        advice: what was meant, with ``{file}`` for the file.

    Raises:
        TableError: a file holds bands.
    """
    for path in [paths] if isinstance(paths, str) else paths:
        if not Path(path).is_file() or not is_label_file(Path(path)):
            continue
        if not channels or find_label_format(path).name != "table" or not {*channels} <= {*columns_of(path)}:
            got, expected = "bands (a start, an end and a label per row)", "a signal, with a row per frame"
            raise TableError("", got, expected, advice.format(file=path), file=path)


def is_label_file(file: Path) -> bool:
    """Return whether a file holds bands rather than frames; a file that may hold both is taken for a signal.

    Args:
        file: an existing file.
    """
    try:
        chosen = find_label_format(file)
        if chosen.name == "edf":
            return False
        return chosen.name != "table" or holds_bands(columns_of(file))
    except (ValueError, ImportError):
        return False


def label_recordings(recordings: RecordingTable, arguments: argparse.Namespace) -> RecordingTable:
    """Return recordings with the labels of ``--labels``, or as they are without it.

    Args:
        recordings: that were read.
        arguments: of the command, with the options about labels.

    Raises:
        FileNotFoundError: there is no such file or folder.
        InputError, TableError: a file cannot be used, names a recording that is not there, or no frame is labelled.
    """
    path: Path | None = arguments.labels
    if path is None:
        return recordings
    import pandas as pd

    with naming_sampling_rate():
        parts = [_read_bands(file, recordings, arguments) for file in _label_files(path, arguments.labels_format)]
    found = [part for part in parts if part is not None]
    if not found:
        expected = f"labels of {listing(recordings.names)}"
        raise TableError("", "no file of these recordings", expected, "call files as recordings", file=path)
    bands = pd.concat(found)
    labels = fill_frames(bands, recordings.names, recordings.lengths, overlaps=arguments.overlaps, source=path)
    if not any((own != "").any() for own in labels):
        raise TableError("", "no labelled frame", "one at least", "check the times and their unit", file=path)
    bare = [name for name, own in zip(recordings.names, labels, strict=True) if not (own != "").any()]
    if bare:
        warn(f"{path}: there are no labels of {listing(bare)}; all frames there are unlabelled")
    return dataclasses.replace(recordings, labels=labels)


def label_column_of(arguments: argparse.Namespace, usual: str) -> str:
    """Return the column of labels to read: ``--label`` or the usual one, and none where ``--labels`` is given.

    Args:
        arguments: of the command, with the options about labels.
        usual: name of the column without ``--label``.

    Raises:
        InputError: both options are given.
    """
    if arguments.labels is None:
        return arguments.label or usual
    if arguments.label:
        got, expected = f"--label {arguments.label} and --labels {arguments.labels}", "one of them"
        raise InputError("--labels", got, expected, "leave --label out")
    return ""


def _label_files(path: Path, form: str | None) -> list[Path]:
    """Return the files of labels in a folder, or the file itself."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    return [file for file in files if form is not None or is_label_file(file) or file.suffix.lower() == ".edf"]


def _read_bands(file: Path, recordings: RecordingTable, arguments: argparse.Namespace) -> Any:
    """Return the bands of a file in frames; None if it is one of a folder and names none of the recordings."""
    form, rate, annotator = arguments.labels_format, arguments.sampling_rate, arguments.annotator
    table: Any = read_labels(file, format=form, sampling_rate=rate or _known_rate(recordings), annotator=annotator)
    names = list(dict.fromkeys(table["recording"].astype(str)))
    if len(names) == 1 and names[0] not in recordings.names:
        alone = len(recordings.names) == 1 and file == arguments.labels
        matched = recordings.names[0] if alone else _match_recording(file, names[0], recordings.names)
        if matched is None and file != arguments.labels:
            if getattr(arguments, "validation", None) is None:
                warn(f"{file}: left out, as there is no recording called {names[0]!r}")
            return None
        table = table.assign(recording=matched or names[0])
    known = table["recording"].astype(str).isin(recordings.names)
    if known.any() and not known.all():
        if getattr(arguments, "validation", None) is None:  # one file may label these recordings and those
            others = list(dict.fromkeys(table["recording"][~known].astype(str)))
            warn(f"{file}: bands of {listing(others)} are left out, as there are no such recordings")
        table = table[known]
    framed: Any = segments_to_frames(table, recordings, source=file, sampling_rate=rate)
    check_within(framed, recordings, file)
    return framed


def _known_rate(recordings: RecordingTable) -> float | None:
    """Return frames per second, if the times of recordings are seconds."""
    return None if recordings.times is None else recordings.sampling_rate


def _match_recording(file: Path, name: str, names: Sequence[str]) -> str | None:
    """Return the recording that a file of labels is called after, if there is one."""
    for candidate in (name, file.stem, file.name.partition(".")[0]):
        for shorter in (candidate, _ADDED.sub("", candidate)):
            if shorter in names:
                return shorter
    return None


# ---------------------------------------------------------------------------------------------------------- writing
def check_bands_file(path: Path) -> None:
    """Check that bands can be written to a path, before the work that makes them.

    Args:
        path: the file, perhaps with :data:`PLACE` in its name.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: the path is not writable.
        TableError: the format is unknown.
    """
    find_label_format(path, existing=False)
    check_folder(path)


def write_bands(bands: pd.DataFrame, path: Path, *, form: str | None = None, rate: float | None = None) -> list[Path]:
    """Write bands to a file, or to one per recording if its name holds :data:`PLACE`, and return the files.

    Args:
        bands: as :func:`~segcrf.data.write_labels` takes them.
        path: the file.
        form: its format; None: by its ending.
        rate: frames per second, for formats that count samples.

    Raises:
        InputError: the format holds one recording per file and there are several, or it cannot hold a name or a band.
    """
    table: Any = bands
    names = list(dict.fromkeys(table["recording"].astype(str)))
    if PLACE not in path.name:
        if len(names) > 1 and not find_label_format(path, form, existing=False).many:
            got, expected = f"{path} for {len(names)} recordings", "one recording, as the format holds"
            advice = f"write a file for each: {path.with_name(f'{PLACE}{path.suffix}')}"
            raise InputError("--out", got, expected, advice)
        write_labels(bands, path, format=form, sampling_rate=rate)
        return [path]
    files: list[Path] = []
    for name in names:
        if not name or {"/", "\\", "\0"} & set(name):
            raise InputError("--out", f"a recording called {name!r}", "a name that a file can have", "write .csv")
        files.append(path.with_name(path.name.replace(PLACE, name)))
        own = table[table["recording"].astype(str) == name]
        write_labels(own, files[-1], format=form, sampling_rate=rate)
    return files
