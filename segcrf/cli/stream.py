"""``segcrf stream``: bands of a recording that is still being measured, one JSON line each.

Frames come from standard input: lines of CSV, or float32 numbers in the machine's byte order. What is there is read and
decoded at once, so a frame never waits for another one. A line is written when a band is finished, and flushed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from segcrf._validation import InputError
from segcrf.cli.frames import CsvFrames, RawFrames
from segcrf.cli.inputs import load_segmenter, read_columns
from segcrf.cli.options import add_command, add_fitted_model_options
from segcrf.data import write_atomically

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterator

    import pandas as pd

    from segcrf.inference import SignalStream
    from segcrf.segmenter import Segmenter

__all__ = ["add_stream_command"]

# Bytes that are read at once; a pipe holds as many.
READ = 1 << 16
STATE_FORMAT = "segcrf-stream"

Array = npt.NDArray[Any]


def add_stream_command(commands: Any) -> None:
    """Add the command to the parser.

    Args:
        commands: the sub-parsers of the root.
    """
    text = "Write the bands of standard input, as JSON lines, while it is being measured."
    command = add_command(commands, "stream", run_stream, text)
    add_fitted_model_options(command)
    command.add_argument(
        "--format",
        choices=("csv", "float32"),
        default="csv",
        help="lines of CSV, with a header or the channels in the order of the model; or raw numbers (default: csv)",
    )
    command.add_argument(
        "--max-delay", type=int, metavar="FRAMES", help="decide after so many frames (default: that of the model)"
    )
    command.add_argument("--current", action="store_true", help="also write the running band, which may change")
    command.add_argument(
        "--recording",
        default="0",
        metavar="NAME",
        help="name in the output, where no column names the recordings (default: 0)",
    )
    command.add_argument(
        "--state", type=Path, metavar="FILE", help="saved when the command is ended, and continued from if it is there"
    )


def run_stream(arguments: argparse.Namespace) -> int:
    """Decode standard input until it ends.

    Args:
        arguments: of the command.

    Returns:
        0 at the end of the input, or when the reader of the output has left; 130 or 143 when interrupted or terminated.
    """
    model = load_segmenter(arguments.model, arguments.encoder)
    if arguments.max_delay is not None:
        model.set_decoding(max_delay=arguments.max_delay)
    live = _Live(model, arguments)
    live.resume()
    with _ended_by_signals() as (ended, waking):
        try:
            for piece in _arriving(ended, waking):
                live.take(piece)
            if not ended:
                live.finish()
        except BrokenPipeError:
            # Python would write what is left at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            live.keep()
            return 0
        if ended:
            live.keep()
            return 128 + ended[0]
    return 0


class _Live:
    """The stream of one recording, and what was read but is not a whole frame yet."""

    def __init__(self, model: Segmenter, arguments: argparse.Namespace) -> None:
        columns, _ = read_columns(arguments.model)
        channels = columns.channels or tuple(str(i) for i in range(model.n_features_in_))
        self.model, self.path, self.shows_current = model, arguments.state, arguments.current
        raw = arguments.format == "float32"
        self.frames = RawFrames(len(channels)) if raw else CsvFrames(channels, columns.recording)
        self.recording: str = arguments.recording
        self.stream: SignalStream = model.stream(recording=self.recording)

    def take(self, piece: bytes) -> None:
        """Decode the frames that ``piece`` completes, and write what is known by then."""
        for name, frames in self.frames.take(piece):
            self._decode(name, frames)

    def finish(self) -> None:
        """Decode the rest of the recording and write it."""
        for name, frames in self.frames.finish():
            self._decode(name, frames)
        self._end()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _decode(self, name: str | None, frames: Array) -> None:
        """Decode frames; another name of the recording ends the one before."""
        if name is not None and name != self.recording:
            self._end()
            self.recording, self.stream = name, self.model.stream(recording=name)
        self._write(self.stream.push(frames))
        if self.shows_current:
            self._write_current()

    def _end(self) -> None:
        if self.stream.decoder.frames:
            self._write(self.stream.finish())

    def resume(self) -> None:
        """Continue from the state in a file, if there is one."""
        import torch

        if self.path is None or not self.path.exists():
            return
        try:
            state = torch.load(self.path, weights_only=True)
            if state.get("format") != STATE_FORMAT:
                raise ValueError("it was not written by segcrf stream")
        except Exception as error:
            got = f"{self.path}, which cannot be read ({error})"
            raise InputError("--state", got, "a file that segcrf stream wrote", "remove it to begin anew") from error
        if state["weights"] != self._weights():
            advice = "give that model, or remove the file to begin anew"
            raise InputError("--state", f"{self.path}, of another model", "the state of this model", advice)
        self.frames.load_state_dict(state["frames"])
        self.recording = state["recording"]
        self.stream = self.model.stream(recording=self.recording)
        self.stream.load_state_dict(state["stream"])

    def keep(self) -> None:
        """Save the state, if there is a file for it."""
        import torch

        if self.path is None:
            return
        state = {"format": STATE_FORMAT, "weights": self._weights(), "recording": self.recording}
        state |= {"frames": self.frames.state_dict(), "stream": self.stream.state_dict()}
        with write_atomically(self.path) as temporary:
            torch.save(state, temporary)
        print(f"segcrf: {self.path} keeps the state; the same command continues from it", file=sys.stderr)

    def _weights(self) -> str:
        from segcrf.training import digest_weights

        return digest_weights(self.model.model_.state_dict())

    def _write(self, bands: pd.DataFrame) -> None:
        """Write a line for every finished band."""
        for band in bands.to_dict("records"):
            self._write_line({name: value.item() if hasattr(value, "item") else value for name, value in band.items()})

    def _write_current(self) -> None:
        """Write the running band with the probability of every class."""
        label, start = self.stream.decoder.current
        names = [str(name) for name in self.model.classes_]
        second = 1.0 if self.model.sampling_rate is None else self.model.sampling_rate
        line: dict[str, Any] = {
            "recording": self.recording,
            "current": names[label],
            "start": start / second if second != 1.0 else start,
        }
        line["probability"] = dict(zip(names, self.stream.decoder.filtered.tolist(), strict=True))
        if self.model.n_targets_:
            line["targets"] = self.stream.targets.tolist()
        self._write_line(line)

    def _write_line(self, line: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()


@contextlib.contextmanager
def _ended_by_signals() -> Generator[tuple[list[int], int]]:
    """Collect SIGINT and SIGTERM, so that they end the command between two frames and never within one.

    Yields:
        The signals so far, and a file descriptor that becomes readable with the first.
    """
    ended: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        for number in before:
            signal.signal(number, lambda got, _: ended.append(got))
        signal.set_wakeup_fd(writer)
        yield ended, reader
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _arriving(ended: list[int], waking: int) -> Iterator[bytes]:
    """Yield what arrives on standard input, until it or the command ends."""
    source = sys.stdin.fileno()
    while not ended:
        ready, _, _ = select.select([source, waking], [], [])
        if ended or source not in ready:
            continue
        piece = os.read(source, READ)
        if not piece:
            return
        yield piece
