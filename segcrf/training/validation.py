"""Validation: scores of an epoch, and the decoding rule with which its bands are best."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from segcrf.data import Batch
from segcrf.metrics import edit_score, frame_accuracy, segment_f1
from segcrf.nn import DecodingRule
from segcrf.training.recipe import Output

__all__ = ["ValidationScores"]


class ValidationScores:
    """Collects predictions for validation windows, scores them by every decoding rule, and chooses the best rule.

    On recordings of unseen people the likelihood gets worse long before the bands do, because the model grows too
    confident. To stop at the best likelihood gave half the F1 on gestures of unseen people. So bands and errors choose
    the epoch. They also choose the decoding rule: the factor that weighs the signal, and the whole sequence or frame by
    frame, see :class:`segcrf.nn.DecodingRule`.

    Args:
        rules: the decoding rules to try.

    Attributes:
        predicted: decoded labels of each recording, by decoding rule.
        true: labels of each recording.
    """

    def __init__(self, rules: Sequence[DecodingRule]) -> None:
        self.predicted: dict[DecodingRule, list[npt.NDArray[np.int64]]] = {rule: [] for rule in rules}
        self.true: list[npt.NDArray[np.int64]] = []
        self.square, self.known = 0.0, 0

    def add(self, batch: Batch, output: Output) -> None:
        """Decode the output for a batch by every rule, and add up the squared errors of its targets."""
        lengths = batch.lengths.tolist()
        self.true += [row[:length] for row, length in zip(batch.labels.cpu().numpy(), lengths, strict=True)]
        for rule, predicted in self.predicted.items():
            decoded = rule.decode(output.dist).labels.cpu().numpy()
            predicted += [row[:length] for row, length in zip(decoded, lengths, strict=True)]
        if batch.targets is not None and output.predictions is not None:
            error = (output.predictions - batch.targets)[~batch.targets.isnan()]
            self.square, self.known = self.square + float(error.square().sum()), self.known + error.numel()

    def scores(self) -> dict[str, float]:
        """Return the scores of the best decoding rule.

        Returns:
            ``decode_factor`` and ``decode_by_frame``, the rule; ``accuracy``, ``edit`` and ``f1`` in percent; ``mse``
            of standardised targets, if there are targets; and ``error``, which is to be minimised.
        """
        scores = min(self._scores_by_rule(), key=lambda row: row["error"])
        if self.known:
            scores["mse"] = self.square / self.known
            scores["error"] += min(scores["mse"], 1.0)
        return scores

    def _scores_by_rule(self) -> Generator[dict[str, float], None, None]:
        """Yield the scores of each rule; of rules that agree on every frame, only those of the first."""
        seen: set[bytes] = set()
        for rule, predicted in self.predicted.items():
            labels = np.concatenate(predicted).tobytes()
            if labels not in seen:
                chosen = {"decode_factor": rule.factor, "decode_by_frame": float(rule.by_frame)}
                yield {**chosen, **self._band_scores(predicted)}
            seen.add(labels)

    def _band_scores(self, predicted: list[npt.NDArray[np.int64]]) -> dict[str, float]:
        scores = {
            "accuracy": frame_accuracy(pred=predicted, true=self.true),
            "edit": edit_score(pred=predicted, true=self.true),
            "f1": segment_f1(pred=predicted, true=self.true),
        }
        return {**scores, "error": 1.0 - sum(scores.values()) / 300.0}
