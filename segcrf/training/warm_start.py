"""Warm start: a training that goes on from the weights of an earlier one, with new classes appended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from segcrf._validation import InputError
from segcrf.data import Labelled
from segcrf.nn import Preparation
from segcrf.training.parameters import Parameters, to_plain
from segcrf.training.trained import Trained

__all__ = ["check_continues", "copy_weights", "digest_weights", "restored_preparation"]

# Parameters that decide which weights a model has.
ARCHITECTURE = (
    "structure",
    "encoder",
    "hidden",
    "layers",
    "bidirectional",
    "prepare",
    "missing",
    "switching",
    "regression",
)


def check_continues(parameters: Parameters, start: Trained, train: Labelled) -> None:
    """Raise unless a training can go on from an earlier one.

    Args:
        parameters: of the new training.
        start: what the earlier one left.
        train: the new recordings.

    Raises:
        InputError: a parameter, the number of channels or the number of targets would need other weights.
    """
    for name in ARCHITECTURE:
        got, expected = (to_plain(getattr(each, name)) for each in (parameters, start.setting.parameters))
        if got != expected:
            advice = "warm_start goes on with the weights of the fitted model: leave it out to begin anew"
            raise InputError(name, repr(got), f"{expected!r}, as in the fitted model", advice)
    sizes = start.setting.sizes
    num_targets = 0 if train.targets is None else train.targets[0].shape[1]
    for argument, got, expected in (
        ("X", train.signals[0].shape[1], sizes.num_channels),
        ("targets", num_targets, sizes.num_targets),
    ):
        if got != expected:
            what = "channels" if argument == "X" else "targets"
            advice = "give the recordings as in the first fit, or leave warm_start out"
            raise InputError(argument, f"{got} {what}", f"{expected}, as in the fitted model", advice)


def restored_preparation(start: Trained) -> Preparation:
    """Return the preparation of an earlier training: its weights expect its channels and scales."""
    preparation = start.setting.sizes.new_preparation(start.setting.parameters)
    prefix = "preparation."
    preparation.load_state_dict(
        {name[len(prefix) :]: value for name, value in start.weights.items() if name.startswith(prefix)}
    )
    return preparation


@torch.no_grad()
def copy_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights of a model with fewer classes into a model, which keeps its own where classes are new.

    Classes come first on every axis that counts them, so the weights of the old ones are the leading block.

    Args:
        model: changed in place.
        weights: state of the smaller model.

    Example:
        >>> small, large = nn.Linear(2, 3), nn.Linear(2, 4)
        >>> copy_weights(large, small.state_dict())
        >>> torch.equal(large.weight[:3], small.weight)
        True
    """
    for name, tensor in model.state_dict().items():
        old = weights[name].to(tensor.device)
        tensor[tuple(slice(size) for size in old.shape)] = old


def digest_weights(weights: Mapping[str, Tensor]) -> str:
    """Return a checksum of weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor: Any = weights[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()[:16]
