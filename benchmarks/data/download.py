"""Download the files of a data set, check them, and convert them: :func:`prepare`."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import sys
import urllib.parse
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.data.convert import digest
from benchmarks.data.sources import Source, SourceFile

TIMEOUT = 60.0
BLOCK = 1 << 20


class DataMissingError(Exception):
    """A data set is not at hand; the message says what to do."""


class ChecksumError(Exception):
    """What was downloaded or converted is not what was recorded. None of it was kept."""


def prepare(source: Source, downloads: Path, target: Path) -> None:
    """Make ``tidy.npz`` and ``meta.json``.

    Args:
        source: of the data set.
        downloads: folder for its files. Those that are there and are the right ones are not loaded again.
        target: folder of the two files. ``tidy.npz`` comes last and in one step: where it is, all is there.

    Raises:
        DataMissingError: a file cannot be downloaded.
        ChecksumError: a file, or what became of it, is not what was recorded.
    """
    files = source.files()
    missing = [file for file in files if not _is(file, downloads / file.path)]
    if missing:
        megabytes = sum(file.size for file in missing) / 1e6
        print(f"{source.name}: {len(missing)} files, {megabytes:.1f} MB, from {source.url}", file=sys.stderr)
    for file in missing:
        fetch(f"{source.url}/{urllib.parse.quote(file.path)}", file, downloads / file.path, source.name)
    arrays = source.convert(downloads, source.meta)
    if digest(arrays) != source.digest:
        raise ChecksumError(
            f"{source.name} was converted to other signals or classes than were recorded: SHA-256 {digest(arrays)}, "
            f"expected {source.digest}. Remove {downloads} if anything but the downloads lies there, and report it"
        )
    origin = {"source": source.url, "licence": source.licence, "citation": source.citation}
    with _whole(target / "meta.json") as part:
        part.write(json.dumps({**source.meta, **origin}, indent=1, ensure_ascii=False).encode())
    with _whole(target / "tidy.npz") as part:
        np.savez_compressed(part, **arrays)


def fetch(url: str, file: SourceFile, path: Path, name: str) -> None:
    """Download a file, check it, and only then put it in its place.

    Raises:
        DataMissingError: it cannot be had.
        ChecksumError: it is another file.
    """
    found = hashlib.sha256()
    with _whole(path) as part:
        try:
            for block in _blocks(url, file.size):
                found.update(block)
                part.write(block)
        except (OSError, http.client.HTTPException) as error:
            raise DataMissingError(
                f"{name} is not at hand and cannot be downloaded from {url} ({error}). Go online and try again: files "
                f"that arrived are kept. Or set SEGCRF_DATA to a folder that has {name}/tidy.npz"
            ) from error
        if found.hexdigest() != file.sha256:
            raise ChecksumError(
                f"{url} is not the file that was recorded: SHA-256 {found.hexdigest()}, expected {file.sha256}. It was "
                f"not kept. Try again; if it stays so, set SEGCRF_DATA to a folder that has {name}/tidy.npz"
            )


def _blocks(url: str, size: int) -> Iterator[bytes]:
    """What lies at an address; no more than one byte beyond its size, which makes another checksum.

    Raises:
        OSError: it cannot be had, or not to its end.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "segcrf-benchmarks"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        got, announced = 0, answer.headers.get("Content-Length")
        while got <= size and (block := answer.read(min(BLOCK, size + 1 - got))):
            got += len(block)
            yield block
        if announced is not None and got < min(int(announced), size):
            raise ConnectionError(f"the connection ended after {got:,} of {int(announced):,} bytes")


@contextmanager
def _whole(path: Path) -> Generator[IO[bytes], None, None]:
    """A file to write that takes its place when the block ends, and is gone when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as part:
            yield part
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _is(file: SourceFile, path: Path) -> bool:
    """Whether a file is there and is the right one."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
