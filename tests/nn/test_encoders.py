"""Encoders: padding changes nothing, pieces equal the whole, causal means causal."""

from collections.abc import Callable

import pytest
import torch

from segcrf.nn import (
    AttentionEncoder,
    ConvGRUEncoder,
    ConvLSTMEncoder,
    Encoder,
    GRUEncoder,
    LSTMEncoder,
    MSTCNEncoder,
    SequenceDropout,
    TCNEncoder,
    UNetEncoder,
    make_encoder,
)
from segcrf.testing.encoders import CausalEncoderContract, EncoderContract, signal
from segcrf.testing.errors import rejects

Build = Callable[[], Encoder]

CAUSAL: dict[str, Build] = {
    "lstm": lambda: LSTMEncoder(3, 5),
    "lstm-3-layers": lambda: LSTMEncoder(3, 5, layers=3),
    "gru": lambda: GRUEncoder(3, 5, layers=2),
    "gru-1-unit": lambda: GRUEncoder(3, 1),
    "lstm-1-unit": lambda: LSTMEncoder(3, 1, layers=2),
    "lstm-many-units": lambda: LSTMEncoder(3, 37, layers=2),
    "tcn": lambda: TCNEncoder(3, 5, layers=3, causal=True),
    "tcn-even-kernel": lambda: TCNEncoder(3, 5, layers=2, kernel_size=2, causal=True),
    "tcn-one-tap": lambda: TCNEncoder(3, 5, layers=2, kernel_size=1, causal=True),
    "tcn-no-layer": lambda: TCNEncoder(3, 19, layers=0, causal=True),
    "unet": lambda: UNetEncoder(3, 8, layers=2, causal=True),
    "unet-3-levels": lambda: UNetEncoder(3, 12, layers=3, kernel_size=2, causal=True),
    "unet-one-tap": lambda: UNetEncoder(3, 6, layers=1, kernel_size=1, causal=True),
    "unet-one-rate": lambda: UNetEncoder(3, 6, layers=0, causal=True),
    "ms-tcn": lambda: MSTCNEncoder(3, 5, layers=2, stages=3, causal=True),
    "attention": lambda: AttentionEncoder(3, 8, window=4, causal=True),
    "attention-one-frame": lambda: AttentionEncoder(3, 6, layers=1, window=1, causal=True),
    "conv-lstm": lambda: ConvLSTMEncoder(3, 5, layers=2, stem_layers=2, causal=True),
    "conv-gru": lambda: ConvGRUEncoder(3, 5, stem_layers=2, kernel_size=2, causal=True),
}
ANTICAUSAL: dict[str, Build] = {
    "bi-lstm": lambda: LSTMEncoder(3, 5, bidirectional=True),
    "bi-lstm-3-layers": lambda: LSTMEncoder(3, 5, layers=3, bidirectional=True),
    "bi-gru": lambda: GRUEncoder(3, 5, layers=2, bidirectional=True),
    "tcn": lambda: TCNEncoder(3, 5, layers=3),
    "tcn-wide-kernel": lambda: TCNEncoder(3, 5, layers=2, kernel_size=5),
    "unet": lambda: UNetEncoder(3, 8, layers=2),
    "unet-3-levels": lambda: UNetEncoder(3, 5, layers=3, kernel_size=3),
    "unet-one-rate": lambda: UNetEncoder(3, 6, layers=0, kernel_size=1),
    "unet-1-unit": lambda: UNetEncoder(3, 1, layers=1, kernel_size=3),
    "ms-tcn": lambda: MSTCNEncoder(3, 5, layers=2, stages=3),
    "attention": lambda: AttentionEncoder(3, 8, window=4),
    "attention-wide-window": lambda: AttentionEncoder(3, 6, layers=1, window=50),
    "conv-lstm": lambda: ConvLSTMEncoder(3, 5, layers=2, stem_layers=2),
    "conv-gru": lambda: ConvGRUEncoder(3, 5, stem_layers=2),
}
ALL = [*CAUSAL.values(), *ANTICAUSAL.values()]
NAMES = [*CAUSAL, *(f"{name} (both sides)" for name in ANTICAUSAL)]


def build(make: Build) -> Encoder:
    torch.manual_seed(0)
    return make().double().eval()


class TestEncoders(EncoderContract):
    @pytest.fixture(params=ALL, ids=NAMES)
    def encoder(self, request: pytest.FixtureRequest) -> Encoder:
        return build(request.param)


class TestCausalEncoders(CausalEncoderContract):
    @pytest.fixture(params=list(CAUSAL.values()), ids=list(CAUSAL))
    def encoder(self, request: pytest.FixtureRequest) -> Encoder:
        return build(request.param)


def test_the_names_say_which_encoders_are_causal() -> None:
    assert all(make().causal for make in CAUSAL.values())
    assert not any(make().causal for make in ANTICAUSAL.values())


@pytest.mark.parametrize("causal", [False, True])
def test_the_receptive_field_is_what_it_says(causal: bool) -> None:
    encoder = build(lambda: TCNEncoder(1, 16, layers=3, causal=causal))
    assert isinstance(encoder, TCNEncoder)
    field = encoder.receptive_field
    x = signal(1, 4 * field, 1).requires_grad_()
    frame = 2 * field
    (grad,) = torch.autograd.grad(encoder(x)[0, frame].sum(), x)
    seen = grad[0, :, 0].nonzero().flatten()
    first = frame - field + 1 if causal else frame - field // 2
    assert (int(seen[0]), int(seen[-1])) == (first, first + field - 1)


def test_dropout_drops_whole_sequences_while_training_only() -> None:
    torch.manual_seed(0)
    drop, x = SequenceDropout(0.5), torch.ones(4, 50, 32)
    y = drop.train()(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(drop.eval()(x), x)


def test_make_encoder_names_the_choices() -> None:
    assert isinstance(make_encoder("lstm", 3, hidden=4), LSTMEncoder)
    with rejects(
        "encoder",
        got="'transformer'",
        expected="'lstm', 'gru', 'tcn', 'unet', 'ms-tcn', 'attention', 'conv-lstm', 'conv-gru'",
    ):
        make_encoder("transformer", 3)
    with rejects("kernel_size", got="4", expected="odd", advice="use 5, or causal=True"):
        make_encoder("tcn", 3, kernel_size=4)


def test_an_encoder_shows_its_sizes() -> None:
    assert "in_features=3, out_features=10, causal=False" in repr(LSTMEncoder(3, 5, bidirectional=True))
    assert "causal=True, receptive_field=15" in repr(TCNEncoder(3, 5, layers=3, causal=True))
    assert repr(SequenceDropout(0.5)) == "SequenceDropout(p=0.5)"
