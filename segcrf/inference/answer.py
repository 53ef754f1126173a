"""Answer: a model as one module from a raw signal to all that is shown of it. It is what an export writes."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from segcrf._validation import UNLABELLED, InputError
from segcrf.inference.filter_operators import filtered, lagged
from segcrf.nn import JointModel, SwitchingModel
from segcrf.structures import Structure

__all__ = ["Answer", "check_exportable_rule", "filters", "mixed_targets", "signal_type"]


class Answer(nn.Module):
    """A model that answers at once, for B recordings of T frames.

    Args:
        model: in evaluation mode. Its decoding rule and its calibration are read here, once.

    Attributes:
        names: of the answers, in order: ``"labels"``, ``"starts"``, ``"posteriors"``, and ``"targets"`` if the model
            predicts any.
        shortest: frames of the shortest batch that PyTorch can trace.

    Example:
        >>> from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
        >>> answer = Answer(JointModel(LSTMEncoder(2, hidden=8), LinearChainCRF(3)).eval())
        >>> labels, starts, posteriors = answer(torch.zeros(4, 50, 2), torch.tensor([50, 50, 30, 10]))
        >>> labels.shape, posteriors.shape
        (torch.Size([4, 50]), torch.Size([4, 50, 3]))
    """

    def __init__(self, model: JointModel | SwitchingModel) -> None:
        super().__init__()
        self.model = model
        self.rule, self.calibration = model.decoding_rule, model.calibration
        self.names = ("labels", "starts", "posteriors", *(["targets"] if model.target_head is not None else []))
        one_step = model.dist(torch.zeros(1, 2, model.class_head.out_features)).potentials.transitions
        # A tensor of one step has another layout than one of several, which fixes the trace to several.
        self.shortest = 3 if one_step.dim() == 4 else 1

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Return the answers for raw signals (B, T, F), float64, of ``lengths`` (B,) frames.

        Returns:
            ``labels`` (B, T), by the decoding rule, -100 beyond a recording's length and in a recording without any
            allowed labelling. ``starts`` (B, T), True where a band begins. ``posteriors`` (B, T, C), calibrated, 0
            beyond a recording's length. ``targets`` (B, T, R), float64, in the unit of the targets, NaN beyond it.
        """
        model = self.model
        features = model.encoder(model.prepare(signal_type(model, x), lengths), lengths)
        emissions, predictions, _ = model.heads(features)
        dist = model.dist(emissions, lengths)
        posteriors, labels, starts = self._decode(dist)
        possible = posteriors.sum(-1) > 0  # an exported program cannot raise
        calibrated = self.calibration.traced_probabilities(posteriors).to(dist.dtype)
        answers = labels.masked_fill(~possible, UNLABELLED), starts & possible, calibrated
        if predictions is None:
            return answers
        weights = posteriors  # which a model with one regression for all classes does not read
        if isinstance(model, SwitchingModel):
            weights = filtered(dist) if filters(model) else dist.marginals.labels
        targets = mixed_targets(model, predictions, weights)
        return *answers, targets.masked_fill(~dist.frame_mask[..., None], torch.nan)

    def _decode(self, dist: Structure) -> tuple[Tensor, Tensor, Tensor]:
        decoded = dataclasses.replace(self.rule, max_delay=None).decode(dist)
        if self.rule.max_delay is None:
            posteriors = decoded.posteriors
            if not self.rule.by_frame:
                return posteriors, decoded.labels, decoded.starts
            labels = decoded.labels
        else:
            posteriors = lagged(decoded.dist, self.rule.max_delay)
            labels = posteriors.argmax(-1).masked_fill(~dist.frame_mask, UNLABELLED)
            posteriors = posteriors.masked_fill(~dist.frame_mask[..., None], 0.0)
        # By an index, because a slice of T - 1 frames would fix the program to T > 2.
        frame = torch.arange(labels.shape[1], device=labels.device)
        changed = (labels != labels[:, (frame - 1).clamp(min=0)]) | (frame == 0)
        return posteriors, labels, changed & (labels != UNLABELLED)


def signal_type(model: JointModel | SwitchingModel, x: Tensor) -> Tensor:
    """Return a float64 signal in the type that ``model`` takes: a preparation takes float64, an encoder its own."""
    return x if model.preparation is not None else x.to(model.class_head.weight.dtype)


def filters(model: JointModel | SwitchingModel) -> bool:
    """Return whether the targets of a model are mixed by what is known of each frame when it is measured."""
    return isinstance(model, SwitchingModel) and model.posterior == "filter"


def mixed_targets(model: JointModel | SwitchingModel, predictions: Tensor, weights: Tensor) -> Tensor:
    """Return targets (..., R), float64, in their unit.

    Args:
        model: with targets.
        predictions: of its heads, (..., R), or (..., C, R) of a switching model.
        weights: probabilities of the classes, (..., C), which mix the predictions of a switching model.
    """
    if isinstance(model, SwitchingModel):
        predictions = (weights.unsqueeze(-1) * predictions.to(weights.dtype)).sum(-2)
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
