"""Download, check and convert the files of a data set."""

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
    """Missing data set; the message gives a remedy."""


class ChecksumError(Exception):
    """Difference of a download or conversion from its recorded checksum; the file is not kept."""


def prepare(source: Source, downloads: Path, target: Path) -> None:
    """Write ``tidy.npz`` and ``meta.json`` of a data set.

    Args:
        source: source of the data set.
        downloads: folder of its files. Files with the recorded checksum are not downloaded again.
        target: folder of the two files. ``tidy.npz`` is written last and in one step, so that it marks a complete set.

    Raises:
        DataMissingError: a file cannot be downloaded.
        ChecksumError: a file or the conversion differs from its recorded checksum.
    """
    files = source.files()
    missing = [file for file in files if not _matches(file, downloads / file.path)]
    if missing:
        megabytes = sum(file.size for file in missing) / 1e6
        print(f"{source.name}: {len(missing)} files, {megabytes:.1f} MB, from {source.url}", file=sys.stderr)
    for file in missing:
        fetch(f"{source.url}/{urllib.parse.quote(file.path)}", file, downloads / file.path, source.name)
    arrays = source.convert(downloads, source.meta)
    if digest(arrays) != source.digest:
        raise ChecksumError(
            f"{source.name} was converted to other signals or classes than recorded: SHA-256 {digest(arrays)}, "
            f"expected {source.digest}. Remove {downloads} if it has other files than the downloads, and report this"
        )
    origin = {"source": source.url, "licence": source.licence, "citation": source.citation}
    with _whole(target / "meta.json") as part:
        part.write(json.dumps({**source.meta, **origin}, indent=1, ensure_ascii=False).encode())
    with _whole(target / "tidy.npz") as part:
        np.savez_compressed(part, **arrays)


def fetch(url: str, file: SourceFile, path: Path, name: str) -> None:
    """Download and check a file, then move it to its path.

    Raises:
        DataMissingError: the download fails.
        ChecksumError: the file differs from its recorded checksum.
    """
    found = hashlib.sha256()
    with _whole(path) as part:
        try:
            for block in _blocks(url, file.size):
                found.update(block)
                part.write(block)
        except (OSError, http.client.HTTPException) as error:
            raise DataMissingError(
                f"{name} is missing and cannot be downloaded from {url} ({error}). Go online and try again: finished "
                f"files are kept. Or set SEGCRF_DATA to a folder that has {name}/tidy.npz"
            ) from error
        if found.hexdigest() != file.sha256:
            raise ChecksumError(
                f"{url} is not the recorded file: SHA-256 {found.hexdigest()}, expected {file.sha256}. It was not "
                f"kept. Try again; if that fails, set SEGCRF_DATA to a folder that has {name}/tidy.npz"
            )


def _blocks(url: str, size: int) -> Iterator[bytes]:
    """Yield the content of an address, up to one byte beyond its size, which changes the checksum.

    Raises:
        OSError: the download fails or is incomplete.
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
    """Open a temporary file that moves to ``path`` at the end of the block, or is removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as part:
            yield part
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _matches(file: SourceFile, path: Path) -> bool:
    """Return whether a file exists with the recorded size and checksum."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
