"""Long tables: one row per frame, as CSV or Parquet, to and from lists of recordings.

A long table has a column of numbers per channel and, where there are any, a column that names the recording,
one with the time, one with the label (text or integers; empty = unlabelled) and columns of regression targets
(empty = unknown). The rows of a recording need not be contiguous; their order is kept. Rows are counted as a
spreadsheet counts them: the header of a CSV file is row 1.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import difflib
import gzip
import importlib
import json
import os
import re
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

#: The file of a model folder that says which columns of a table were which.
COLUMNS_FILE = "columns.json"
FORMATS = (".csv", ".csv.gz", ".tsv", ".parquet")
RATE_TOLERANCE = 0.1
# Steps of time beyond so many usual ones are gaps worth a word; sensors drop a few frames all the time.
GAP = 10.0
# Whole numbers as labels are suspicious from so many on, if most of them also occur only once.
MANY_CLASSES = 20
_SEPARATORS = (",", ";", "\t")
_LISTED = 20
# A header cell without a name as pandas reads it; what pandas calls the index of a frame in Parquet.
_NAMELESS = re.compile(r"Unnamed: \d+|")
_INDEX = re.compile(r"__index_level_\d+__")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """What the columns of a long table mean.

    Args:
        recording: column that names the recording; None: the whole file is one recording.
        time: column of times, strictly increasing in each recording; None: frames are counted.
        label: column of classes, text or integers.
        channels: columns of the signal; None: every column without another role.
        targets: columns of regression targets.

    >>> Columns(label="state", channels=("ax", "ay")).used()
    ('state', 'ax', 'ay')
    """

    recording: str | None = None
    time: str | None = None
    label: str | None = None
    channels: tuple[str, ...] | None = None
    targets: tuple[str, ...] = ()

    def used(self) -> tuple[str, ...]:
        """Every column that is read, in a fixed order."""
        single = tuple(name for name in (self.recording, self.time, self.label) if name is not None)
        return single + (self.channels or ()) + self.targets

    def resolve(self, available: Sequence[str]) -> Columns:
        """The same roles for a table that has these columns, with the usual names and channels filled in.

        A role that was not given takes the column called ``recording``, ``time`` or ``label`` where there is
        one; an empty name means that the table has no such column, or that it is not to be used. Channels default
        to all columns left over, but columns of these three names are never signals unless they are named so.

        Args:
            available: the names of the table's columns.

        Returns:
            Roles of which only those that the table has no column for are None.

        Raises:
            ValueError: a column has two roles.

        >>> Columns().resolve(["recording", "ax", "label"])
        Columns(recording='recording', time=None, label='label', channels=('ax',), targets=())
        """
        roles = {role: _usual(getattr(self, role), role, available) for role in ("recording", "time", "label")}
        taken = {*roles, *roles.values(), *self.targets}
        channels = self.channels
        if channels is None:
            channels = tuple(name for name in available if name not in taken)
        resolved = dataclasses.replace(self, **roles, channels=channels)
        resolved.check_distinct()
        return resolved

    def check_distinct(self) -> None:
        """Check that no column has two roles, as a channel that is also the label would tell the answer.

        Raises:
            ValueError: one has.
        """
        used = self.used()
        for name in used:
            if used.count(name) > 1:
                raise ValueError(f"column {name!r} is named {used.count(name)} times; give every column one role")

    def without_answers(self) -> Columns:
        """The columns that a prediction needs: neither label nor targets."""
        return dataclasses.replace(self, label=None, targets=())


@dataclass(frozen=True, eq=False)
class Recordings:
    """The recordings of a long table, in the order in which they first appear.

    Args:
        columns: the columns that were read.
        names: N names of recordings.
        signals: N arrays (T, F), float32.
        labels: N arrays (T,) of text, "" = unlabelled; None when no label column was read.
        targets: N arrays (T, R), float32, NaN = unknown; None when no target columns were read.
        times: N arrays (T,), float64, in the unit of the time column (dates: seconds since 1970 UTC); None
            without one.
        dated: the time column holds dates.
        source: the file, for messages.
    """

    columns: Columns
    names: list[str]
    signals: list[Array]
    labels: list[Array] | None = None
    targets: list[Array] | None = None
    times: list[Array] | None = None
    dated: bool = False
    source: str = field(default="table", repr=False)

    @property
    def lengths(self) -> list[int]:
        """Frames of each recording."""
        return [len(signal) for signal in self.signals]

    @property
    def sampling_rate(self) -> float | None:
        """Frames per unit of time (1 / median step over all recordings), or None without a time column."""
        steps = [] if self.times is None else [np.diff(time) for time in self.times]
        pooled = np.concatenate(steps) if steps else np.empty(0)
        return _rate(pooled) if pooled.size else None

    def clock(self) -> Array:
        """(frames of all recordings,) times as the table has them, recording after recording."""
        assert self.times is not None
        seconds = np.concatenate(self.times)
        return _dates(seconds) if self.dated else seconds

    def check_rate(self, expected: float | None = None) -> None:
        """Check that the recordings are sampled alike, and as expected.

        Args:
            expected: frames per unit of time; None: the rate of the table as a whole.

        Raises:
            ValueError: the median step of a recording is more than a tenth off.
        """
        expected = self.sampling_rate if expected is None else expected
        for name, time in zip(self.names, self.times or [], strict=False):
            if expected is None or len(time) < 2:
                continue
            sampling_rate = _rate(np.diff(time))
            if abs(sampling_rate / expected - 1.0) > RATE_TOLERANCE:
                raise ValueError(
                    f"{self.source}: recording {name!r} has {sampling_rate:.6g} frames per unit of "
                    f"{self.columns.time!r}, expected {expected:.6g}; resample it, or {_without(self.columns.time)}"
                )

    def check_labelled(self) -> None:
        """Check that there is a label at all.

        Raises:
            ValueError: every frame is unlabelled.
        """
        if not any((labels != "").any() for labels in self.labels or []):
            raise ValueError(
                f"{self.source}: no frame has a label in column {self.columns.label!r}; name the column with --label"
            )

    def check_classes(self, known: Sequence[str]) -> None:
        """Check that every label is a class that is known.

        Args:
            known: names of the classes.

        Raises:
            ValueError: one is not; the message says in which recording and frame it is first.
        """
        for name, labels in zip(self.names, self.labels or [], strict=False):
            strange = np.flatnonzero(~np.isin(labels, [*known, ""]))
            if strange.size:
                frame, label = strange[0], str(labels[strange[0]])
                raise ValueError(
                    f"{self.source}: recording {name!r}, frame {frame}: column {self.columns.label!r} has the class "
                    f"{label!r}, expected one of {listing(known)}; correct it, empty the cell (unlabelled), or fit a "
                    "model that knows the class"
                )

    def doubts(self) -> list[str]:
        """What can be worked with but is odd, a sentence each: gaps in time, and numbers that seem no classes."""
        return [f"{self.source}: {doubt}" for doubt in (self._gaps(), self._odd_labels()) if doubt]

    def _gaps(self) -> str:
        if self.times is None or self.sampling_rate is None:
            return ""
        found = [
            (name, time, np.diff(time) * self.sampling_rate) for name, time in zip(self.names, self.times, strict=True)
        ]
        count = sum(int(np.count_nonzero(steps > GAP)) for _, _, steps in found)
        if not count:
            return ""
        name, time, steps = max(found, key=lambda recording: recording[2].max(initial=0.0))
        at = int(np.argmax(steps))
        often = "once," if count == 1 else f"{count} times, farthest"
        before, after = _dates(time[[at, at + 1]]) if self.dated else time[[at, at + 1]]
        return (
            f"time jumps {often} in recording {name!r}, from {_moment(before)} to {_moment(after)}, {steps[at]:,.0f} "
            "usual steps; the frames on both sides count as neighbours. If they are none, give what comes after a gap "
            f"a name of its own in the column of recordings ({self.columns.recording or '--recording'})"
        )

    def _odd_labels(self) -> str:
        bands = [labels[np.append(True, labels[1:] != labels[:-1])] for labels in self.labels or []]
        found = np.concatenate(bands) if bands else np.empty(0, dtype=str)
        classes, counts = np.unique(found[found != ""], return_counts=True)
        if len(classes) < MANY_CLASSES or np.median(counts) > 1 or not all(map(str.isdecimal, classes.tolist())):
            return ""
        return (
            f"column {self.columns.label!r} has {len(classes)} different whole numbers as classes, most of them for "
            "one band only; if it is a quantity or a counter, name another column with --label"
        )


def columns_of(path: str | os.PathLike[str]) -> list[str]:
    """The column names of a table file.

    Args:
        path: a .csv, .csv.gz, .tsv or .parquet file.

    Returns:
        The names in order; the index that pandas keeps in a Parquet file is no column, unless it has a name.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas or pyarrow is not installed.
        ValueError: the format is unknown, a name is there twice, or the file is empty, damaged or not in UTF-8.
    """
    file = _existing(path)
    with _readable(file):
        if format_of(file) == ".parquet":
            parquet: Any = importlib.import_module("pyarrow.parquet")
            names = [str(name) for name in parquet.read_schema(file).names]
            return [name for name in names if not _INDEX.fullmatch(name)]
        return [str(name) for name in _read_csv(file, nrows=0).columns]


def read_recordings(path: str | os.PathLike[str], columns: Columns) -> Recordings:
    """Read the recordings of a long table.

    Args:
        path: a .csv, .csv.gz, .tsv or .parquet file.
        columns: the roles of its columns; those left open are filled in by :meth:`Columns.resolve`.

    Returns:
        One signal per recording, with labels, targets and times where the columns name them.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas or pyarrow is not installed.
        ValueError: a column is missing or has no name, no channel is left, a number is missing or is text, time
            does not increase, or there are no rows.
        TypeError: labels are not whole numbers or text.
    """
    file, given = _existing(path), columns.channels
    available = columns_of(file)
    columns = columns.resolve(available)
    if given is None:
        _check_channels(columns.channels or (), available, file)
    frame = read_table(file, columns.used(), text=[columns.recording, columns.label])
    rows = np.asarray(frame.index)
    names, order, bounds = _group(frame, columns.recording, file)

    def split(values: Array) -> list[Array]:
        return np.split(values[order], bounds)

    dated, times = False, None
    if columns.time is not None:
        seconds, dated = _clock(frame, columns.time, file)
        times = split(seconds)
        _check_increasing(times, split(rows), names, frame[columns.time], file)
    signal = _numbers(frame, columns.channels or (), file, missing=False)
    targets = _numbers(frame, columns.targets, file, missing=True)
    return Recordings(
        columns=columns,
        names=names,
        signals=split(signal),
        labels=None if columns.label is None else split(_labels(frame, columns.label, file)),
        targets=split(targets) if columns.targets else None,
        times=times,
        dated=dated,
        source=str(file),
    )


def read_table(path: str | os.PathLike[str], columns: Sequence[str], text: Sequence[str | None] = ()) -> pd.DataFrame:
    """Read columns of a table file.

    Args:
        path: a .csv, .csv.gz, .tsv or .parquet file.
        columns: the columns to read.
        text: those to keep as they are written, so that "01" stays "01" and "NA" is a word.

    Returns:
        The columns, indexed by row number as a spreadsheet counts.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas or pyarrow is not installed.
        ValueError: a column is missing, or the file is empty, damaged or of an unknown format.
    """
    file = _existing(path)
    _check_columns(columns, columns_of(file), file)
    with _readable(file):
        if format_of(file) == ".parquet":
            parquet: Any = importlib.import_module("pyarrow.parquet")
            # Without the frame's index, which pandas would make of columns that are wanted.
            table = parquet.read_table(file, columns=list(dict.fromkeys(columns)), partitioning=None)
            frame = table.to_pandas(ignore_metadata=True)
            frame.index = np.arange(1, len(frame) + 1)
        else:
            frame = _read_csv(file, words=[name for name in text if name is not None])
            _check_no_extra_field(frame)
            frame.index = np.arange(2, len(frame) + 2)
            frame = _without_blank_end(frame[list(dict.fromkeys(columns))])
    if len(frame) == 0:
        raise ValueError(f"{file}: the table has a header but no rows; expected one at least")
    return frame


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table in the format that its name ends with, whole or not at all.

    Args:
        frame: the table; its index is left out.
        path: a .csv, .csv.gz, .tsv or .parquet file; one that is there is replaced.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: there is no writing to that path.
        ValueError: the format is unknown.
    """
    ending = format_of(path)
    table: Any = frame
    with atomic(path) as temporary:
        if ending == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, sep="\t" if ending == ".tsv" else ",")


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Give a temporary file beside ``path`` that replaces it if the block succeeds, and vanishes if it fails.

    Args:
        path: the file to write.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: there is no writing to that path.
    """
    final = Path(path)
    check_folder(final)
    temporary = final.with_name(f".{os.getpid()}.{final.name}")
    try:
        yield temporary
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check that a file can be written to a path, before the work that makes its content.

    Args:
        path: the file to write; one that is there may be replaced.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: the path itself is a folder.
        PermissionError: its folder is closed to writing.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {folder}; make it first")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: is a folder, expected a file to write; add a file name to it")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path}: the folder {folder} is closed to writing; choose another")


def format_of(path: str | os.PathLike[str]) -> str:
    """The ending that tells the format of a table file.

    Args:
        path: the file; it need not exist.

    Raises:
        ValueError: it is none that can be read or written.

    >>> format_of("recordings/Walk.CSV.gz")
    '.csv.gz'
    """
    name = Path(path).name.lower()
    for ending in FORMATS:
        if name.endswith(ending):
            return ending
    raise ValueError(f"{path}: unknown table format; expected a name that ends in {', '.join(FORMATS)}")


def place(segments: pd.DataFrame, recordings: Recordings) -> pd.DataFrame:
    """Bands in frames to bands in the unit of the time column.

    Args:
        segments: columns recording, start, end (half-open frames), and others that are kept.
        recordings: the recordings that were segmented.

    Returns:
        The same rows. A band starts at the time of its first frame and ends where the next frame begins;
        after the last frame, one median step later. Without a time column the frames are kept.
    """
    if recordings.times is None:
        return segments
    edges = {
        name: _edges(time, recordings.sampling_rate)
        for name, time in zip(recordings.names, recordings.times, strict=True)
    }
    names = _names(segments)
    table: Any = segments
    placed = table.copy()
    for column in ("start", "end"):
        frames = placed[column].tolist()
        values = np.array([edges[name][frame] for name, frame in zip(names, frames, strict=True)], dtype=np.float64)
        placed[column] = _dates(values) if recordings.dated else values
    return placed


def to_frames(segments: pd.DataFrame, recordings: Recordings) -> pd.DataFrame:
    """Bands in the unit of the time column back to half-open frames: the inverse of :func:`place`.

    Args:
        segments: columns recording, start, end, and others that are kept.
        recordings: the recordings that they belong to.

    Returns:
        The same rows with ``start`` and ``end`` as frames: the nearest to their times. A time outside of its
        recording becomes a frame outside.

    Raises:
        ValueError: a band names a recording that is not there, has a time that is none, or ends before it begins.
    """
    table: Any = segments
    number = {name: index for index, name in enumerate(recordings.names)}
    names = _names(table)
    for name in names:
        if name not in number:
            raise ValueError(
                f"the bands name a recording {name!r} that {recordings.source} does not have; "
                f"it has {listing(recordings.names)}"
            )
    recording = np.array([number[name] for name in names], dtype=np.int64)
    framed = table.copy()
    for column in ("start", "end"):
        framed[column] = _nearest_frames(table[column], recording, recordings)
    turned = np.flatnonzero((framed["end"] <= framed["start"]).to_numpy())
    if turned.size:
        row, band = table.index[turned[0]], table.iloc[turned[0]]
        unit = f"column {recordings.columns.time!r}" if recordings.times else "frames"
        raise ValueError(
            f"row {row} of the bands: from {_moment(band['start'])} to {_moment(band['end'])} there is no frame of "
            f"recording {band['recording']!r}; expected an end after its start, in the unit of {unit}"
        )
    return framed


def read_segments(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of bands: the columns recording, start, end and label, as :func:`write_table` wrote them.

    Args:
        path: a .csv, .csv.gz, .tsv or .parquet file.

    Returns:
        These columns, indexed by row number as a spreadsheet counts; recordings and labels are text.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pandas or pyarrow is not installed.
        ValueError: a column is missing, or the file is empty, damaged or of an unknown format.
    """
    frame: Any = read_table(path, ("recording", "start", "end", "label"), text=["recording", "label"])
    frame["label"] = _labels(frame, "label", Path(path))
    return frame


def save_columns(folder: str | os.PathLike[str], columns: Columns, sampling_rate: float | None) -> None:
    """Write the columns and the sampling rate that a model was fitted with into its folder.

    Args:
        folder: of the model.
        columns: with every role resolved.
        sampling_rate: frames per unit of the time column; None without one.
    """
    content = {"columns": dataclasses.asdict(columns), "sampling_rate": sampling_rate}
    with atomic(Path(folder) / COLUMNS_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_columns(folder: str | os.PathLike[str]) -> tuple[Columns, float | None]:
    """Read what :func:`save_columns` wrote; a model saved from Python has none, and its columns stay open.

    Args:
        folder: of the model.

    Returns:
        The columns, and frames per unit of the time column.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / COLUMNS_FILE
    if not path.is_file():
        return Columns(), None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _columns_from(content["columns"]), content["sampling_rate"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); fit the model again") from error


def _columns_from(content: Mapping[str, Any]) -> Columns:
    known = {name: content[name] for name in ("recording", "time", "label")}
    return Columns(**known, channels=tuple(content["channels"]), targets=tuple(content["targets"]))


def _pandas() -> Any:
    """Pandas, imported when a table is read; typed as Any because it ships no complete types."""
    return importlib.import_module("pandas")


def _usual(given: str | None, role: str, available: Sequence[str]) -> str | None:
    if given is None:
        return role if role in available else None
    return given or None


def _existing(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        kind = "a folder, not a file" if file.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {kind}; expected a table of recordings ({', '.join(FORMATS)})")
    format_of(file)
    return file


@contextmanager
def _readable(file: Path) -> Generator[None, None, None]:
    """Turn the readers' own errors into one that names the file and what to do."""
    empty = f"{file}: the file is empty; expected a header and one row per frame"
    if file.stat().st_size == 0:
        raise ValueError(empty)
    try:
        yield
    except ImportError as error:
        raise ImportError(f"tables need pandas and pyarrow ({error}); pip install 'segcrf[train]'") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: {_undecodable(file)}") from error
    except (ValueError, EOFError, OSError, zlib.error, csv.Error) as error:  # of pandas and pyarrow too
        if isinstance(error, _pandas().errors.EmptyDataError):
            raise ValueError(empty) from error
        kind = {".parquet": "Parquet", ".csv.gz": "CSV compressed by gzip"}.get(format_of(file), "CSV")
        raise ValueError(f"{file}: not readable as {kind}: {_plain(str(error))}") from error


def _plain(message: str) -> str:
    """A reader's message in one line, and in rows as a spreadsheet counts them."""
    line = " ".join(message.split())
    quote = re.search(r"EOF inside string starting at row (\d+)", line)
    return f"row {int(quote[1]) + 1}: a quotation mark opens that nothing closes" if quote else line


def _undecodable(file: Path) -> str:
    """Where a file is not UTF-8, what it seems to be, and what to do."""
    advice = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
    with _opened(file) as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return f"the file is in UTF-16, expected UTF-8; {advice}"
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return (
                    f"row {number}: byte {line[error.start]:#04x} is not text in UTF-8; {advice}, or convert it: "
                    "iconv -f WINDOWS-1252 -t UTF-8"
                )
    return f"not text in UTF-8; {advice}"


def _opened(file: Path) -> Any:
    """The bytes of a CSV file."""
    return gzip.open(file, "rb") if format_of(file) == ".csv.gz" else file.open("rb")


def _read_csv(file: Path, nrows: int | None = None, words: Sequence[str] = ()) -> Any:
    pd = _pandas()
    frame = pd.read_csv(
        file,
        sep=_separator(file),
        nrows=nrows,
        dtype=dict.fromkeys(words, str),
        keep_default_na=False,
        na_values=_missing_words(file, words) if nrows is None else None,
        skip_blank_lines=False,  # so that row numbers are the file's own
        skipinitialspace=True,
        encoding="utf-8-sig",
        low_memory=False,
    )
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame


def _check_no_extra_field(frame: Any) -> None:
    """Refuse rows that all have a field more than the header: pandas takes it for an index and shifts the rest."""
    pd = _pandas()
    shifted = not isinstance(frame.index, pd.RangeIndex)
    if shifted:
        raise ValueError("the rows have more fields than the header (a trailing separator, or a decimal comma?)")


def _missing_words(file: Path, words: Sequence[str]) -> dict[str, list[str]]:
    """Which words mean "no value", by column: none in a column of text."""
    header = _read_csv(file, nrows=0).columns
    usual = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "-nan", "-NaN", "#N/A"]
    return {str(name): ([""] if name in words else usual) for name in header}


def _separator(file: Path) -> str:
    """The separator that the header uses most; a name that the header has twice is an error."""
    with _opened(file) as stream:
        header = re.split(r"[\r\n]", stream.readline().decode("utf-8-sig"))[0]
    separator = "\t" if format_of(file) == ".tsv" else max(_SEPARATORS, key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])]
    for name in names:
        if name and names.count(name) > 1:
            raise ValueError(f"the header has the column {name!r} {names.count(name)} times; give each its own name")
    return separator


def _without_blank_end(frame: Any) -> Any:
    """Leave out the blank lines at the end of a file; a blank line within it is a missing value."""
    filled = np.flatnonzero((frame.notna() & (frame != "")).to_numpy().any(axis=1))
    return frame.iloc[: int(filled[-1]) + 1] if filled.size else frame.iloc[:0]


def _check_columns(wanted: Sequence[str], available: Sequence[str], file: Path) -> None:
    for name in wanted:
        if name not in available:
            lowered = {column.lower(): column for column in available}
            close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
            hint = f"did you mean {lowered[close[0]]!r}? " if close else ""
            data = [name for name in available if not name.isdecimal() and _as_number(name) is not None]
            end = f"; {data[0]!r} looks like data: is the header missing?" if data else ""
            if len(available) == 1 and format_of(file) != ".parquet":
                end += "; separate columns by commas, semicolons or tabs"
            raise ValueError(f"{file}: there is no column {name!r}; {hint}the columns are {listing(available)}{end}")


def _check_channels(channels: Sequence[str], available: Sequence[str], file: Path) -> None:
    """Check channels that nobody named: all columns without another role."""
    if not channels:
        raise ValueError(
            f"{file}: no column is left for the signal, all have another role; the columns are {listing(available)}"
        )
    for name in channels:
        if _NAMELESS.fullmatch(name):
            raise ValueError(
                f"{file}: column {available.index(name) + 1} has no name in the header (are these row numbers that "
                "pandas wrote?) and would be a channel of the signal; name or remove it, or choose --channels"
            )


def listing(names: Sequence[str]) -> str:
    """Names in one line, and how many more there are.

    Args:
        names: at most 20 of them are listed.

    >>> listing(["ax", "ay"])
    'ax, ay'
    """
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _group(frame: Any, column: str | None, file: Path) -> tuple[list[str], Array, Array]:
    """Names of the recordings, the order that puts their rows together, and where to split."""
    pd = _pandas()
    if column is None:
        return [file.name.split(".")[0]], np.arange(len(frame)), np.empty(0, dtype=np.int64)
    values = frame[column]
    missing = np.flatnonzero((values.isna() | (values == "")).to_numpy())
    if missing.size:
        raise ValueError(
            f"{file}: row {frame.index[int(missing[0])]}, column {column!r}: the recording has no name; "
            "every row needs one"
        )
    codes, unique = pd.factorize(values)
    order = np.argsort(codes, kind="stable")
    return [str(name) for name in unique], order, np.cumsum(np.bincount(codes))[:-1]


def _numbers(frame: Any, columns: Sequence[str], file: Path, missing: bool) -> Array:
    """(rows, columns) float32; text, and unless ``missing`` also empty cells, raise."""
    advice = "correct the value, or fit with other " + ("--targets" if missing else "--channels")
    values = [_number_column(frame, name, file, advice) for name in columns]
    matrix = np.stack(values, axis=1) if values else np.empty((len(frame), 0))
    with np.errstate(over="ignore"):
        single = matrix.astype(np.float32)
    bad = np.argwhere(np.isinf(single) if missing else ~np.isfinite(single))
    if bad.size:
        row, column = (int(index) for index in bad[0])
        value = matrix[row, column]
        what = "a missing value (NaN)" if np.isnan(value) else "an infinite value"
        if np.isfinite(value):
            what = f"{value:g}, beyond what float32 holds,"
        raise ValueError(
            f"{file}: row {frame.index[row]}, column {columns[column]!r}: {what} in the "
            f"{'targets' if missing else 'signal'}; fill it in or leave the row out"
        )
    return single


def _number_column(frame: Any, name: str, file: Path, advice: str) -> Array:
    pd = _pandas()
    raw = frame[name]
    if raw.dtype.kind in "biuf":
        return raw.to_numpy(dtype=np.float64)
    if raw.dtype.kind in "mM":  # which to_numeric would count in nanoseconds
        raise ValueError(f"{file}: column {name!r}: expected numbers, got dates or durations; {advice}")
    numbers = pd.to_numeric(raw, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    text = np.flatnonzero(np.isnan(numbers) & raw.notna().to_numpy())
    if text.size:
        first = int(text[0])
        word = raw.iloc[first]
        if re.fullmatch(r"\s*[-+]?\d+,\d+\s*", str(word)):
            advice = "write decimals with a point"
        place = f"{file}: row {frame.index[first]}, column {name!r}"
        raise ValueError(f"{place}: expected a number, got {word!r}; {advice}")
    return numbers


def _clock(frame: Any, name: str, file: Path) -> tuple[Array, bool]:
    """Times as float64, and whether they were dates (then seconds since 1970)."""
    pd = _pandas()
    raw = frame[name]
    if raw.dtype.kind not in "biufM" and _looks_dated(raw):
        raw = pd.to_datetime(raw, errors="coerce", utc=True, format="ISO8601")
        if raw.isna().any():
            row = int(np.flatnonzero(raw.isna().to_numpy())[0])
            raise ValueError(
                f"{file}: row {frame.index[row]}, column {name!r}: expected a date and time (ISO 8601), "
                f"got {frame[name].iloc[row]!r}"
            )
    if raw.dtype.kind == "M":
        return _seconds(raw), True
    return _numbers64(frame, name, file), False


def _looks_dated(raw: Any) -> bool:
    """The first time is no number but begins like 2024-05-31."""
    first = str(raw.iloc[0])
    return len(first) >= 10 and first[:4].isdigit() and first[4] == "-" and first[7] == "-"


def _numbers64(frame: Any, name: str, file: Path) -> Array:
    advice = f"write times as numbers or as 2024-05-31 23:59:59, or {_without(name)}"
    numbers = _number_column(frame, name, file, advice)
    missing = np.flatnonzero(~np.isfinite(numbers))
    if missing.size:
        raise ValueError(
            f"{file}: row {frame.index[int(missing[0])]}, column {name!r}: the time is missing; "
            f"fill it in, or {_without(name)}"
        )
    return numbers


def _check_increasing(
    times: Sequence[Array], rows: Sequence[Array], names: Sequence[str], written: Any, file: Path
) -> None:
    """Check times (T,) of each recording, whose rows are (T,), against the column as it is written."""
    for name, time, row in zip(names, times, rows, strict=True):
        back = np.flatnonzero(np.diff(time) <= 0)
        if not back.size:
            continue
        frame = int(back[0]) + 1
        verb = "stands still" if time[frame] == time[frame - 1] else "goes backwards"
        earlier = np.flatnonzero(time[:frame] == time[frame])
        if earlier.size:
            advice = (
                f"row {row[earlier[0]]} has that time already: leave out rows that are there twice, tell recordings "
                "apart with --recording"
            )
        else:
            advice = "sort the rows, tell recordings apart with --recording"
        raise ValueError(
            f"{file}: recording {name!r}, row {row[frame]}: time {verb}, {written.name!r} is "
            f"{_moment(written.loc[row[frame]])} after {_moment(written.loc[row[frame - 1]])}; {advice}, or "
            f"{_without(str(written.name))}"
        )


def _without(time: str | None) -> str:
    """How to do without the column of times, so that it does not end up as a channel."""
    return "count frames with --time ''" + ("" if time == "time" else " and name the --channels")


def _moment(time: Any) -> str:
    """A time as its column has it."""
    return f"{time:.15g}" if isinstance(time, float) else str(time)


def _labels(frame: Any, name: str, file: Path) -> Array:
    """Labels as text, "" where there is none; whole numbers lose their ".0" and -100 means none."""
    raw = frame[name]
    stripped = raw.astype(str).str.strip().to_numpy(dtype=object)
    words = np.where(raw.isna().to_numpy(), "", stripped).astype(str)
    kinds, codes = np.unique(words, return_inverse=True)
    numbers = [_as_number(kind) for kind in kinds]
    if not all(kind == "" or number is not None for kind, number in zip(kinds, numbers, strict=True)):
        return np.where(words == "-100", "", words)
    for kind, number in zip(kinds, numbers, strict=True):
        if number is None or (number.is_integer() and (number >= 0 or number == -100)):
            continue
        row = frame.index[int(np.flatnonzero(words == kind)[0])]
        expected = "a class name or a whole number from 0; an unlabelled frame is empty or -100"
        if not number.is_integer():
            raise TypeError(f"{file}: row {row}, column {name!r}: label {kind} is a fraction, expected {expected}")
        raise ValueError(f"{file}: row {row}, column {name!r}: label {kind} is negative, expected {expected}")
    whole = ["" if number is None or number < 0 else str(int(number)) for number in numbers]
    return np.array(whole)[codes]


def _as_number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def class_order(labels: Sequence[Array]) -> list[str]:
    """The classes that occur, numbers by value, words by the alphabet.

    Args:
        labels: arrays (T,) of text, "" = unlabelled.

    Returns:
        Each class once.

    >>> class_order([np.array(["10", "2", ""]), np.array(["1"])])
    ['1', '2', '10']
    """
    words = {str(word) for recording in labels for word in np.unique(recording)} - {""}
    if all(word.isdecimal() for word in words):
        return sorted(words, key=int)
    return sorted(words)


def _rate(steps: Array) -> float:
    """Frames per unit of time, without the digits that subtracting times has made up."""
    return float(f"{1.0 / np.median(steps):.9g}")


def _edges(time: Array, sampling_rate: float | None) -> Array:
    """(T + 1,) times at which the frames begin, and where the last one ends."""
    step = 1.0 if sampling_rate is None else 1.0 / sampling_rate
    return np.append(time, time[-1] + step)


def _names(segments: Any) -> list[str]:
    return [str(name) for name in segments["recording"].tolist()]


def _seconds(stamps: Any) -> Array:
    """Dates to seconds since 1970 UTC; a date without a time zone counts as UTC."""
    naive = _pandas().to_datetime(stamps, utc=True).dt.tz_localize(None)
    return naive.to_numpy(dtype="datetime64[ns]").astype(np.int64) / 1e9


def _dates(seconds: Array) -> Array:
    return (np.round(seconds * 1e6)).astype("datetime64[us]")


def _nearest_frames(values: Any, recording: Array, recordings: Recordings) -> Array:
    """(N,) times, each of its recording, to frames: the nearest, or one outside for a time outside."""
    seconds = _band_times(values, recordings)
    if recordings.times is None:
        return seconds.astype(np.int64)
    frames = np.empty(len(seconds), dtype=np.int64)
    for number, time in enumerate(recordings.times):
        own = recording == number
        edges = _edges(time, recordings.sampling_rate)
        slack = edges[-1] - time[-1]
        frames[own] = np.searchsorted((edges[:-1] + edges[1:]) / 2, seconds[own])
        frames[own] += (seconds[own] > edges[-1] + slack).astype(np.int64) - (seconds[own] < time[0] - slack)
    return frames


def _band_times(values: Any, recordings: Recordings) -> Array:
    """(N,) times of bands as float64, in the unit of the recordings: of their time column, or frames."""
    pd = _pandas()
    if recordings.dated:
        stamps = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        times = np.where(stamps.isna(), np.nan, _seconds(stamps))
    else:
        times = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = ~np.isfinite(times)
    if recordings.times is None:
        wrong |= times != np.rint(times)
        expected = f"a whole number of frames, as {recordings.source} has no times"
    else:
        kind = "a date and time" if recordings.dated else "a number"
        expected = f"{kind}, as column {recordings.columns.time!r} of {recordings.source} has"
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        value = values.iloc[row]
        got = "an empty cell" if pd.isna(value) else repr(value) if isinstance(value, str) else _moment(value)
        raise ValueError(
            f"row {values.index[row]} of the bands, column {values.name!r}: expected {expected}, got {got}"
        )
    return times
