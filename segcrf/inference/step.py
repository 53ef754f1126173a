"""Step: a causal model as a function from the next frames and a state to answers and the next state.

A live system calls it with every piece of the signal, in any program that runs the exported file. Every tensor of the
state has the recordings as its first axis, so that many signals may run side by side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segcrf._validation import UNLABELLED, InputError, InputTypeError
from segcrf.inference.answer import filters, mixed_targets, signal_type
from segcrf.inference.export import Exported, PathLike, checked_path, frozen, metadata_of, write_program
from segcrf.inference.filter_operators import STATES, initial_state, run_filter
from segcrf.nn import Encoder, GRUEncoder, JointModel, LSTMEncoder, SwitchingModel, TCNEncoder, check_steps
from segcrf.structures import Structure

__all__ = ["export_step"]

# Sizes of the example that is traced; others are free.
RECORDINGS, FRAMES = 2, 5


def export_step(
    model: JointModel | SwitchingModel,
    path: PathLike,
    *,
    classes: Sequence[object] | None = None,
    sampling_rate: float | None = None,
) -> Path:
    """Write a causal model as a program that answers frame by frame, or piece by piece, and return its path.

    Its inputs are the next frames ``x`` (B, N, F) of B raw signals, float64, any N of at least 1, and the tensors of
    the state, each (B, ...). In a ``.pt2`` file the state is one tuple. Its outputs, in this order, are

    * ``emissions`` (B, N, C), the class scores;
    * ``posteriors`` (B, N, C), the calibrated probability of each class given the frames so far, with the factor of
      the decoding rule;
    * ``labels`` (B, N), int64, the most probable class of each frame by these probabilities; -100 where no labelling is
      allowed;
    * ``targets`` (B, N, R), float64, in the unit of the targets, if the model predicts any;
    * the next state: for each tensor of the state one of the same shape, named ``next_`` and its name.

    The file holds the texts of :func:`segcrf.inference.export_model`, where ``decoding`` describes these labels, and
    the JSON text ``state``: a list with ``name``, ``shape``, ``type`` and ``initial`` of each tensor, for one
    recording. ``initial`` is its value before the first frame, in nested lists, where null is minus infinity.

    Args:
        model: with a causal encoder, and channels standardised by fixed numbers. It is left as it is.
        path: file to write, ending in ``.onnx`` or ``.pt2``.
        classes: names of the classes, C of them.
        sampling_rate: frames per second.

    Raises:
        InputError: as :func:`segcrf.inference.export_model`; and a model that needs later frames: an encoder that is
            not causal, standardisation of whole recordings, or targets that are mixed by later frames.
        InputTypeError: something else than a model; an encoder other than LSTM, GRU and TCN; or a structure with
            transitions of every step.
        ImportError: packages are missing; the text says which.

    Example:
        >>> from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder
        >>> model = JointModel(LSTMEncoder(2, hidden=8), LinearChainCRF(3))
        >>> export_step(model, "step.onnx")      # doctest: +SKIP
        PosixPath('step.onnx')
    """
    target = checked_path(path)
    metadata = metadata_of(model, classes, sampling_rate)
    _check_needs_no_later_frame(model)
    step = _Step(frozen(model)).eval()
    x = torch.zeros(RECORDINGS, FRAMES, model.num_channels, dtype=torch.float64)
    state = step.initial(RECORDINGS)
    step(x, tuple(each.value for each in state))  # what is wrong with a model is clearer here than in a trace of it
    metadata["state"] = json.dumps([_described(each) for each in state])
    metadata["decoding"] = json.dumps({"factor": step.rule.factor, "by_frame": True, "max_delay": 0})
    recordings, frames = torch.export.Dim("recordings"), torch.export.Dim("frames")
    shapes: Any = ({0: recordings, 1: frames}, tuple({0: recordings} for _ in state))
    names = [each.name for each in state]
    outputs = [*step.names, *(f"next_{name}" for name in names)]
    inputs: Any = (x, tuple(each.value for each in state))
    write_program(Exported(step, inputs, shapes, ["x", *names], outputs, metadata), target)
    return target


class _Named(NamedTuple):
    """One tensor of a state."""

    name: str
    value: Tensor


class _Step(nn.Module):
    """What is exported: from the next frames and a state to answers and the next state."""

    def __init__(self, model: JointModel | SwitchingModel) -> None:
        super().__init__()
        self.model = model
        self.rule, self.calibration = model.decoding_rule, model.calibration
        self.state_shape = _check_stepping(model.encoder)
        self.remembers = model.preparation is not None and model.preparation.memory > 0
        self.known = 1 + int(self.remembers)  # tensors of the state before those of the filters
        targets = ["targets"] if model.target_head is not None else []
        self.names = ("emissions", "posteriors", "labels", *targets)

    def initial(self, recordings: int) -> list[_Named]:
        """Return the state before the first frame."""
        dist = self.model.dist(torch.zeros(recordings, 1, self.model.class_head.out_features))
        _check_shared_transitions(dist)
        state = [_Named("encoder", self.model.class_head.weight.new_zeros(recordings, *self.state_shape))]
        if self.remembers:
            assert self.model.preparation is not None
            state.append(_Named("last", self.model.preparation.initial_state(recordings)))
        for owner in ("decoder", "targets")[: self._filters]:
            values = zip(STATES[type(dist)], initial_state(dist), strict=True)
            state += [_Named(f"{owner}_{name}", value) for name, value in values]
        return state

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        model, known = self.model, self.known
        prepared, last = signal_type(model, x), None
        if model.preparation is not None:
            prepared, last = model.preparation.step(prepared, state[1] if self.remembers else None)
        features, encoded = model.encoder.step(prepared.to(model.class_head.weight.dtype), state[0])
        following = (encoded,) if last is None else (encoded, last)
        emissions, predictions, _ = model.heads(features)
        dist = model.dist(emissions)
        size = (len(state) - known) // self._filters
        log_filtered, after = run_filter(self.rule.decode(dist).dist, state[known : known + size])
        following = following + after
        posteriors = self.calibration.traced_probabilities(log_filtered.exp()).to(dist.dtype)
        labels = log_filtered.argmax(-1).masked_fill(log_filtered.amax(-1) == -torch.inf, UNLABELLED)
        answers = dist.emissions, posteriors, labels
        if predictions is None:
            return *answers, *following
        weights = log_filtered
        if self._filters > 1:
            weights, after = run_filter(dist, state[known + size :])
            following = following + after
        return *answers, mixed_targets(model, predictions, weights.exp().to(dist.dtype)), *following

    @property
    def _filters(self) -> int:
        """Filters that run: one decides labels, and a switching model mixes its targets without the factor."""
        return 2 if isinstance(self.model, SwitchingModel) and self.rule.factor != 1.0 else 1


def _check_stepping(encoder: Encoder) -> tuple[int, ...]:
    """Return the shape of the state of an encoder, for one recording."""
    if not isinstance(encoder, LSTMEncoder | GRUEncoder | TCNEncoder):
        expected = "an LSTMEncoder, a GRUEncoder or a TCNEncoder"
        raise InputTypeError(
            "model", f"an encoder of class {type(encoder).__name__}", expected, "export whole recordings"
        )
    return encoder.state_shape


def _described(state: _Named) -> dict[str, Any]:
    """Return what a file says of a tensor of the state, for one recording."""
    value = state.value[0]
    return {
        "name": state.name,
        "shape": list(value.shape),
        "type": str(value.dtype).removeprefix("torch."),
        "initial": _without_infinity(value.tolist()),
    }


def _without_infinity(values: Any) -> Any:
    """Return nested lists with None in place of minus infinity, which JSON does not have."""
    if isinstance(values, list):
        return [_without_infinity(each) for each in values]  # pyright: ignore[reportUnknownVariableType]
    return None if values == -torch.inf else values


# ---------------------------------------------------------------------------------------------------- the checks
def _check_needs_no_later_frame(model: JointModel | SwitchingModel) -> None:
    """Raise for a model that cannot answer before the end of a recording."""
    if not model.encoder.causal:
        expected = "an encoder without a view of later frames"
        advice = "build it with bidirectional=False (LSTM, GRU) or causal=True (others)"
        raise InputError("model", "an encoder with causal=False", expected, advice)
    if model.preparation is not None and model.preparation.per_recording:
        got, expected = "a preparation with per_recording=True", "channels standardised by fixed numbers"
        advice = "mean and deviation of a recording are unknown before its end: fit with standardize='dataset'"
        raise InputError("model", got, expected, advice)
    if model.preparation is not None:
        if model.preparation.own is not None:
            got, expected = f"a preparation by {type(model.preparation.own).__name__}", "prepare='auto' or None"
            raise InputTypeError("model", got, expected, "export whole recordings")
        check_steps(model.preparation)
    if isinstance(model, SwitchingModel) and not filters(model):
        got, expected = "targets that are mixed by posterior='smooth'", "posterior='filter'"
        raise InputError("model", got, expected, "later frames are unknown: train the model with posterior='filter'")


def _check_shared_transitions(dist: Structure) -> None:
    """Raise for transitions of every step: the one from piece to piece is unknown."""
    if dist.potentials.transitions.dim() == 4:
        expected = "transitions that all steps share"
        raise InputTypeError("model", "transitions of every step", expected, "export whole recordings")
