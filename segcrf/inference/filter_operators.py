"""Operators that filter: what is known of each frame when it is measured, and a few frames later.

The structures filter in Python loops over frames, which an exporter would unroll for one number of frames. Here each
loop is one PyTorch operator, so that an exported program runs for any number of frames.
:mod:`segcrf.inference.onnx_functions` holds the same loops for ONNX. Everything is in float64 and log space, without
gradients.

A filter starts from a state and returns the state for the frames that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from segcrf._validation import InputTypeError
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
    """
    log_filtered, _ = run_filter(dist, initial_state(dist))
    if delay == 0:
        return log_filtered.exp().masked_fill(~dist.frame_mask[..., None], 0.0)
    operators = torch.ops.segcrf
    if isinstance(dist, SemiMarkov):
        edge = survival(dist.durations.double(), dist.tail.double())
        return operators.semimarkov_lag(*dist.potentials, edge, dist.lengths, delay)
    emissions, transitions, _, end = dist.potentials
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


class _Frame(NamedTuple):
    """What a filter of bands by age knows at a frame, relative to the log-probability of the frames up to it.

    Attributes:
        entering: (B, C), bands that may begin here, relative to the frames before.
        message: (B, C), labels of this frame.
        closed: (B, C), bands that end here.
        scale: (B, 1), log-probability of this frame given those before.
        state: for the next frame.
        whole: (B, C), the band that began with the recording, if it ends here.
    """

    entering: Tensor
    message: Tensor
    closed: Tensor
    scale: Tensor
    state: tuple[Tensor, ...]
    whole: Tensor


def _filtered_frames(tables: Sequence[Tensor], state: Sequence[Tensor]) -> Iterator[_Frame]:
    """Filter bands by age. A band that ends adds the score of its duration, one that runs adds its survival."""
    emissions, transitions, durations, tail, first, edge = (each.double() for each in tables)
    entering, running, beyond, opening = (each.double() for each in state[:4])
    elapsed, longest = state[4], durations.shape[1]
    for here in emissions.unbind(1):
        entered = entering
        beyond = torch.logaddexp(beyond, running[..., -1]) + here + tail
        running = torch.cat([entering[..., None], running[..., :-1]], -1) + here[..., None]
        opening = opening + here
        row, excess = elapsed.clamp(max=longest - 1), (elapsed - (longest - 1))[:, None]
        longer = opening + torch.where(excess > 0, excess * tail, 0.0)
        joint = _close(running, beyond, longer + edge.mT[row], edge, edge)
        scale = joint.logsumexp(-1, keepdim=True).clamp(min=_LOWEST)
        running, beyond, opening, elapsed = running - scale[..., None], beyond - scale, opening - scale, elapsed + 1
        whole = longer + first.mT[row] - scale
        closed = _close(running, beyond, whole, durations, durations)
        entering = (closed[..., None] + transitions).logsumexp(1)
        yield _Frame(entered, joint - scale, closed, scale, (entering, running, beyond, opening, elapsed), whole)


def _filter_semi_markov(*inputs: Tensor) -> tuple[Tensor, ...]:
    """Filter a semi-Markov chain from a state."""
    frames = list(_filtered_frames(inputs[:6], inputs[6:]))
    return torch.stack([frame.message for frame in frames], 1), *frames[-1].state


def _lag_semi_markov(*inputs: Any) -> Tensor:
    """Sum back from the last frame that is seen, by the bands that end and those that begin between the two.

    All frames go back side by side, ``delay`` steps each.
    """
    *tables, lengths, delay = inputs
    emissions, transitions, durations, tail, start, end, first, last, edge = (each.double() for each in tables)
    recordings, num_frames, classes = emissions.shape
    longest, lengths = durations.shape[1], lengths[:, None]
    begun = start.expand(recordings, classes)
    none = torch.full_like(begun, -torch.inf)
    state = (none, none[..., None].expand(-1, -1, longest), none, begun, torch.zeros_like(lengths[:, 0]))
    frames = list(_filtered_frames((emissions, transitions, durations, tail, first, edge), state))
    ended = [_close(f.state[1], f.state[2], f.whole, last, last) + end for f in frames]
    messages, closed, entering, scales, finals = (
        torch.stack(each, 1)
        for each in ([f.message for f in frames], [f.closed for f in frames], [f.entering for f in frames],
                     [f.scale for f in frames], ended)
    )  # fmt: skip
    frame = torch.arange(num_frames, device=emissions.device)
    cut = torch.minimum(frame + delay, lengths - 1)
    sees_end = (frame + delay >= lengths)[..., None]
    index = cut[..., None].expand(emissions.shape)
    seen = torch.where(sees_end, finals.gather(1, index), messages.gather(1, index))
    total = seen.logsumexp(-1, keepdim=True).clamp(min=_LOWEST)
    weight, level = (seen - total).exp(), -total
    kept = min(longest, delay)
    beyond = after = torch.full_like(emissions, -torch.inf)
    running = after[..., None].expand(*after.shape, kept)
    opening = torch.where(sees_end, end, 0.0).expand(emissions.shape)
    later = [functional.pad(each, (0, 0, 0, delay)) for each in (emissions, closed, entering, scales)]
    for ahead in range(delay, 0, -1):
        here, _, enter, scale = (each[:, ahead : ahead + num_frames] for each in later)
        close = later[1][:, ahead - 1 : ahead - 1 + num_frames]
        inside = (frame + ahead < lengths)[..., None]
        old = torch.logaddexp(beyond, running[..., -1]) + here + tail
        run = torch.cat([after[..., None], running[..., :-1]], -1) + here[..., None]
        opened = opening + here
        left = (cut - frame - ahead).clamp(min=0)
        row, excess = left.clamp(max=longest - 1), (left - (longest - 1))[..., None]
        lasting = torch.where(sees_end, last.mT[row], edge.mT[row]) + torch.where(excess > 0, excess * tail, 0.0)
        begin = _close(run, old, opened + lasting, durations[:, :kept], durations)
        leave = (begin[..., None, :] + transitions).logsumexp(-1)
        change = (close + leave + level - scale).exp() - (enter + begin + level - scale).exp()
        weight, level = weight + torch.where(inside, change, 0.0), level - torch.where(inside, scale, 0.0)
        opening, beyond = torch.where(inside, opened, opening), torch.where(inside, old, beyond)
        running, after = torch.where(inside[..., None], run, running), torch.where(inside, leave, after)
    weight = weight.clamp(min=0.0)
    total = weight.sum(-1, keepdim=True)
    return torch.where((frame < lengths)[..., None] & (total > 0), weight / total, 0.0)


def _close(running: Tensor, beyond: Tensor, whole: Tensor, table: Tensor, old: Tensor) -> Tensor:
    """Return the log-sum (..., C) over ages of bands that end, or run, with the scores of tables (C, K).

    ``table`` may have fewer ages than ``old``, for bands older than K, has.
    """
    ends = [running + table, (beyond + old[:, -1])[..., None], whole[..., None]]
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
_define(
    "semimarkov_lag",
    "(Tensor emissions, Tensor transitions, Tensor durations, Tensor tail, Tensor start, Tensor end, Tensor first, "
    "Tensor last, Tensor survival, Tensor lengths, int delay) -> Tensor",
    _lag_semi_markov,
    _fake_lag,
)


# ---------------------------------------------------------------------------------------------------- the checks
def _check_known(dist: Structure) -> None:
    """Raise for a structure without an operator that filters."""
    if not isinstance(dist, LinearChain | SemiMarkov):
        expected = "a LinearChain or a SemiMarkov"
        raise InputTypeError("model", f"a structured layer that returns a {type(dist).__name__}", expected)
