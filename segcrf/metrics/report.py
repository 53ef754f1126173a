"""Reports: the standard row of scores, how it counts, and the report of ``segcrf score``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segcrf._validation import check_choice
from segcrf.metrics.frames import cohen_kappa, frame_accuracy, macro_f1
from segcrf.metrics.pairing import Class, check_class_list, check_flag
from segcrf.metrics.segments import Matching, band_ratio, covering, edit_score, segment_f1
from segcrf.segments import Recordings

if TYPE_CHECKING:
    from segcrf.data import RecordingTable

__all__ = ["Report", "conventions", "evaluate"]

Array = npt.NDArray[Any]


# ------------------------------------------------------------------------------------------- the standard row
def evaluate(
    true: Recordings,
    pred: Recordings,
    *,
    classes: Sequence[Class] | None = None,
    ignore: Sequence[Class] = (),
    pooled: bool = True,
    matching: Matching = "greedy",
) -> dict[str, float]:
    """Score a labelling with the usual row of metrics.

    Args:
        true: true labels, list of (T,).
        pred: predicted labels, list of (T,).
        classes: the classes that ``macro_f1`` averages; None: all that occur.
        ignore: classes that ``edit`` and ``f1`` leave out; the others count all classes.
        pooled: for accuracy, F1 and the band ratio; ``edit`` is always the mean over recordings, and
            ``macro_f1`` always pooled.
        matching: as for :func:`segment_f1`.

    Returns:
        ``accuracy``, ``macro_f1``, ``edit``, ``f1@10``, ``f1@25``, ``f1@50`` in percent, and ``band_ratio``.

    Raises:
        TypeError, ValueError: as :func:`frame_accuracy`.

    >>> row = evaluate([[0, 0, 0, 1, 1, 1]], [[0, 0, 1, 1, 0, 1]])
    >>> for name, value in row.items():
    ...     print(f"{name:10} {value:5.1f}")
    accuracy    66.7
    macro_f1    66.7
    edit        50.0
    f1@10       66.7
    f1@25       66.7
    f1@50       33.3
    band_ratio   2.0
    """
    row = {
        "accuracy": frame_accuracy(true, pred, pooled=pooled),
        "macro_f1": macro_f1(true, pred, classes=classes),
        "edit": edit_score(true, pred, ignore=ignore),
    }
    options: dict[str, Any] = {"pooled": pooled, "ignore": ignore, "matching": matching}
    for percent in (10, 25, 50):
        row[f"f1@{percent}"] = segment_f1(true, pred, overlap=percent / 100, **options)
    return row | {"band_ratio": band_ratio(true, pred, pooled=pooled)}


def conventions(*, ignore: Sequence[Class] = (), pooled: bool = True, matching: Matching = "greedy") -> str:
    """Return one line that says how :func:`evaluate` counts, to be printed with its scores.

    Args:
        ignore: as given to :func:`evaluate`.
        pooled: as given to :func:`evaluate`.
        matching: as given to :func:`evaluate`.

    Raises:
        TypeError, ValueError: ``ignore`` is no list, ``pooled`` neither True nor False, or ``matching`` unknown.

    >>> print(conventions(ignore=["rest"]))
    pooled over recordings: accuracy, macro F1, F1@k (greedy matching), bands pred/true; mean over recordings: edit;
    unlabelled frames left out; classes left out of edit and F1@k: rest
    """
    check_flag(pooled, "pooled")
    check_choice(matching, "matching", ("greedy", "optimal"))
    dropped = ", ".join(map(str, check_class_list(ignore, "ignore")))
    moved = f"F1@k ({matching} matching), bands pred/true"
    summed, averaged = (f"accuracy, macro F1, {moved}", "edit") if pooled else ("macro F1", f"accuracy, edit, {moved}")
    return (
        f"pooled over recordings: {summed}; mean over recordings: {averaged}; unlabelled frames left out; "
        f"classes left out of edit and F1@k: {dropped or 'none'}"
    )


# -------------------------------------------------------------------------------------------------- the report
@dataclass(frozen=True)
class Report:
    """Scores of predicted labels against the labels of a table.

    Args:
        scores: by name: accuracy, macro_f1, edit, f1@10, f1@25, f1@50 and covering in percent; kappa and
            band_ratio.
        targets: by name of the target, its root mean square error, mean absolute error and known frames.
        recordings: how many there are.
        frames: how many they have.
        unlabelled: how many of these frames have no label and are left out.
        ignore: classes that edit and F1 leave out.
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
        recordings: RecordingTable,
        predicted: Sequence[Array],
        *,
        predicted_targets: Sequence[Array] | None = None,
        ignore: tuple[str, ...] = (),
        pooled: bool = True,
    ) -> Report:
        """Score predictions.

        Args:
            recordings: the truth, with labels and perhaps targets.
            predicted: N arrays (T,) of text, "" = no prediction.
            predicted_targets: N arrays (T, R); None without targets.
            ignore: classes that edit and F1 leave out.
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
        scores = evaluate(true, predicted, ignore=present, pooled=pooled) | {
            "kappa": cohen_kappa(true, predicted),
            "covering": covering(true, predicted),
        }
        errors = _target_errors(recordings, predicted_targets)
        return cls(scores, errors, len(recordings.names), frames, unlabelled, ignore, pooled)

    def to_json(self) -> dict[str, Any]:
        """Return scores, conventions and errors of the targets, ready for JSON; an undefined score is null."""
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
        """Return how each score was counted."""
        pooled = "pooled over recordings" if self.pooled else "mean over recordings"
        left_out = f"bands left out: {', '.join(self.ignore) or 'none'}"
        return {
            "unlabelled": "frames left out",
            "accuracy": f"{pooled}, all classes",
            "macro_f1": "pooled over recordings, mean over all classes that occur",
            "kappa": "pooled over recordings, all classes",
            "edit": f"mean over recordings, {left_out}",
            "f1": f"{pooled}, greedy matching, {left_out}",
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
            *(f"{title:<21} {_cell(self.scores[name], unit)} {unit:<1}  {rule}" for title, name, unit, rule in rows),
        ]
        for name, error in self.targets.items():
            known = f"{error['known']:,.0f} known frames"
            lines.append(f"target {name}: RMSE {error['rmse']:.4g}, MAE {error['mae']:.4g}, {known}")
        return "\n".join(lines)


def _cell(score: float, unit: str) -> str:
    return f"{score:6.1f}" if unit else f"{score:6.2f}"


def _target_errors(recordings: RecordingTable, predicted: Sequence[Array] | None) -> dict[str, dict[str, float]]:
    if predicted is None or recordings.targets is None:
        return {}
    error: Array = np.concatenate(predicted).astype(np.float64) - np.concatenate(recordings.targets)
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
