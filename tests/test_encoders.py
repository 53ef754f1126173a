"""Encoders: padding changes nothing, pieces equal the whole, causal means causal."""

from collections.abc import Callable

import pytest
import torch
from errors import rejects
from torch import Tensor

from segcrf.nn import Encoder, GRUEncoder, LSTMEncoder, SequenceDropout, TCNEncoder, make_encoder

Build = Callable[[], Encoder]

CAUSAL: dict[str, Build] = {
    "lstm": lambda: LSTMEncoder(3, 5),
    "lstm-3-layers": lambda: LSTMEncoder(3, 5, layers=3),
    "gru": lambda: GRUEncoder(3, 5, layers=2),
    "tcn": lambda: TCNEncoder(3, 5, layers=3, causal=True),
    "tcn-even-kernel": lambda: TCNEncoder(3, 5, layers=2, kernel_size=2, causal=True),
}
ANTICAUSAL: dict[str, Build] = {
    "bi-lstm": lambda: LSTMEncoder(3, 5, bidirectional=True),
    "bi-lstm-3-layers": lambda: LSTMEncoder(3, 5, layers=3, bidirectional=True),
    "bi-gru": lambda: GRUEncoder(3, 5, layers=2, bidirectional=True),
    "tcn": lambda: TCNEncoder(3, 5, layers=3),
    "tcn-wide-kernel": lambda: TCNEncoder(3, 5, layers=2, kernel_size=5),
}
ALL = [*CAUSAL.values(), *ANTICAUSAL.values()]
NAMES = [*CAUSAL, *(f"{name} (both sides)" for name in ANTICAUSAL)]


def build(make: Build) -> Encoder:
    torch.manual_seed(0)
    return make().double().eval()


def signal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", ALL, ids=NAMES)
def test_padding_and_batch_composition_change_nothing(make: Build) -> None:
    encoder, lengths = build(make), torch.tensor([17, 5, 1])
    x = signal(3, 17, 3)
    together = encoder(x, lengths)
    assert together.shape == (3, 17, encoder.out_features)
    for content in (0.0, 1e6):
        longer = torch.cat([x, torch.full((3, 4, 3), content, dtype=x.dtype)], dim=1)
        for b, n in enumerate(lengths.tolist()):
            longer[b, n:] = content
        padded = encoder(longer, lengths)
        for b, n in enumerate(lengths.tolist()):
            alone = encoder(x[b : b + 1, :n])[0]
            torch.testing.assert_close(together[b, :n], alone, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(padded[b, :n], alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", ALL, ids=NAMES)
@pytest.mark.parametrize("size", [1, 4, 7, 23, 100])
def test_chunks_equal_the_whole(make: Build, size: int) -> None:
    encoder, x = build(make), signal(1, 23, 3)
    pieces = list(encoder.chunks(x, size))
    assert [piece.shape[1] for piece in pieces] == [len(part) for part in torch.arange(23).split(size)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), encoder(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", CAUSAL.values(), ids=CAUSAL)
def test_steps_equal_the_whole(make: Build) -> None:
    encoder, x = build(make), signal(2, 30, 3)
    pieces, state = [], None
    for piece in x.split([1, 1, 9, 2, 17], dim=1):
        features, state = encoder.step(piece, state)
        pieces.append(features)
    torch.testing.assert_close(torch.cat(pieces, dim=1), encoder(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", CAUSAL.values(), ids=CAUSAL)
def test_a_causal_encoder_does_not_see_the_next_frame(make: Build) -> None:
    encoder, x = build(make), signal(1, 12, 3)
    assert encoder.causal
    other = x.clone()
    other[:, 7] += 1.0
    change = (encoder(other) - encoder(x)).abs().amax(dim=2)[0]
    assert change[:7].max() == 0.0
    assert change[7] > 0.0


@pytest.mark.parametrize("make", ANTICAUSAL.values(), ids=ANTICAUSAL)
def test_an_encoder_of_both_sides_sees_the_next_frame_and_cannot_step(make: Build) -> None:
    encoder, x = build(make), signal(1, 12, 3)
    other = x.clone()
    other[:, 7] += 1.0
    assert (encoder(other) - encoder(x)).abs().amax(dim=2)[0, 6] > 0.0
    with rejects("encoder", got=type(encoder).__name__, advice="bidirectional=False"):
        encoder.step(x)


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


def test_gradients_do_not_leak_into_the_padding() -> None:
    for make in ALL:
        encoder, x = build(make), signal(1, 9, 3).requires_grad_()
        (grad,) = torch.autograd.grad(encoder(x, torch.tensor([6]))[:, :6].sum(), x)
        assert grad[:, 6:].abs().max() == 0.0
        assert grad[:, 5].abs().max() > 0.0


def test_dropout_drops_whole_sequences_while_training_only() -> None:
    torch.manual_seed(0)
    drop, x = SequenceDropout(0.5), torch.ones(4, 50, 32)
    y = drop.train()(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(drop.eval()(x), x)


def test_make_encoder_names_the_choices() -> None:
    assert isinstance(make_encoder("lstm", 3, hidden=4), LSTMEncoder)
    with rejects("encoder", got="'transformer'", expected="'lstm', 'gru', 'tcn'"):
        make_encoder("transformer", 3)
    with rejects("kernel_size", got="4", expected="odd", advice="use 5, or causal=True"):
        make_encoder("tcn", 3, kernel_size=4)


def test_an_encoder_shows_its_sizes() -> None:
    assert "in_features=3, out_features=10, causal=False" in repr(LSTMEncoder(3, 5, bidirectional=True))
    assert "causal=True, receptive_field=15" in repr(TCNEncoder(3, 5, layers=3, causal=True))
    assert repr(SequenceDropout(0.5)) == "SequenceDropout(p=0.5)"
