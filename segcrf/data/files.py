"""Files: writing whole or not at all, and checks before the work."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["check_folder", "write_atomically"]


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Yield a temporary file beside ``path``. It replaces ``path`` if the block succeeds, and vanishes if it fails.

    Args:
        path: the file to write.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: the path is not writable.
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
        path: the file to write; an existing file may be replaced.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: the path itself is a folder.
        PermissionError: its folder is not writable.
    """
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {folder}; make it first")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: is a folder, expected a file to write; add a file name to it")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path}: the folder {folder} is not writable; choose another")
