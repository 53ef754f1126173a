"""Runs a function in a child process that fails, or dies, at one of its file-system calls."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

# What Python reports before it changes or opens a file, of all that may happen on a disk.
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.listdir", "os.scandir")
DONE, FAILED, KILLED = 0, 1, 9


def crash_points(work: Callable[[], object], place: os.PathLike[str], how: str) -> Iterator[int]:
    """Run ``work`` again and again, each time to a later file-system call in ``place``; yield how each run ended.

    Args:
        work: is run in a child, which shares nothing but the disk.
        place: calls that concern other places are not counted.
        how: "killed", at once at that call; or "full", and the call fails for want of disk space.

    Yields:
        KILLED, or FAILED if the error came out of ``work``, or DONE. The last run meets no such call, and is done.
    """
    for point in range(10_000):
        child = os.fork()
        if child == 0:
            _run_to(point, work, os.fspath(place), how)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        met = code & 64
        assert code >= 0, f"the child died of signal {-code}"
        yield code & 63
        if not met:
            return
    raise AssertionError("no end of file-system calls")


def _run_to(point: int, work: Callable[[], object], place: str, how: str) -> None:
    """Run ``work`` until its call number ``point`` and end the process; the exit code has bit 64 if it came so far."""
    calls = [0]

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS or not str(arguments[0]).startswith(place):
            return
        calls[0] += 1
        if calls[0] != point + 1:
            return
        if how == "killed":
            os._exit(KILLED | 64)
        raise OSError(errno.ENOSPC, "No space left on device")

    sys.addaudithook(count)
    code = DONE
    try:
        work()
    except OSError as error:
        code = FAILED if error.errno == errno.ENOSPC else 2
    except BaseException:
        code = 3
    os._exit(code | (64 if calls[0] > point else 0))
