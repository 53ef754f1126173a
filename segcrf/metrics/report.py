"""The report of ``segcrf score``: frame and segment scores, each with the convention that it was counted
by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf.metrics import scores as metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segcrf.data import RecordingTable

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Report:
    """Scores of predicted labels against the labels of a table.

    Args:
        scores: by name: accuracy, macro_f1, edit, f1@10, f1@25, f1@50 and covering in percent; kappa and
            band_ratio.
        targets: root mean square and mean absolute error and known frames, by name of the target.
        recordings: how many there are.
        frames: how many they have.
        unlabelled: how many of these have no label and are left out.
        ignore: classes whose bands edit and F1 leave out.
        pooled: frames and bands of all recordings are counted together, not averaged over recordings.
    """

    scores: dict[str, float]
    targets: dict[str, dict[str, float]]
    recordings: int
    frames: int
    unlabelled: int
    ignore: tuple[str, ...]
    pooled: bool

    @classmethod
    def of(
        cls,
        predicted: Sequence[Array],
        recordings: RecordingTable,
        values: Sequence[Array] | None = None,
        ignore: tuple[str, ...] = (),
        pooled: bool = True,
    ) -> Report:
        """Score predictions.

        Args:
            predicted: N arrays (T,) of text, "" = no prediction.
            recordings: the truth, with labels and perhaps targets.
            values: N arrays (T, R) of predicted targets; None without targets.
            ignore: classes whose bands edit and F1 leave out.
            pooled: count frames and bands of all recordings together, or average over recordings.

        Raises:
            ValueError: no frame is labelled.
        """
        true = recordings.labels or []
        unlabelled = sum(int(np.count_nonzero(labels == "")) for labels in true)
        frames = sum(recordings.lengths)
        recordings.check_labelled()
        # A class that the model knows but this table does not have leaves nothing out.
        present = tuple(name for name in ignore if any((labels == name).any() for labels in [*predicted, *true]))
        scores = metrics.evaluate(predicted, true, ignore=present, pooled=pooled) | {
            "kappa": metrics.cohen_kappa(predicted, true),
            "covering": metrics.covering(predicted, true),
        }
        errors = _errors(values, recordings)
        return cls(scores, errors, len(recordings.names), frames, unlabelled, ignore, pooled)

    def to_json(self) -> dict[str, Any]:
        """Scores, conventions and errors of the targets, ready for JSON; what is undefined is null."""
        defined = {name: None if math.isnan(score) else score for name, score in self.scores.items()}
        content: dict[str, Any] = {
            "recordings": self.recordings,
            "frames": self.frames,
            "unlabelled": self.unlabelled,
            **defined,
            "conventions": self.conventions(),
        }
        return content | ({"targets": self.targets} if self.targets else {})

    def conventions(self) -> dict[str, str]:
        """How each score was counted."""
        pooled = "pooled over recordings" if self.pooled else "mean over recordings"
        bands = f"bands left out: {', '.join(self.ignore) or 'none'}"
        return {
            "unlabelled": "frames left out",
            "accuracy": f"{pooled}, all classes",
            "macro_f1": "pooled over recordings, mean over all classes that occur",
            "kappa": "pooled over recordings, all classes",
            "edit": f"mean over recordings, {bands}",
            "f1": f"{pooled}, greedy matching, {bands}",
            "covering": "mean over recordings, all classes, a band of any may cover",
            "band_ratio": f"{pooled}, bands of all classes",
        }

    def __str__(self) -> str:
        rules = self.conventions()
        rows = [
            ("frame accuracy", "accuracy", "%", rules["accuracy"]),
            ("frame macro F1", "macro_f1", "%", rules["macro_f1"]),
            ("frame Cohen's kappa", "kappa", "", rules["kappa"]),
            ("segment edit", "edit", "%", rules["edit"]),
            *((f"segment F1@{iou}", f"f1@{iou}", "%", rules["f1"]) for iou in (10, 25, 50)),
            ("segment covering", "covering", "%", rules["covering"]),
            ("bands predicted/true", "band_ratio", "", rules["band_ratio"]),
        ]
        plural = "" if self.recordings == 1 else "s"
        lines = [
            (
                f"{self.frames:,} frames of {self.recordings} recording{plural}; "
                f"{self.unlabelled:,} unlabelled frames left out"
            ),
            *(f"{title:<21} {_number(self.scores[name], unit)} {unit:<1}  {rule}" for title, name, unit, rule in rows),
        ]
        for name, error in self.targets.items():
            known = f"{error['known']:,.0f} known frames"
            lines.append(f"target {name}: RMSE {error['rmse']:.4g}, MAE {error['mae']:.4g}, {known}")
        return "\n".join(lines)


def _number(score: float, unit: str) -> str:
    return f"{score:6.1f}" if unit else f"{score:6.2f}"


def _errors(values: Sequence[Array] | None, recordings: RecordingTable) -> dict[str, dict[str, float]]:
    if values is None or recordings.targets is None:
        return {}
    error: Array = np.concatenate(values).astype(np.float64) - np.concatenate(recordings.targets)
    errors: dict[str, dict[str, float]] = {}
    for index, name in enumerate(recordings.columns.targets):
        known: Array = error[~np.isnan(error[:, index]), index]
        if known.size:
            errors[name] = {
                "rmse": float(np.sqrt(np.mean(np.square(known)))),
                "mae": float(np.mean(np.abs(known))),
                "known": float(known.size),
            }
    return errors
