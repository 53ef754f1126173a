"""Operators that filter: what is known of each frame when it is measured, and a few frames later.

The structures filter in Python loops over frames, which an exporter would unroll for one number of frames. Here each
loop is one PyTorch operator, so that an exported program runs for any number of frames.
:mod:`segcrf.inference.onnx_functions` holds the same loops for ONNX. Everything is in float64 and log space, without
gradients.

A filter starts from a state and returns the state for the frames that follow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from segcrf._validation import InputError, InputTypeError
from segcrf.structures import LinearChain, SemiMarkov, Structure, survival

__all__ = ["STATES", "FilterState", "filtered", "initial_state", "lagged", "run_filter"]

FilterState = tuple[Tensor, ...]

#: Names of the tensors of a state, by the structure. ``entering`` (B, C) is the log-probability of each class at the
#: next frame before its scores, for a semi-Markov chain of a band that begins there. Bands that run are ``running``
#: (B, C, K) by age, ``beyond`` (B, C) if older than K, and ``opening`` (B, C) if they began with the recording,
#: ``elapsed`` (B,) frames ago.
STATES: dict[type[Structure], tuple[str, ...]] = {
    LinearChain: ("entering",),
    SemiMarkov: ("entering", "running", "beyond", "opening", "elapsed"),
}
# Subtracted in place of -inf where every class is forbidden: nothing possible comes near it.
_LOWEST = -1e300


# ------------------------------------------------------------------------------------------------- of structures
def initial_state(dist: Structure) -> FilterState:
    """Return the state of a filter before the first frame, for the recordings of ``dist``.

    Raises:
        InputTypeError: ``dist`` is neither a linear chain nor a semi-Markov chain.
    """
    recordings, _, classes = dist.emissions.shape
    _check_known(dist)
    begun = dist.potentials.start.double().expand(recordings, classes)
    if isinstance(dist, LinearChain):
        return (begun.clone(),)
    assert isinstance(dist, SemiMarkov)
    none = torch.full_like(begun, -torch.inf)
    running = none[..., None].expand(recordings, classes, dist.max_duration)
    elapsed = torch.zeros_like(begun[:, 0], dtype=torch.int64)
    return none, running.clone(), none.clone(), begun.clone(), elapsed


def run_filter(dist: Structure, state: FilterState) -> tuple[Tensor, FilterState]:
    """Filter all frames of ``dist``, of every recording, from a state.

    Returns:
        Log-probabilities (B, T, C) of the class of each frame given the frames up to it, float64, -inf for all classes
        where no labelling is allowed; and the state after the last frame.
    """
    operators = torch.ops.segcrf
    emissions, transitions = dist.potentials[:2]
    if isinstance(dist, LinearChain):
        operator = operators.chain_varying_filter if transitions.dim() == 4 else operators.chain_filter
        log_filtered, *following = operator(emissions, transitions, *state)
    else:
        _check_known(dist)
        durations, tail, first = dist.potentials.durations, dist.potentials.tail, dist.potentials.first
        edge = survival(durations.double(), tail.double())
        tables = (emissions, transitions, durations, tail, first, edge)
        log_filtered, *following = operators.semimarkov_filter(*tables, *state)
    return log_filtered, tuple(following)


def filtered(dist: Structure) -> Tensor:
    """Return :attr:`segcrf.Structure.filtered` of ``dist``, (B, T, C), by an operator that can be exported."""
    log_filtered, _ = run_filter(dist, initial_state(dist))
    return log_filtered.exp().masked_fill(~dist.frame_mask[..., None], 0.0).to(dist.dtype)


def lagged(dist: Structure, delay: int) -> Tensor:
    """Return the probability (B, T, C), float64, of the class of each frame given ``delay`` later frames.

    It is the marginal of frame t in the recording cut after frame t + delay, as if from a longer recording. The last
    ``delay`` frames see the real end.

    Raises:
        InputError: ``dist`` is no linear chain.
    """
    _check_laggable(dist)
    log_filtered, _ = run_filter(dist, initial_state(dist))
    if delay == 0:
        return log_filtered.exp().masked_fill(~dist.frame_mask[..., None], 0.0)
    emissions, transitions, _, end = dist.potentials
    operators = torch.ops.segcrf
    operator = operators.chain_varying_lag if transitions.dim() == 4 else operators.chain_lag
    return operator(emissions, transitions, end, log_filtered, dist.lengths, delay)


# ------------------------------------------------------------------------------------------------- the operators
def _filter_chain(emissions: Tensor, transitions: Tensor, entering: Tensor) -> tuple[Tensor, Tensor]:
    """Filter with transitions (C, C), or (B, T - 1, C, C)."""
    steps = transitions.double()
    if steps.dim() == 4:
        steps = functional.pad(steps, (0, 0, 0, 0, 0, 1))  # after the last frame there is no step
    messages: list[Tensor] = []
    entering = entering.double()
    for t, here in enumerate(emissions.double().unbind(1)):
        moved = entering + here
        messages.append(moved - moved.logsumexp(-1, keepdim=True).clamp(min=_LOWEST))
        step = steps if steps.dim() == 2 else steps[:, t]
        entering = (messages[-1][..., None] + step).logsumexp(1)
    return torch.stack(messages, 1), entering


def _lag_chain(*inputs: Any) -> Tensor:
    """Carry messages of all frames back through the ``delay`` frames after them, side by side."""
    emissions, transitions, end, log_filtered, lengths, delay = inputs
    num_frames, lengths = emissions.shape[1], lengths[:, None]
    frame = torch.arange(num_frames, device=emissions.device)
    later = functional.pad(emissions.double(), (0, 0, 0, delay))
    steps = transitions.double()
    if steps.dim() == 4:
        steps = functional.pad(steps, (0, 0, 0, 0, 1, delay))
    after = torch.where((frame + delay >= lengths)[..., None], end.double(), 0.0).expand(emissions.shape)
    for ahead in range(delay, 0, -1):
        reached = later[:, ahead : ahead + num_frames] + after
        step = steps if steps.dim() == 2 else steps[:, ahead : ahead + num_frames]
        before = (reached[:, :, None, :] + step).logsumexp(-1)
        after = torch.where((frame + ahead < lengths)[..., None], before, after)
    joint = log_filtered + after
    weight = (joint - joint.amax(-1, keepdim=True).clamp(min=_LOWEST)).exp()
    total = weight.sum(-1, keepdim=True)
    return torch.where((frame < lengths)[..., None] & (total > 0), weight / total, 0.0)


def _filter_semi_markov(*inputs: Tensor) -> tuple[Tensor, ...]:
    """Filter bands by age. A band that ends adds the score of its duration, one that runs adds its survival."""
    emissions, transitions, durations, tail, first, edge = (each.double() for each in inputs[:6])
    entering, running, beyond, opening = (each.double() for each in inputs[6:10])
    elapsed = inputs[10].clone()
    messages: list[Tensor] = []
    longest = durations.shape[1]
    for here in emissions.unbind(1):
        beyond = torch.logaddexp(beyond, running[..., -1]) + here + tail
        running = torch.cat([entering[..., None], running[..., :-1]], -1) + here[..., None]
        opening = opening + here
        row, excess = elapsed.clamp(max=longest - 1), (elapsed - (longest - 1))[:, None]
        whole = opening + torch.where(excess > 0, excess * tail, 0.0)
        message = _close(running, beyond, whole + edge.mT[row], edge)
        top = message.logsumexp(-1, keepdim=True).clamp(min=_LOWEST)
        messages.append(message - top)
        closed = _close(running, beyond, whole + first.mT[row], durations)
        entering = (closed[..., None] + transitions).logsumexp(1) - top
        running, beyond, opening, elapsed = running - top[..., None], beyond - top, opening - top, elapsed + 1
    return torch.stack(messages, 1), entering, running, beyond, opening, elapsed


def _close(running: Tensor, beyond: Tensor, whole: Tensor, table: Tensor) -> Tensor:
    """Return the log-sum (B, C) over ages of bands that end, or run, with the scores of ``table`` (C, K)."""
    ends = [running + table, (beyond + table[:, -1])[..., None], whole[..., None]]
    return torch.cat(ends, -1).logsumexp(-1)


def _fake_filter(emissions: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    count = 1 if len(rest) == 2 else 5  # the state comes last
    state = [torch.empty_like(each) for each in rest[-count:]]
    return torch.empty_like(emissions, dtype=torch.float64, memory_format=torch.contiguous_format), *state


def _fake_lag(emissions: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(emissions, dtype=torch.float64, memory_format=torch.contiguous_format)


_LIBRARY = torch.library.Library("segcrf", "FRAGMENT")


def _define(name: str, schema: str, operator: Callable[..., Any], fake: Callable[..., Any]) -> None:
    _LIBRARY.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, operator, "CompositeExplicitAutograd")
    torch.library.register_fake(f"segcrf::{name}", fake, lib=_LIBRARY)


for _kind in ("chain", "chain_varying"):
    _filter_schema = "(Tensor emissions, Tensor transitions, Tensor entering) -> (Tensor, Tensor)"
    _define(f"{_kind}_filter", _filter_schema, _filter_chain, _fake_filter)
    _lag_schema = "Tensor emissions, Tensor transitions, Tensor end, Tensor log_filtered, Tensor lengths, int delay"
    _define(f"{_kind}_lag", f"({_lag_schema}) -> Tensor", _lag_chain, _fake_lag)
_define(
    "semimarkov_filter",
    "(Tensor emissions, Tensor transitions, Tensor durations, Tensor tail, Tensor first, Tensor survival, "
    "Tensor entering, Tensor running, Tensor beyond, Tensor opening, Tensor elapsed) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _filter_semi_markov,
    _fake_filter,
)


# ---------------------------------------------------------------------------------------------------- the checks
def _check_known(dist: Structure) -> None:
    """Raise for a structure without an operator that filters."""
    if not isinstance(dist, LinearChain | SemiMarkov):
        expected = "a LinearChain or a SemiMarkov"
        raise InputTypeError("model", f"a structured layer that returns a {type(dist).__name__}", expected)


def _check_laggable(dist: Structure) -> None:
    """Raise for a structure without an operator that looks a few frames ahead."""
    if not isinstance(dist, LinearChain):
        got = f"a decoding rule with max_delay for a {type(dist).__name__}"
        advice = "export the model with max_delay=None, or fit a linear chain"
        raise InputError("model", got, "a linear chain, the only structure with an exported delay", advice)
