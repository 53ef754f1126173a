"""Channels: differences and tails are exact, in whole recordings and frame by frame, and padding changes nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from segcrf.nn import ChannelPlan, Differences, Preparation, Standardizer, Tails, adopt_preparation
from segcrf.testing.errors import rejects

PLAN = ChannelPlan(kept=(0, 2, 3), compressed=(2,), slow=(0, 3), flagged=(1, 3), spans=(1, 2, 5), centred=False)


def difference(x: list[float], t: int, span: int, centred: bool) -> float:
    """The definition, for one frame of one channel."""
    end = t + (span // 2 if centred else 0)
    inside = lambda i: x[min(max(i, 0), len(x) - 1)]  # noqa: E731
    return inside(end) - inside(end - span)


def compressed(value: float, tails: Tails, channel: int) -> float:
    """The definition, for one value."""
    centre, knee, scale = (float(each[channel]) for each in (tails.centre, tails.knee, tails.scale))
    distance = value - centre
    if tails.compressed[channel]:
        distance = math.copysign(knee * math.log(1.0 + abs(distance) / knee), distance)
    return distance / scale


def a_preparation(**changes: Any) -> Preparation:
    """A causal preparation with every step, whose buffers are not the neutral ones."""
    torch.manual_seed(0)
    preparation = Preparation(4, **{"missing": "hold", "plan": PLAN} | changes)
    if preparation.channels is not None:
        preparation.channels = Standardizer([1.0, -5.0, 1e6, 0.0], [0.1, 3.0, 7.0, 1.0])
    for tails in (preparation.tails, preparation.differences and preparation.differences.tails):
        if tails is not None:
            for buffer in (tails.centre, tails.knee, tails.scale):
                buffer.uniform_(0.5, 2.0)
            tails.compressed.copy_(torch.arange(len(tails.knee)) % 2 == 1)
    return preparation


def with_gaps(shape: tuple[int, ...], seed: int, share: float = 0.4) -> Tensor:
    random = np.random.default_rng(seed)
    x = random.normal([1.0, -5.0, 1e6, 0.0], [0.1, 3.0, 7.0, 1.0], size=shape)
    x[random.random(shape) < share] = np.nan
    return torch.from_numpy(x)


@pytest.mark.parametrize("centred", [False, True])
def test_differences_are_as_defined_in_ragged_batches(centred: bool) -> None:
    spans, lengths = (1, 2, 3, 8, 16), [1, 2, 7, 40]
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 40, 2)))
    got = Differences(2, spans, centred=centred)(x, torch.tensor(lengths))
    assert got.shape == (4, 40, 10)
    for b, length in enumerate(lengths):
        for index, (span, channel) in enumerate((span, channel) for span in spans for channel in range(2)):
            values = x[b, :length, channel].tolist()
            expected = [difference(values, t, span, centred) for t in range(length)]
            assert got[b, :length, index].tolist() == expected


def test_tails_are_linear_near_the_centre_and_a_logarithm_far_from_it() -> None:
    random = np.random.default_rng(0)
    values = np.stack([random.normal(5.0, 2.0, 4000), random.standard_cauchy(4000) + 3.0, np.zeros(4000)], axis=1)
    tails = Tails(3)
    tails.measure(values, [False, True, True])
    got = tails(torch.from_numpy(values))
    for channel in range(3):
        expected = [compressed(value, tails, channel) for value in values[:, channel].tolist()]
        np.testing.assert_allclose(got[:, channel].numpy(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got.std(0, correction=0).numpy(), [1.0, 1.0, 0.0])
    assert abs(float(tails.centre[1]) - 3.0) < 0.1 and abs(float(tails.knee[1]) - 1.0) < 0.1
    assert got[:, 1].abs().max() < 10.0 < values[:, 1].max()
    order = np.argsort(values[:, 1])
    assert (got[:, 1].numpy()[order][1:] >= got[:, 1].numpy()[order][:-1]).all()


def test_the_weight_of_tails_is_that_of_known_distributions() -> None:
    random = np.random.default_rng(0)
    columns = [random.normal(size=200_000), random.laplace(size=200_000), np.arange(200_000) % 100 == 0]
    weights = Tails.weigh(np.stack(columns, axis=1).astype(float))
    np.testing.assert_allclose(weights, [3.29 / 0.674, math.log(1000) / math.log(2), 1.0], rtol=0.05)


def test_a_plan_survives_json() -> None:
    assert ChannelPlan.from_dict(json.loads(json.dumps(dataclasses.asdict(PLAN)))) == PLAN
    assert (PLAN.num_prepared, PLAN.memory, ChannelPlan((0, 1)).num_prepared) == (11, 5, 2)


def prepared_by_hand(preparation: Preparation, signal: np.ndarray) -> np.ndarray:
    """What a causal preparation makes of one recording (T, F), value by value."""
    assert preparation.channels is not None and preparation.tails is not None and preparation.differences is not None
    z = (signal - preparation.channels.mean.numpy()) / preparation.channels.scale.numpy()
    held = z.copy()
    for t, c in np.argwhere(np.isnan(z)):
        held[t, c] = held[t - 1, c] if t else 0.0
    columns = [[compressed(v, preparation.tails, i) for v in held[:, c]] for i, c in enumerate(PLAN.kept)]
    for i, (span, c) in enumerate((span, c) for span in PLAN.spans for c in PLAN.slow):
        moved = [difference(held[:, c].tolist(), t, span, False) for t in range(len(held))]
        columns.append([compressed(v, preparation.differences.tails, i) for v in moved])
    return np.stack([*columns, *np.isnan(z[:, list(PLAN.flagged)]).T], axis=1)


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_a_recording_is_prepared_as_defined_whatever_follows_it(frames: int) -> None:
    preparation, x = a_preparation(), with_gaps((2, 40, 4), seed=frames)
    x[0, frames:] = 1e30
    got = preparation(x, torch.tensor([frames, 40]))
    assert got.dtype == torch.float32 and got.shape == (2, 40, preparation.num_prepared)
    for row, signal, length in zip(got, x.numpy(), (frames, 40), strict=True):
        expected = prepared_by_hand(preparation, signal[:length])
        np.testing.assert_allclose(row[:length].numpy(), expected, rtol=1e-6, atol=1e-6)


@given(cuts=st.lists(st.integers(0, 40), max_size=8), seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.4, 1.0]))
@settings(max_examples=30)
def test_frames_as_they_come_are_prepared_as_all_at_once(cuts: list[int], seed: int, share: float) -> None:
    preparation, x = a_preparation(), with_gaps((3, 40, 4), seed, share)
    pieces, state = [], None
    for piece in x.tensor_split(sorted(cuts), dim=1):
        prepared, state = preparation.step(piece, state)
        pieces.append(prepared)
    assert torch.equal(torch.cat(pieces, 1), preparation(x))
    assert state.shape == preparation.initial_state(3).shape
    alone, _ = preparation.step(x[1:2], preparation.initial_state(1))
    assert torch.equal(alone[0], preparation(x)[1])


def test_centred_differences_have_no_step() -> None:
    centred = a_preparation(plan=dataclasses.replace(PLAN, centred=True))
    with rejects("prepare", got="centred differences", advice="bidirectional=False"):
        centred.step(torch.zeros(1, 2, 4))


def test_every_scale_is_part_of_the_state() -> None:
    preparation, other = a_preparation(), Preparation(4, missing="hold", plan=PLAN)
    other.load_state_dict(preparation.state_dict())
    x = with_gaps((2, 30, 4), seed=1)
    assert torch.equal(other(x), preparation(x))


# --------------------------------------------------------------------------------------------- a module of the user
class Powers(nn.Module):
    """The signal and its square, with weights that a step does not change."""

    causal = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x * self.weight, x**2], -1)

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self(x), None


def test_an_own_module_gets_standardised_channels_without_gaps() -> None:
    torch.manual_seed(0)
    own = adopt_preparation(Powers, 4)
    assert not any(each.requires_grad for each in own.parameters())
    plan = ChannelPlan((0, 1, 2, 3), flagged=(1,))
    preparation = a_preparation(own=own, plan=plan)
    plain = a_preparation(plan=ChannelPlan((0, 1, 2, 3)))
    x, lengths = with_gaps((2, 30, 4), seed=2), torch.tensor([30, 11])
    got = preparation(x, lengths)
    assert got.shape == (2, 30, 9) == (2, 30, preparation.num_prepared)
    for row, signal, length in zip(got, x, lengths.tolist(), strict=True):
        expected = own(plain(signal[None, :length]))[0]
        assert torch.equal(row[:length], torch.cat([expected, signal[:length, 1:2].isnan().float()], -1))
    pieces, state = [], None
    for piece in x.split([1, 0, 12, 17], dim=1):
        prepared, state = preparation.step(piece, state)
        pieces.append(prepared)
    assert torch.equal(torch.cat(pieces, 1), preparation(x))


def test_what_prepares_no_signal_is_rejected() -> None:
    with rejects("prepare", got="shape"):
        adopt_preparation(nn.Flatten(), 4)
    own = adopt_preparation(nn.Linear(4, 2), 4)
    with rejects("prepare", got="later frames", advice="causal = True"):
        a_preparation(own=own).step(torch.zeros(1, 2, 4))
