"""Validation: scores of an epoch, and the decoding rule with which they are best."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from segcrf._validation import UNLABELLED
from segcrf.data import Batch
from segcrf.metrics import boundary_f1, edit_score, frame_accuracy, segment_f1
from segcrf.nn import DecodingRule
from segcrf.segments import Segments
from segcrf.training.recipe import Output
from segcrf.training.rules import OPTIMIZED

__all__ = ["ValidationScores"]

Labels = list[npt.NDArray[np.int64]]

# Resamples of a bootstrap error; one of 200 is within 5 % of the limit.
RESAMPLES = 200
# Recordings are resampled in at most so many groups, and a single recording in at most so many stretches. Each costs a
# fraction of a millisecond per epoch and rule.
GROUPS, STRETCHES = 100, 30
# The margin of the boundary score, as a share of the median band.
MARGIN = 0.1


class ValidationScores:
    """Collects predictions for validation windows, scores them by every decoding rule, and chooses a rule.

    On recordings of unseen people the likelihood gets worse long before the bands do, because the model grows too
    confident. To stop at the best likelihood gave half the F1 on gestures of unseen people. So bands and errors choose
    the epoch. They also choose the decoding rule: the factor that weighs the signal, and the whole sequence or frame by
    frame, see :class:`segcrf.nn.DecodingRule`.

    A handful of bands ranks a dozen rules by chance. So the first rule is a prior: it is left only for a rule with an
    error that is lower by more than the bootstrap error of the difference. Recordings are resampled; where there is a
    single recording, its stretches from the middle of one band to the middle of the next.

    Args:
        rules: the decoding rules to try; the first is the prior.
        optimize: the score that counts, as of :class:`segcrf.Segmenter`.

    Attributes:
        predicted: decoded labels of each window, by decoding rule.
        true: labels of each window.
        names: name of the recording of each window.

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 6; the rule of one standard error is
        Breiman et al.'s, *Classification and Regression Trees*, 1984, section 3.4.3.
    """

    def __init__(self, rules: Sequence[DecodingRule], optimize: str = "bands") -> None:
        self.predicted: dict[DecodingRule, Labels] = {rule: [] for rule in rules}
        self.true: Labels = []
        self.names: list[str] = []
        self.chosen = OPTIMIZED[optimize]
        self.square, self.known = 0.0, 0

    def add(self, batch: Batch, output: Output) -> None:
        """Decode the output for a batch by every rule, and add up the squared errors of its targets."""
        lengths = batch.lengths.tolist()
        self.true += [row[:length] for row, length in zip(batch.labels.cpu().numpy(), lengths, strict=True)]
        self.names += [name.rpartition(", frames ")[0] for name in batch.names]
        for rule, predicted in self.predicted.items():
            decoded = rule.decode(output.dist).labels.cpu().numpy()
            predicted += [row[:length] for row, length in zip(decoded, lengths, strict=True)]
        if batch.targets is not None and output.predictions is not None:
            error = (output.predictions - batch.targets)[~batch.targets.isnan()]
            self.square, self.known = self.square + float(error.square().sum()), self.known + error.numel()

    def scores(self) -> dict[str, float]:
        """Return the scores of the chosen decoding rule.

        Returns:
            ``decode_factor`` and ``decode_by_frame``, the rule; ``accuracy``, ``edit`` and ``f1`` in percent, and
            ``boundary`` where it is optimised; ``mse`` of standardised targets, if there are targets; and ``error``,
            which is to be minimised.
        """
        by_rule = dict(self._scores_by_rule())
        prior, best = next(iter(by_rule)), min(by_rule, key=lambda rule: by_rule[rule]["error"])
        gain = by_rule[prior]["error"] - by_rule[best]["error"]
        rule = best if gain > 0 and gain > self._bootstrap_error(prior, best) else prior
        scores = {"decode_factor": rule.factor, "decode_by_frame": float(rule.by_frame), **by_rule[rule]}
        if self.known:
            scores["mse"] = self.square / self.known
            scores["error"] += min(scores["mse"], 1.0)
        return scores

    def _scores_by_rule(self) -> Generator[tuple[DecodingRule, dict[str, float]], None, None]:
        """Yield the scores of each rule; of rules that agree on every frame, only those of the first."""
        seen: set[bytes] = set()
        for rule, predicted in self.predicted.items():
            labels = np.concatenate(predicted).tobytes()
            if labels not in seen:
                names = dict.fromkeys(("accuracy", "edit", "f1", *self.chosen))
                scores = {name: _score(name, self.true, predicted, self._margin) for name in names}
                yield (
                    rule,
                    {**scores, "error": 1.0 - sum(scores[name] for name in self.chosen) / 100 / len(self.chosen)},
                )
            seen.add(labels)

    @property
    def _margin(self) -> int:
        """Largest distance of a boundary that is found, in frames."""
        durations = Segments.from_labels(self.true).durations
        return max(round(MARGIN * float(np.median(durations))), 1) if len(durations) else 1

    # ------------------------------------------------------------------------------------------------ bootstrap
    def _bootstrap_error(self, one: DecodingRule, other: DecodingRule) -> float:
        """Return the standard error of the difference between the errors of two rules; infinite for one unit."""
        units, margin = self._units(), self._margin
        number = len(units)
        if number < 2:
            return float("inf")
        weights = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), size=RESAMPLES)
        errors: list[npt.NDArray[np.float64]] = []
        for rule in (one, other):
            sides = [([true for true, _ in unit], [pred[rule] for _, pred in unit]) for unit in units]
            counts = np.array([[_count(name, *side, margin) for name in self.chosen] for side in sides])
            # (R, M): 0 of 0 is a full score, as in segcrf.metrics.
            right, total = weights @ counts[..., 0], weights @ counts[..., 1]
            errors.append(1.0 - np.where(total > 0, right / np.where(total > 0, total, 1.0), 1.0).mean(1))
        # A bootstrap of few units is too narrow by this factor.
        return float(np.std(errors[0] - errors[1])) * (number / (number - 1)) ** 0.5

    def _units(self) -> list[list[tuple[npt.NDArray[np.int64], dict[DecodingRule, npt.NDArray[np.int64]]]]]:
        """Return what is resampled: true and predicted labels of the windows of each recording, or of stretches."""
        windows = [
            (true, {rule: predicted[i] for rule, predicted in self.predicted.items()})
            for i, true in enumerate(self.true)
            if (true != UNLABELLED).any()
        ]
        known = [name for name, true in zip(self.names, self.true, strict=True) if (true != UNLABELLED).any()]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(known))}
        unit = [numbers[name] % GROUPS for name in known]
        if len(numbers) == 1:
            windows = [piece for true, pred in windows for piece in _stretches(true, pred)]
            unit = [i * STRETCHES // max(len(windows), STRETCHES) for i in range(len(windows))]
        return [[windows[i] for i in np.flatnonzero(np.array(unit) == each)] for each in sorted(set(unit))]


def _stretches(
    true: npt.NDArray[np.int64], predicted: dict[DecodingRule, npt.NDArray[np.int64]]
) -> list[tuple[npt.NDArray[np.int64], dict[DecodingRule, npt.NDArray[np.int64]]]]:
    """Cut a window in the middle of each true band; stretches without a label are left out."""
    bands = Segments.from_labels([true])
    cuts = ((bands.start + bands.end) // 2).tolist()
    pieces = np.split(true, cuts)
    others = {rule: np.split(labels, cuts) for rule, labels in predicted.items()}
    each = [(piece, {rule: others[rule][i] for rule in others}) for i, piece in enumerate(pieces)]
    return [(piece, pred) for piece, pred in each if (piece != UNLABELLED).any()]


# ------------------------------------------------------------------------------------------------------- counts
def _score(name: str, true: Labels, pred: Labels, margin: int) -> float:
    """Return a score in percent."""
    if name == "boundary":
        return boundary_f1(true, pred, margin=margin)
    return {"accuracy": frame_accuracy, "edit": edit_score, "f1": segment_f1}[name](true, pred)


def _count(name: str, true: Labels, pred: Labels, margin: int) -> tuple[float, float]:
    """Return what a score adds up over windows and then divides: the right ones, and all."""
    both = true + [np.where(t == UNLABELLED, UNLABELLED, p) for t, p in zip(true, pred, strict=True)]
    bands = Segments.from_labels(both)
    touching = (bands.recording[1:] == bands.recording[:-1]) & (bands.start[1:] == bands.end[:-1])
    total = {
        "accuracy": sum(np.count_nonzero(labels != UNLABELLED) for labels in true),
        "edit": len(true),
        "f1": len(bands),
        "boundary": np.count_nonzero(touching),
    }[name]
    return _score(name, true, pred, margin) / 100 * float(total), float(total)
