"""Preparation: scales are exact, padding and the batch change nothing, and a model takes the raw signal."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from segcrf.nn import JointModel, LinearChainCRF, LSTMEncoder, Preparation, Standardizer


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
