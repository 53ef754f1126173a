"""The tasks: recordings split by person or house, at the rate they are used.

No choice here was made by looking at a test score. Fast signals are averaged to a rate at which their shortest bands
still have some frames, so that an encoder sees more of the past at the same cost; very long recordings are cut into
months. Every method gets the same arrays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
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
    """Recordings to learn from, to tune by, and to be judged by.

    Args:
        name: of the data set.
        classes: names of the classes.
        rate: frames per second.
        margin: frames by which a boundary may be off.
        train, valid, test: signals (T, F) float32 and labels (T,) int64, -100 = unlabelled.
        people: of each test recording the person, or the house, that it is of.
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
        """Median duration of a training band, in frames: what widths of filters are multiples of."""
        return float(np.median(Segments.from_labels(self.train.labels).durations))


def described(task: Task) -> dict[str, Any]:
    """What tables say of a task; bands and recordings of training, validation and test, boundaries and people of test.

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


@dataclass(frozen=True)
class Source:
    """How a stored data set becomes a task.

    Args:
        rate: frames per second of the stored signal.
        part: tells from a recording's identifier whether it is of "train", "valid" or "test".
        factor: frames that become one.
        margin: seconds by which a boundary may be off.
        prepare: makes features of a raw signal, before frames are averaged.
        stretch: longest recording in frames; longer ones are cut. None: whole.
        person: tells from a recording's identifier whose it is.
    """

    rate: float
    part: Callable[[str], str]
    margin: float
    factor: int = 1
    prepare: Callable[[Array], Array] = lambda signal: signal
    stretch: int | None = None
    person: Callable[[str], str] = lambda identifier: identifier


def _by_number(identifier: int, valid: int, test: int) -> str:
    """The part of a person whose number is above the given ones."""
    return "test" if identifier > test else "valid" if identifier > valid else "train"


def _among(valid: tuple[str, ...], test: tuple[str, ...]) -> Callable[[str], str]:
    """The part of a recording whose identifier begins like one of those named."""
    return lambda name: "test" if name.startswith(test) else "valid" if name.startswith(valid) else "train"


def _first(letters: int) -> Callable[[str], str]:
    """The person that the first so many letters of an identifier name."""
    return lambda name: name[:letters]


def _gaze(signal: Array) -> Array:
    """Positions, held where the eye was lost (a causal encoder must not see where it is found), their differences, and
    whether it was lost."""
    lost = np.isnan(signal).any(1)
    seen = np.flatnonzero(~lost)
    held = signal[seen[np.maximum(np.searchsorted(seen, np.arange(len(signal)), side="right") - 1, 0)]]
    return np.concatenate([held, np.diff(held, axis=0, prepend=held[:1]), lost[:, None]], axis=1).astype(np.float32)


def _moving(signal: Array) -> Array:
    """Where everything is relative to the first frame, as people stand elsewhere each time, and how fast it moves."""
    return np.concatenate([signal - signal[:1], np.diff(signal, axis=0, prepend=signal[:1])], axis=1)


def _of_house(stretch: str) -> str:
    """One house tests; of the other two, four months of five train and the fifth is for validation."""
    house, month = stretch.rsplit("/", 1)
    return "test" if house == "REFIT_House2" else "valid" if int(month) % 5 == 4 else "train"


SOURCES: dict[str, Source] = {
    "ecg_ludb": Source(500.0, lambda name: _by_number(int(name), 130, 160), margin=0.03, factor=4),
    "eye_lookatpoint": Source(1000.0, _among(("S4",), ("S5", "S6")), margin=0.02, factor=4, prepare=_gaze),
    "gesture_phase": Source(27.0, _among(("a3", "b3"), ("c",)), margin=0.2, prepare=_moving, person=_first(1)),
    "emg_gestures": Source(
        200.0, lambda name: _by_number(int(name[:2]), 25, 30), margin=0.2, factor=4, prepare=np.abs, person=_first(2)
    ),
    "nilm_devicescope": Source(1 / 60, _of_house, margin=120.0, stretch=DAYS_30, person=lambda n: n.rsplit("/", 1)[0]),
    "sleep_edf20": Source(1 / 30, _among(("SC406", "SC407"), ("SC408", "SC409")), margin=30.0, person=_first(5)),
    "mocap6": Source(10.0, _among(("13_31",), ("14",)), margin=1.0, person=_first(2)),
}
NOISES = {"synthetic_low": 0.5, "synthetic_mid": 1.0, "synthetic_high": 2.0}
NAMES = (*NOISES, *SOURCES)


def load(name: str) -> Task:
    """The task of this name; real ones as :func:`benchmarks.data.folder` finds or downloads them."""
    return _synthetic(name) if name in NOISES else _real(name)


def _synthetic(name: str) -> Task:
    x, _, k = switching_sinusoid(44, 1000, noise=NOISES[name], seed=7)
    parts = [Labelled(list(x[part]), list(k[part]), None) for part in (slice(0, 24), slice(24, 32), slice(32, 44))]
    return Task(name, ["5 Hz", "10 Hz", "15 Hz"], 100.0, 10, *parts, people=[str(i) for i in range(12)])


def _real(name: str) -> Task:
    source, stored = SOURCES[name], folder(name)
    meta = json.loads((stored / "meta.json").read_text(encoding="utf-8"))
    parts: dict[str, list[tuple[Array, Array]]] = {"train": [], "valid": [], "test": []}
    people: dict[str, list[str]] = {part: [] for part in parts}
    with np.load(stored / "tidy.npz", allow_pickle=False) as arrays:
        for key in (key for key in arrays.files if key.startswith("X/")):
            for identifier, signal, labels in _stretches(source, key[2:], arrays[key], arrays[f"y/{key[2:]}"]):
                parts[source.part(identifier)].append((signal, labels))
                people[source.part(identifier)].append(source.person(identifier))
    # Nobody learns a class that no training person shows; frames of one that only others show count as unlabelled.
    known = np.unique(np.concatenate([labels for _, labels in parts["train"]]))
    known = known[known != UNLABELLED]
    rate = source.rate / source.factor
    classes = [meta["classes"][c] for c in known]
    margin = max(round(source.margin * rate), 1)
    labelled = (_labelled(part, known) for part in parts.values())
    return Task(name, classes, rate, margin, *labelled, people=people["test"])


def _stretches(source: Source, name: str, signal: Array, labels: Array) -> list[tuple[str, Array, Array]]:
    """Identifier, signal (T, F) and labels (T,) of a recording, or of the pieces that it is cut into."""
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
    """Means of ``factor`` frames; what is left over at the end is dropped."""
    frames = len(signal) // factor
    return signal[: frames * factor].reshape(frames, factor, -1).mean(1)


def _labelled(recordings: list[tuple[Array, Array]], known: Array) -> Labelled:
    signals = [signal for signal, _ in recordings]
    labels = [np.where(np.isin(y, known), np.searchsorted(known, y), UNLABELLED) for _, y in recordings]
    return Labelled(signals, labels, None)
