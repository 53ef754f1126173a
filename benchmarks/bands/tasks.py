"""Load the tasks: recordings split by person or house, at the rate used.

No choice here depends on a test score. Fast signals are averaged to a lower rate, so that an encoder sees more of the
past at the same cost; at that rate the shortest bands still have some frames. Very long recordings are cut into months.
Every method gets the same arrays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import folder
from segcrf import Segments
from segcrf.data import Labelled, switching_sinusoid

Array = npt.NDArray[Any]
UNLABELLED = -100
DAYS_30 = 30 * 24 * 60


@dataclass(frozen=True, eq=False)
class Task:
    """Training, validation and test recordings of a data set.

    Args:
        name: name of the data set.
        classes: names of the classes.
        rate: frames per second.
        margin: tolerance of a boundary in frames.
        train, valid, test: signals (T, F) float32 and labels (T,) int64, -100 = unlabelled.
        people: the person or house of each test recording.
    """

    name: str
    classes: list[str]
    rate: float
    margin: int
    train: Labelled
    valid: Labelled
    test: Labelled
    people: list[str]

    def median_duration(self) -> float:
        """Return the median duration of training bands in frames, the unit of filter widths."""
        return float(np.median(Segments.from_labels(self.train.labels).durations))


def described(task: Task) -> dict[str, Any]:
    """Return the facts of a task that tables print: sizes of all parts, boundaries and people of the test part.

    A boundary lies between two labelled frames, as :func:`segcrf.metrics.boundary_scores` counts it.
    """
    parts = (task.train, task.valid, task.test)
    return {
        "classes": len(task.classes),
        "rate": round(task.rate, 4),
        "median_duration": task.median_duration(),
        "recordings": [len(part.labels) for part in parts],
        "bands": [len(Segments.from_labels(part.labels)) for part in parts],
        "people": task.people,
        "boundaries": sum(_boundaries(labels) for labels in task.test.labels),
        "margin": task.margin,
    }


def _boundaries(labels: Array) -> int:
    before, after = labels[:-1], labels[1:]
    return int(np.count_nonzero((before != after) & (before != UNLABELLED) & (after != UNLABELLED)))


def _unchanged(signal: Array) -> Array:
    """Return the channels of the sensor."""
    return signal


@dataclass(frozen=True)
class Source:
    """Recipe that turns a stored data set into a task.

    Args:
        rate: frames per second of the stored signal.
        part: maps the identifier of a recording to "train", "valid" or "test".
        margin: tolerance of a boundary in seconds.
        factor: number of frames averaged into one.
        prepare: makes features of a raw signal, before frames are averaged.
        stretch: maximum length in frames, at which longer recordings are cut; None keeps all whole.
        person: maps the identifier of a recording to its person or house.
    """

    rate: float
    part: Callable[[str], str]
    margin: float
    factor: int = 1
    prepare: Callable[[Array], Array] = _unchanged
    stretch: int | None = None
    person: Callable[[str], str] = lambda identifier: identifier


def _by_number(identifier: int, valid: int, test: int) -> str:
    """Return the part of a person by number: above ``test``, above ``valid``, or below both."""
    return "test" if identifier > test else "valid" if identifier > valid else "train"


def _by_prefix(valid: tuple[str, ...], test: tuple[str, ...]) -> Callable[[str], str]:
    """Return a function from an identifier to its part, by the given prefixes; others train."""
    return lambda name: "test" if name.startswith(test) else "valid" if name.startswith(valid) else "train"


def _first(letters: int) -> Callable[[str], str]:
    """Return a function from an identifier to its first letters, which name the person."""
    return lambda name: name[:letters]


def _gaze(signal: Array) -> Array:
    """Return positions, their differences, and whether the eye was lost.

    A lost position repeats the last seen one: interpolation would show the future to a causal encoder.
    """
    lost = np.isnan(signal).any(1)
    seen = np.flatnonzero(~lost)
    held = signal[seen[np.maximum(np.searchsorted(seen, np.arange(len(signal)), side="right") - 1, 0)]]
    return np.concatenate([held, np.diff(held, axis=0, prepend=held[:1]), lost[:, None]], axis=1).astype(np.float32)


def _moving(signal: Array) -> Array:
    """Return positions relative to the first frame, since people stand elsewhere each time, and their differences."""
    return np.concatenate([signal - signal[:1], np.diff(signal, axis=0, prepend=signal[:1])], axis=1)


def _by_house(stretch: str) -> str:
    """Return the part of a month: one house tests; every fifth month of the others validates, the rest train."""
    house, month = stretch.rsplit("/", 1)
    return "test" if house == "REFIT_House2" else "valid" if int(month) % 5 == 4 else "train"


SOURCES: dict[str, Source] = {
    "ecg_ludb": Source(500.0, lambda name: _by_number(int(name), 130, 160), margin=0.03, factor=4),
    "eye_lookatpoint": Source(1000.0, _by_prefix(("S4",), ("S5", "S6")), margin=0.02, factor=4, prepare=_gaze),
    "gesture_phase": Source(27.0, _by_prefix(("a3", "b3"), ("c",)), margin=0.2, prepare=_moving, person=_first(1)),
    "emg_gestures": Source(
        200.0, lambda name: _by_number(int(name[:2]), 25, 30), margin=0.2, factor=4, prepare=np.abs, person=_first(2)
    ),
    "nilm_devicescope": Source(1 / 60, _by_house, margin=120.0, stretch=DAYS_30, person=lambda n: n.rsplit("/", 1)[0]),
    "sleep_edf20": Source(1 / 30, _by_prefix(("SC406", "SC407"), ("SC408", "SC409")), margin=30.0, person=_first(5)),
    "mocap6": Source(10.0, _by_prefix(("13_31",), ("14",)), margin=1.0, person=_first(2)),
}
NOISES = {"synthetic_low": 0.5, "synthetic_mid": 1.0, "synthetic_high": 2.0}
NAMES = (*NOISES, *SOURCES)


def load(name: str, *, by_hand: bool = True) -> Task:
    """Return a task by name. :func:`benchmarks.data.folder` finds or downloads real recordings.

    Args:
        name: one of ``NAMES``.
        by_hand: whether features are made by hand; otherwise the channels are those of the sensor.
    """
    return _synthetic(name) if name in NOISES else _real(name, by_hand)


def _synthetic(name: str) -> Task:
    x, _, k = switching_sinusoid(44, 1000, noise=NOISES[name], seed=7)
    parts = [Labelled(list(x[part]), list(k[part]), None) for part in (slice(0, 24), slice(24, 32), slice(32, 44))]
    return Task(name, ["5 Hz", "10 Hz", "15 Hz"], 100.0, 10, *parts, people=[str(i) for i in range(12)])


def _real(name: str, by_hand: bool) -> Task:
    source, stored = SOURCES[name], folder(name)
    source = source if by_hand else replace(source, prepare=_unchanged)
    meta = json.loads((stored / "meta.json").read_text(encoding="utf-8"))
    parts: dict[str, list[tuple[Array, Array]]] = {"train": [], "valid": [], "test": []}
    people: dict[str, list[str]] = {part: [] for part in parts}
    with np.load(stored / "tidy.npz", allow_pickle=False) as arrays:
        for key in (key for key in arrays.files if key.startswith("X/")):
            for identifier, signal, labels in _stretches(source, key[2:], arrays[key], arrays[f"y/{key[2:]}"]):
                parts[source.part(identifier)].append((signal, labels))
                people[source.part(identifier)].append(source.person(identifier))
    # No method can learn a class that is absent from training, so its frames count as unlabelled.
    known = np.unique(np.concatenate([labels for _, labels in parts["train"]]))
    known = known[known != UNLABELLED]
    rate = source.rate / source.factor
    classes = [meta["classes"][c] for c in known]
    margin = max(round(source.margin * rate), 1)
    labelled = (_labelled(part, known) for part in parts.values())
    return Task(name, classes, rate, margin, *labelled, people=people["test"])


def _stretches(source: Source, name: str, signal: Array, labels: Array) -> list[tuple[str, Array, Array]]:
    """Return identifier, signal (T, F) and labels (T,) of a recording or of its pieces."""
    signal, labels = (
        _averaged(source.prepare(signal.astype(np.float32)), source.factor),
        labels[source.factor // 2 :: source.factor],
    )
    labels = np.where(labels < 0, UNLABELLED, labels.astype(np.int64))[: len(signal)]
    if source.stretch is None:
        return [(name, signal, labels)]
    starts = range(0, len(labels), source.stretch)
    cuts = [slice(start, start + source.stretch) for start in starts]
    return [(f"{name}/{i}", signal[cut], labels[cut]) for i, cut in enumerate(cuts)]


def _averaged(signal: Array, factor: int) -> Array:
    """Return means of ``factor`` frames; an incomplete group at the end is dropped."""
    frames = len(signal) // factor
    return signal[: frames * factor].reshape(frames, factor, -1).mean(1)


def _labelled(recordings: list[tuple[Array, Array]], known: Array) -> Labelled:
    signals = [signal for signal, _ in recordings]
    labels = [np.where(np.isin(y, known), np.searchsorted(known, y), UNLABELLED) for _, y in recordings]
    return Labelled(signals, labels, None)
