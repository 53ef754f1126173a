"""Frames out of bytes: lines of CSV or raw float32 numbers that arrive in pieces of any size."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import InputError

__all__ = ["CsvFrames", "RawFrames"]

Named = tuple[str | None, npt.NDArray[np.float64]]
MISSING = ("", "nan", "na", "null", "none")


class CsvFrames:
    r"""Frames of lines of CSV; a line may be cut anywhere.

    Args:
        channels: names of the channels. A first line that is no frame is a header: it must name them all, and other
            columns are ignored. Without a header a line holds the channels in this order.
        recording: name of the column that names the recordings, which a header may have.

    Example:
        >>> frames = CsvFrames(["x", "y"], "who")
        >>> frames.take(b"t,y,x,who\n0,1,2,Ann\n0.1,3")
        [('Ann', array([[2., 1.]]))]
        >>> frames.take(b",4,Bob\n")
        [('Bob', array([[4., 3.]]))]
    """

    def __init__(self, channels: Sequence[str], recording: str | None = None) -> None:
        self._channels, self._recording = list(channels), recording
        self._name: int | None = None  # the column that names the recordings
        self._rest = b""
        self._line = 0
        self._order: list[int] | None = None  # the column of each channel, once the first line is seen
        self._width = 0

    def take(self, piece: bytes) -> list[Named]:
        """Return the frames (N, F) that a piece completes, with the name of their recording; an empty field is NaN.

        Raises:
            InputError: a line is no frame. It names the line.
        """
        *lines, self._rest = (self._rest + piece).split(b"\n")
        frames = [frame for frame in map(self._frame, lines) if frame is not None]
        groups = itertools.groupby(frames, key=lambda frame: frame[0])
        return [(name, np.array([values for _, values in group])) for name, group in groups]

    def finish(self) -> list[Named]:
        """Return the frame of a last line without a line break, if there is one."""
        return self.take(b"\n") if self._rest.strip() else []

    def state_dict(self) -> dict[str, Any]:
        """Return what was read and is not a frame yet, and the columns."""
        order = self._order
        known = {"line": self._line, "order": order, "name": self._name, "width": self._width}
        return {"kind": "csv", "rest": self._rest.hex()} | known

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        _check_kind(state, "csv")
        self._rest, self._line = bytes.fromhex(state["rest"]), state["line"]
        self._order, self._name, self._width = state["order"], state["name"], state["width"]

    def _frame(self, line: bytes) -> tuple[str | None, list[float]] | None:
        """Return the recording and the frame of a line; None for a header or an empty line."""
        self._line += 1
        try:
            text = line.decode("utf-8-sig" if self._line == 1 else "utf-8").strip("\r\n \t")
        except UnicodeDecodeError as error:
            raise self._error("bytes that are no UTF-8 text", "lines of CSV", "give --format float32") from error
        if not text or text.startswith("#"):
            return None
        fields = next(csv.reader([text]))
        if self._order is None:
            self._width, self._order = len(fields), self._find_columns(fields)
            if not all(map(_is_number, fields)):
                return None
        if len(fields) != self._width:
            raise self._error(f"{len(fields)} fields", f"{self._width}, as in the first line", "correct the line")
        chosen = zip(self._order, self._channels, strict=True)
        recording = None if self._name is None else fields[self._name].strip()
        return recording, [self._number(fields[column], name) for column, name in chosen]

    def _find_columns(self, fields: list[str]) -> list[int]:
        """Return the column of each channel by the first line, a header or a frame."""
        if all(map(_is_number, fields)):
            if len(fields) != len(self._channels):
                expected = f"the {len(self._channels)} channels {', '.join(self._channels)}, or a header with them"
                raise self._error(f"{len(fields)} numbers", expected, "begin with a header")
            return list(range(len(fields)))
        names = [field.strip() for field in fields]
        absent = [name for name in self._channels if name not in names]
        if absent:
            raise self._error(
                f"a header without {', '.join(absent)}", f"the channels {', '.join(self._channels)}", "name them all"
            )
        self._name = names.index(self._recording) if self._recording in names else None
        return [names.index(name) for name in self._channels]

    def _number(self, field: str, name: str) -> float:
        text = field.strip()
        if text.lower() in MISSING:
            return float("nan")
        if not _is_number(text):
            raise self._error(f"{field!r} in {name}", "a number", "correct the line; nothing after it was decoded")
        return float(text)

    def _error(self, got: str, expected: str, advice: str) -> InputError:
        return InputError(f"standard input, line {self._line}", got, expected, advice)


class RawFrames:
    """Frames of float32 numbers in the machine's byte order, channel by channel.

    Args:
        channels: numbers in a frame.

    Example:
        >>> frames = RawFrames(2)
        >>> frames.take(np.arange(3, dtype=np.float32).tobytes())
        [(None, array([[0., 1.]]))]
    """

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._rest = b""

    def take(self, piece: bytes) -> list[Named]:
        """Return the frames (N, F) that a piece completes, without a name."""
        size = 4 * self._channels
        data = self._rest + piece
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        frames = np.frombuffer(data[:whole], dtype=np.float32).reshape(-1, self._channels).astype(np.float64)
        return [(None, frames)] if whole else []

    def finish(self) -> list[Named]:
        """Return no frame: raise if the input ended within one.

        Raises:
            InputError: bytes are left that are no whole frame.
        """
        if self._rest:
            got, expected = (
                f"{len(self._rest)} bytes after the last frame",
                f"{4 * self._channels} for each frame",
            )
            raise InputError("standard input", got, expected, "send float32 numbers of all channels")
        return []

    def state_dict(self) -> dict[str, Any]:
        """Return what was read and is not a frame yet."""
        return {"kind": "float32", "rest": self._rest.hex()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        _check_kind(state, "float32")
        self._rest = bytes.fromhex(state["rest"])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in MISSING
    return True


def _check_kind(state: Mapping[str, Any], kind: str) -> None:
    """Raise for the state of another format."""
    if state["kind"] != kind:
        raise InputError("--state", f"the state of --format {state['kind']}", f"that of --format {kind}")
