"""Preparation: scales are exact, padding and the batch change nothing, and a model takes the raw signal."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder, Preparation, Standardizer, fill_missing
from segcrf.testing.errors import rejects


def test_standardizer_is_exact_and_leaves_constants_alone() -> None:
    random = np.random.default_rng(0)
    x = random.normal([3.0, 1e6, -2.0], [2.0, 1.0, 0.0], size=(500, 3))
    scaler = Standardizer.fit([x[:100], x[100:]])
    z = scaler.transform(x)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(z.std(axis=0), [1.0, 1.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(scaler.inverse_transform(z), x, rtol=1e-12)
    assert scaler.scale[2] == 1.0
    assert Standardizer.fit([np.full((100, 1), 0.1, dtype=np.float32)]).scale[0] == 1.0  # despite rounding


def test_standardizer_leaves_out_nan() -> None:
    y = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]])
    scaler = Standardizer.fit([y])
    assert scaler.mean.tolist() == [2.0, 0.0] and scaler.scale.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("frames", [1, 2, 400])
def test_a_recording_is_standardised_by_its_own_valid_frames(frames: int) -> None:
    random = np.random.default_rng(frames)
    recordings = [random.normal([5.0, 1e7, 0.1], [2.0, 3.0, 0.0], size=(length, 3)) for length in (frames, 700)]
    padded = torch.full((2, 700, 3), 1e30, dtype=torch.float64)
    for row, signal in zip(padded, recordings, strict=True):
        row[: len(signal)] = torch.from_numpy(signal)
    got = Preparation(3, per_recording=True)(padded, torch.tensor([frames, 700]))
    for row, signal in zip(got, recordings, strict=True):
        expected = Standardizer.fit([signal]).transform(signal)
        np.testing.assert_allclose(row[: len(signal)].numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_model_takes_the_raw_signal() -> None:
    torch.manual_seed(0)
    preparation = Preparation(2, 1)
    preparation.channels = Standardizer([100.0, -3.0], [7.0, 0.1])
    preparation.targets = Standardizer([50.0], [4.0])
    model = JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3), 1, preparation=preparation).eval()
    raw = torch.randn(2, 30, 2) * torch.tensor([7.0, 0.1]) + torch.tensor([100.0, -3.0])
    prepared = ((raw.double() - preparation.channels.mean) / preparation.channels.scale).float()
    lengths = torch.tensor([30, 12])
    whole, parts = model(raw, lengths), model.from_prepared(prepared, lengths)
    assert_close(whole.dist.emissions, parts.dist.emissions, rtol=0, atol=0)
    assert whole.predictions is not None
    assert_close(preparation.to_unit_of_targets(whole.predictions), whole.predictions.double() * 4.0 + 50.0)


def test_scales_are_part_of_the_state_of_a_model() -> None:
    model = JointModel(LSTMEncoder(2, hidden=4), LinearChainCRF(3), 1, preparation=Preparation(2, 1))
    names = {name for name in model.state_dict() if name.startswith("preparation.")}
    assert names == {f"preparation.{kind}.{value}" for kind in ("channels", "targets") for value in ("mean", "scale")}


# ---------------------------------------------------------------------------------------------------- missing values
def filled(x: np.ndarray, policy: str) -> np.ndarray:
    """The definition, value by value, for (T,)."""
    known = np.flatnonzero(~np.isnan(x))
    out = x.copy()
    for t in np.flatnonzero(np.isnan(x)):
        before, after = known[known < t], known[known > t]
        if policy == "hold":
            out[t] = x[before[-1]] if len(before) else 0.0
        elif len(before) and len(after):
            out[t] = np.interp(t, [before[-1], after[0]], x[[before[-1], after[0]]])
        else:
            out[t] = x[before[-1]] if len(before) else x[after[0]] if len(after) else 0.0
    return out


@pytest.mark.parametrize("policy", ["hold", "interpolate"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_missing_values_are_replaced_as_defined(policy: str, share: float) -> None:
    random = np.random.default_rng(int(share * 10))
    lengths = [1, 2, 30, 17]
    x = random.normal(size=(4, 30, 2))
    x[random.random(x.shape) < share] = np.nan
    got = fill_missing(torch.from_numpy(x), policy, torch.tensor(lengths)).numpy()
    for row, expected, length in zip(got, x, lengths, strict=True):
        for channel in range(2):
            np.testing.assert_allclose(row[:length, channel], filled(expected[:length, channel], policy), rtol=1e-12)


@pytest.mark.parametrize("missing", ["error", "hold"])
def test_frames_as_they_come_are_prepared_as_all_at_once(missing: str) -> None:
    random = np.random.default_rng(0)
    preparation = Preparation(3, missing=missing)
    preparation.channels = Standardizer([1.0, -5.0, 1e6], [0.1, 3.0, 7.0])
    x = torch.from_numpy(random.normal(size=(2, 60, 3)))
    if missing == "hold":
        x[torch.from_numpy(random.random(x.shape) < 0.5)] = torch.nan
    pieces, state = [], None
    for piece in x.split([1, 4, 0, 20, 1, 34], dim=1):
        prepared, state = preparation.step(piece, state)
        pieces.append(prepared)
    assert torch.equal(torch.cat(pieces, 1), preparation(x))


def test_a_recording_of_its_own_scale_leaves_missing_values_out() -> None:
    x = torch.tensor([[[1.0], [torch.nan], [3.0], [9.0]]])
    got = Preparation(1, per_recording=True, missing="hold")(x, torch.tensor([3]))
    assert got[0, :3, 0].tolist() == [-1.0, -1.0, 1.0]


def test_a_preparation_that_needs_later_frames_has_no_step() -> None:
    with rejects("standardize", got="'recording'"):
        Preparation(1, per_recording=True).step(torch.zeros(1, 2, 1))
    with rejects("missing", got="'interpolate'"):
        Preparation(1, missing="interpolate").step(torch.zeros(1, 2, 1))
    with rejects("missing", got="'mean'"):
        Preparation(1, missing="mean")
