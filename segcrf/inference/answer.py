"""Answer: a model as one module from a raw signal to all that is shown of it. It is what an export writes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import UNLABELLED, InputError
from segcrf.inference.filter_operators import filtered, lagged
from segcrf.nn import JointModel, ModelOutput, SwitchingModel, SwitchingModelOutput
from segcrf.structures import Structure

__all__ = ["ANSWERS", "Answer", "Answers", "check_exportable_rule", "signal_type"]

#: Names of the answers, in order; models without targets have no ``targets``.
ANSWERS = ("labels", "starts", "posteriors", "targets")


class Answers(NamedTuple):
    """What a model answers for B recordings of T frames.

    Attributes:
        labels: (B, T) int64, by the decoding rule; -100 beyond a recording's length, and in a recording without any
            allowed labelling.
        starts: (B, T) bool, True where a band begins.
        posteriors: (B, T, C), probability of each class; 0 beyond a recording's length.
        targets: (B, T, R) float64, in the unit of the targets; NaN beyond a recording's length. None: no targets.
    """

    labels: Tensor
    starts: Tensor
    posteriors: Tensor
    targets: Tensor | None


class Answer(nn.Module):
    """A model that answers at once.

    Args:
        model: in evaluation mode. Its decoding rule is read here, once.

    Example:
        >>> from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
        >>> answer = Answer(JointModel(LSTMEncoder(2, hidden=8), LinearChainCRF(3)).eval())
        >>> answer(torch.zeros(4, 50, 2), torch.tensor([50, 50, 30, 10])).posteriors.shape
        torch.Size([4, 50, 3])
    """

    def __init__(self, model: JointModel | SwitchingModel) -> None:
        super().__init__()
        self.model = model
        self.rule = model.decoding_rule

    def forward(self, x: Tensor, lengths: Tensor) -> Answers:
        """Return the answers for raw signals (B, T, F) of ``lengths`` (B,) frames."""
        output = self.model(signal_type(self.model, x), lengths)
        posteriors = output.dist.marginals.labels
        labels, starts = self._decode(output.dist)
        possible = posteriors.sum(-1) > 0  # an exported program cannot raise
        labels, starts = labels.masked_fill(~possible, UNLABELLED), starts & possible
        return Answers(labels, starts, posteriors, self._targets(output))

    def _decode(self, dist: Structure) -> tuple[Tensor, Tensor]:
        decoded = self.rule.decode(dist)
        if self.rule.max_delay is None:
            return decoded.labels, decoded.starts
        share = lagged(decoded.dist, self.rule.max_delay)
        labels = share.argmax(-1).masked_fill(~dist.frame_mask, UNLABELLED)
        before = functional.pad(labels[:, :-1], (1, 0), value=UNLABELLED)
        return labels, (labels != before) & (labels != UNLABELLED)

    def _targets(self, output: ModelOutput | SwitchingModelOutput) -> Tensor | None:
        predictions: Tensor | None
        if isinstance(output, SwitchingModelOutput) and output.posterior == "filter":
            predictions = (filtered(output.dist).unsqueeze(-1) * output.switching.mean).sum(2)
        else:
            predictions = output.predictions
        if predictions is None:
            return None
        return in_unit_of_targets(self.model, predictions).masked_fill(~output.dist.frame_mask[..., None], torch.nan)


def signal_type(model: JointModel | SwitchingModel, x: Tensor) -> Tensor:
    """Return a float64 signal in the type that ``model`` takes: a preparation takes float64, an encoder its own."""
    return x if model.preparation is not None else x.to(model.class_head.weight.dtype)


def in_unit_of_targets(model: JointModel | SwitchingModel, predictions: Tensor) -> Tensor:
    """Return predictions (..., R) in the unit of the targets, float64."""
    if model.preparation is None or model.preparation.targets is None:
        return predictions.double()
    return model.preparation.to_unit_of_targets(predictions)


def check_exportable_rule(model: JointModel | SwitchingModel) -> None:
    """Raise for a decoding rule that no exported program computes."""
    rule = model.decoding_rule
    if rule.max_delay is not None and not rule.by_frame:
        got = f"a decoding rule with max_delay={rule.max_delay} that takes the most probable sequence"
        expected = "max_delay=None, or by_frame=True: the most probable sequence under a delay runs only in a stream"
        raise InputError("model", got, expected, "set by_frame=True in its decoding rule")
