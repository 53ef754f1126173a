"""Files of recordings: single ones, folders, patterns, data sets in parts, and standard input."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from segcrf.data.readers.problems import Problems
from segcrf.data.readers.table import FORMATS, ending_of

__all__ = ["Paths", "RecordingFile", "list_files", "standard_input_as_file"]

#: One or several of: a file, a folder, a pattern such as ``data/*.csv``, and "-" for standard input.
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class RecordingFile(NamedTuple):
    """A file to read.

    Attributes:
        path: the file, or the folder of a Parquet data set.
        name: of its recording if no column names it.
    """

    path: Path
    name: str


def list_files(paths: Paths) -> tuple[list[RecordingFile], list[str]]:
    """Return the files of paths, and what was recognised.

    A folder stands for all files in it and below it that can be read, in the order of their names with numbers by
    value. A folder of Parquet files in parts (``key=value`` folders, ``part-*.parquet``) is one table. A file is named
    without its ending, and with its folders where two files would have the same name.

    Args:
        paths: as :data:`Paths` describes.

    Raises:
        FileNotFoundError: there is no such file, or a folder or pattern has no file that can be read.
        TableError: a file has an unknown ending.
    """
    single = isinstance(paths, (str, os.PathLike))
    found: list[Path] = []
    notes: list[str] = []
    problems = Problems()
    for path in [paths] if single else paths:
        with problems.kept():
            found += [file for file in _expand(path, notes) if file not in found]
    problems.raise_any()
    if not found:
        raise FileNotFoundError(f"no file; expected tables of recordings ({', '.join(FORMATS)})")
    names = [_stem(file) for file in found]
    if len(set(names)) < len(names):
        root = os.path.commonpath([file.absolute().parent for file in found])
        names = [Path(os.path.relpath(file.absolute().with_name(_stem(file)), root)).as_posix() for file in found]
    if len(set(names)) < len(names):  # two formats of one recording
        names = [file.name if names.count(name) > 1 else name for file, name in zip(found, names, strict=True)]
    return [RecordingFile(file, name) for file, name in zip(found, names, strict=True)], notes


@contextlib.contextmanager
def standard_input_as_file(paths: Paths) -> Generator[Paths, None, None]:
    """Replace "-" among paths by a temporary file with the bytes of standard input.

    Args:
        paths: as :data:`Paths` describes.
    """
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if "-" not in [str(path) for path in listed]:
        yield paths
        return
    with tempfile.TemporaryDirectory() as folder:
        raw = sys.stdin.buffer
        start = raw.read(4)
        ending = ".parquet" if start == b"PAR1" else ".csv.gz" if start[:2] == b"\x1f\x8b" else ".csv"
        file = Path(folder) / f"standard input{ending}"
        with file.open("wb") as stream:
            stream.write(start)
            shutil.copyfileobj(raw, stream)
        yield [file if str(path) == "-" else path for path in listed]


def _is_dataset(folder: Path) -> bool:
    """Return whether a folder is one Parquet table in parts."""
    inside = [each.name for each in folder.iterdir() if not each.name.startswith(".")]
    parts = any(re.fullmatch(r"(part[-_.]?.*\.parquet|_SUCCESS|_metadata|_common_metadata)", name) for name in inside)
    keyed = bool(inside) and all("=" in name or name.startswith("_") for name in inside)
    return (parts or keyed) and next(folder.rglob("*.parquet"), None) is not None


def _expand(path: str | os.PathLike[str], notes: list[str]) -> list[Path]:
    place = Path(path)
    if place.is_dir():
        if _is_dataset(place):
            notes.append(f"{path}: one Parquet table in parts")
            return [place]
        return _files_in(place, notes)
    if not place.exists() and glob.has_magic(str(path)):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True), key=_by_numbers)]
        if not matches:
            raise FileNotFoundError(f"{path}: no file matches this pattern")
        files = [file for match in matches for file in (_files_in(match, notes) if match.is_dir() else [match])]
        return [file for file in files if ending_of(file)] or files
    if not place.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a table of recordings ({', '.join(FORMATS)})")
    return [place]


def _files_in(folder: Path, notes: list[str]) -> list[Path]:
    """Return the files of a folder that can be read; text files only if there are no others."""
    inside = [each for each in folder.rglob("*") if each.is_file() and not _is_hidden(each, folder)]
    readable = [each for each in inside if ending_of(each)]
    kept = [each for each in readable if ending_of(each) != ".txt"] or readable
    # The signals of a WFDB record may be in a .mat file, which its header names.
    kept = [each for each in kept if each.suffix != ".mat" or each.with_suffix(".hea") not in kept]
    if not kept:
        raise FileNotFoundError(f"{folder}: no file that can be read; expected {', '.join(FORMATS)}")
    if len(kept) < len(inside):
        others = sorted({each.suffix or each.name for each in inside if each not in kept})
        notes.append(f"{folder}: files that are not read as signals: {', '.join(others[:10])}")
    return sorted(kept, key=lambda each: _by_numbers(str(each)))


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith((".", "~$", "__MACOSX")) for part in file.relative_to(folder).parts)


def _by_numbers(text: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text)]


def _stem(file: Path) -> str:
    return file.name[: -len(ending_of(file))] or file.name if ending_of(file) else file.name
