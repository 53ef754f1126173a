"""Files: written whole or not at all, by one process at a time, and checked before the work."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import time
from collections.abc import Generator
from pathlib import Path

__all__ = ["check_folder", "hold", "write_atomically"]

PathLike = str | os.PathLike[str]

# A draft is hidden, and its name cannot be guessed, so that no link to another file can be put in its place.
_DRAFT, _DIGITS = ".segcrf-", 16
# File systems that cannot flush a folder say so by these.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def hold(path: PathLike, *, wait: float = 10.0) -> Generator[None, None, None]:
    """Keep other processes and threads from a path while the block runs.

    They must ask by this function too. A file ``.<name>.lock`` beside the path names the holder. One that a killed
    process left holds nothing. The same thread may hold a path several times.

    Args:
        path: a file or folder, which need not exist; its folder must.
        wait: seconds to wait for another holder.

    Raises:
        BlockingIOError: another process or thread still holds the path.
        PermissionError: the folder is not writable.

    Source:
        ``flock``, by the package filelock.
    """
    from filelock import FileLock, Timeout

    final = Path(os.path.abspath(path))
    place = final.with_name(f".{final.name}.lock")
    lock = FileLock(place, is_singleton=True)
    try:
        lock.acquire(timeout=wait, poll_interval=0.02)
    except Timeout:
        advice = "wait until it has ended, or choose another path"
        raise BlockingIOError(f"{path}: {_read_holder(place)} is at work on it; {advice}") from None
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            place.write_text(f"process {os.getpid()} on {socket.gethostname()} (since {since})", encoding="utf-8")
        yield
    finally:
        if outermost:
            # While it is held: whoever waits sees that this file is gone, and makes another.
            with contextlib.suppress(OSError):
                place.unlink()
        lock.release()


def _read_holder(place: Path) -> str:
    try:
        holder = place.read_text(encoding="utf-8", errors="replace")
    except OSError:
        holder = ""
    return holder if holder.startswith("process ") and holder.isprintable() else "another process"


@contextlib.contextmanager
def write_atomically(path: PathLike) -> Generator[Path, None, None]:
    """Yield a temporary file beside ``path``. It replaces ``path`` if the block succeeds, and vanishes if it fails.

    File and folder are flushed to the disk, so that a power cut leaves the old file or the new one. What a killed
    process left of the same file is removed.

    Args:
        path: the file to write.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: the path is not writable.
        BlockingIOError: another process writes the same file.
    """
    final = Path(path)
    check_folder(final)
    with hold(final):
        _remove_drafts(final)
        temporary = final.with_name(f"{_DRAFT}{secrets.token_hex(_DIGITS // 2)}.{final.name}")
        try:
            temporary.touch(exist_ok=False)
            mode = (final if final.exists() else temporary).stat().st_mode & 0o777
            yield temporary
            temporary.chmod(mode)  # some writers make files that only their owner reads
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, final)
            _flush_folder(final.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _remove_drafts(final: Path) -> None:
    """Remove the temporary files of a path that killed processes left; call it while you hold the path."""
    draft = re.compile(re.escape(_DRAFT) + f"[0-9a-f]{{{_DIGITS}}}" + re.escape(f".{final.name}"))
    for other in final.parent.iterdir():
        if draft.fullmatch(other.name):
            other.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def check_folder(path: PathLike) -> None:
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
