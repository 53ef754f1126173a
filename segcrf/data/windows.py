"""Windows: excerpts of long recordings, and batches of them for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, Sampler

from segcrf._validation import UNLABELLED

__all__ = ["Batch", "RandomWindows", "Recording", "Window", "Windows", "collate", "grid"]

Array = npt.NDArray[Any]


class Recording(NamedTuple):
    """Tensors of one recording, or of a window of it, for training.

    Attributes:
        signal: (T, F).
        labels: (T,) int64, -100 = unlabelled.
        targets: (T, R), NaN = unknown; or None.
        name: name of the recording in messages.
    """

    signal: Tensor
    labels: Tensor
    targets: Tensor | None
    name: str = ""

    def cut(self, start: int, stop: int) -> Recording:
        """Return the frames [start, stop)."""
        targets = None if self.targets is None else self.targets[start:stop]
        return Recording(self.signal[start:stop], self.labels[start:stop], targets, self.name)


class Batch(NamedTuple):
    """Windows padded to the longest.

    Attributes:
        signal: (B, T, F).
        labels: (B, T) int64, -100 = unlabelled or padding.
        targets: (B, T, R), NaN = unknown or padding; or None.
        lengths: (B,) int64.
        names: B names of the windows.
    """

    signal: Tensor
    labels: Tensor
    targets: Tensor | None
    lengths: Tensor
    names: tuple[str, ...] = ()


class Window(NamedTuple):
    """The frames [start, stop) of a recording."""

    recording: int
    start: int
    stop: int


class Windows(Dataset[list[Recording]]):
    """A dataset that returns the recordings of a list of windows, for :func:`collate`.

    Args:
        recordings: the recordings to cut.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self.recordings = recordings

    def __getitem__(self, index: list[Window]) -> list[Recording]:
        return [self._named(window) for window in index]

    def _named(self, window: Window) -> Recording:
        cut = self.recordings[window.recording].cut(window.start, window.stop)
        return cut._replace(name=f"{cut.name or f'recording {window.recording}'}, frames {window.start}-{window.stop}")


def collate(windows: Sequence[Recording]) -> Batch:
    """Pad windows to the longest: labels with -100, targets with NaN.

    Args:
        windows: the windows of a batch, as :class:`Windows` returns them.

    Returns:
        The batch.
    """
    lengths = torch.tensor([len(window.labels) for window in windows])
    signal = pad_sequence([window.signal for window in windows], batch_first=True)
    labels = pad_sequence([window.labels for window in windows], batch_first=True, padding_value=UNLABELLED)
    known = [window.targets for window in windows if window.targets is not None]
    targets = pad_sequence(known, batch_first=True, padding_value=torch.nan) if known else None
    return Batch(signal, labels, targets, lengths, tuple(window.name for window in windows))


def grid(recordings: Sequence[Recording], size: int, phase: Sequence[int] | None = None) -> list[Window]:
    """Cut recordings into windows that touch, and leave out windows without any label or target.

    Args:
        recordings: what to cut.
        size: frames of a window; the first and last of a recording may have fewer.
        phase: where in its first window each recording begins, 0 to size - 1; None: 0.

    Returns:
        The windows, recording after recording.
    """
    windows: list[Window] = []
    for i, recording in enumerate(recordings):
        length = len(recording.labels)
        known = (recording.labels != UNLABELLED).numpy()
        if recording.targets is not None:
            known = known | (~recording.targets.isnan()).any(dim=1).numpy()
        first = 0 if phase is None or length <= size else -phase[i]
        for start in range(first, length, size):
            window = Window(i, max(start, 0), min(start + size, length))
            if known[window.start : window.stop].any():
                windows.append(window)
    return windows


class RandomWindows(Sampler[list[Window]]):
    """Draw batches of windows at positions that change from epoch to epoch; every frame is drawn equally often.

    Args:
        recordings: what to cut.
        size: frames of a window.
        batch_size: approximate number of windows in a batch; the number of batches is the same in all epochs.
        min_batches: lowest number of batches in an epoch; if there are few recordings, each is cut several times, at
            different positions.
        balance: highest number of windows that show the commonest class alone, per other window; they are drawn anew
            each epoch. 1 is the sampling of detection networks. None: all windows.
        seed: decides everything, together with the epoch.

    Source:
        Ren, He, Girshick and Sun, *Faster R-CNN*, 2015, section 3.1.3: background up to as often as objects.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        size: int,
        batch_size: int,
        *,
        min_batches: int = 1,
        balance: float | None = None,
        seed: int = 0,
    ) -> None:
        self.recordings, self.size, self.balance, self.seed = recordings, size, balance, seed
        self.commonest = None if balance is None else _commonest(recordings)
        windows = len(self._capped(grid(recordings, size), np.random.default_rng(seed)))
        self.passes = max(1, round(min_batches * batch_size / windows))
        self.batches = max(1, round(self.passes * windows / batch_size))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides the positions; the training engine calls this at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Window]]:
        random = np.random.default_rng([self.seed, self.epoch])
        windows: list[Window] = []
        for _ in range(self.passes):
            phase = random.integers(self.size, size=len(self.recordings)).tolist()
            windows += self._capped(grid(self.recordings, self.size, phase), random)
        order = np.resize(random.permutation(len(windows)), max(len(windows), self.batches))
        for part in np.array_split(order, self.batches):
            yield [windows[i] for i in part]

    def _capped(self, windows: list[Window], random: np.random.Generator) -> list[Window]:
        """Return the windows without the surplus of those that show the commonest class alone."""
        if self.balance is None:
            return windows
        alone = np.array([self._shows_commonest_alone(window) for window in windows])
        most = round(self.balance * int((~alone).sum()))
        if not 0 < most < alone.sum():
            return windows
        dropped = set(random.permutation(np.flatnonzero(alone))[most:].tolist())
        return [window for i, window in enumerate(windows) if i not in dropped]

    def _shows_commonest_alone(self, window: Window) -> bool:
        labels = self.recordings[window.recording].labels[window.start : window.stop]
        return bool(((labels == self.commonest) | (labels == UNLABELLED)).all())


def _commonest(recordings: Sequence[Recording]) -> int:
    """Return the class with the most frames."""
    labels = torch.cat([recording.labels for recording in recordings])
    return int(torch.bincount(labels[labels != UNLABELLED]).argmax())
