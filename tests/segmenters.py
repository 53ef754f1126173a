"""Recordings and options that the tests of the Segmenter share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf import Segmenter

Array = npt.NDArray[Any]

SMALL: dict[str, Any] = {
    "hidden": 8, "max_epochs": 3, "window": 64, "batch_size": 8, "learning_rate": 0.05, "progress": False
}  # fmt: skip
NAMES = np.array(["rest", "swing", "walk"])


def recordings(count: int = 5, bands: int = 8, seed: int = 0) -> tuple[list[Array], list[Array], list[Array]]:
    """Signals of two channels, the class of each frame, and a target that depends on the class."""
    random = np.random.default_rng(seed)
    labels = [np.repeat(random.integers(3, size=bands), random.integers(10, 30, size=bands)) for _ in range(count)]
    X = [np.eye(3)[k][:, :2] * 5.0 + random.normal(size=(len(k), 2)) for k in labels]
    return X, labels, [100.0 + 10.0 * k[:, None] for k in labels]


def examples(count: int = 5, bands: int = 8, seed: int = 0) -> dict[str, list[Array]]:
    """The same as arguments of ``fit``."""
    return dict(zip(("X", "y", "targets"), recordings(count, bands, seed), strict=True))


def long_bands() -> tuple[list[Any], list[Any]]:
    """Signals of bands of 60 frames, and their labels."""
    rng = np.random.default_rng(0)
    labels = [np.repeat(rng.permutation(3), 60) for _ in range(4)]
    return [k[:, None] + rng.normal(size=(len(k), 1)) for k in labels], labels


def everything(model: Segmenter, X: list[Array]) -> bytes:
    """All that a model with targets predicts for recordings."""
    arrays = [*model.predict(X), *model.predict_proba(X), *model.predict_targets(X)]
    return b"".join(a.tobytes() for a in arrays) + model.predict_segments(X).to_csv().encode()


def at(value: Any, recording: int, frame: int, column: int | None = None) -> Any:
    """A change of one value of a list of arrays."""

    def change(arrays: list[Array]) -> list[Array]:
        arrays = [array.copy() for array in arrays]
        arrays[recording][frame if column is None else (frame, column)] = value
        return arrays

    return change


def cut(recording: int, frames: int) -> Any:
    """A cut of one array of a list."""
    return lambda arrays: [a[:frames] if i == recording else a for i, a in enumerate(arrays)]


def missing(value: Any, names: Array) -> Any:
    """Labels as objects, with one missing."""
    return lambda labels: at(value, 2, 7)([names[k].astype(object) for k in labels])
