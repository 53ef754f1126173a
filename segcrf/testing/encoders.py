"""The contract of every encoder: padding changes nothing, pieces equal the whole, causal means causal.

A test class subclasses :class:`EncoderContract` and supplies the fixture ``encoder``: encoders of ``CHANNELS`` input
channels, in float64 and in evaluation mode.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from segcrf.nn import Encoder
from segcrf.testing.errors import rejects

__all__ = ["EncoderContract", "signal"]

CHANNELS = 3


def signal(*shape: int) -> Tensor:
    """Return a random float64 signal, the same for every call with the same shape."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class EncoderContract:
    """What an encoder owes its user."""

    @pytest.fixture
    def encoder(self) -> Encoder:
        """Return the encoder under test."""
        raise NotImplementedError

    def test_padding_and_batch_composition_change_nothing(self, encoder: Encoder) -> None:
        lengths, x = torch.tensor([17, 5, 1]), signal(3, 17, CHANNELS)
        together = encoder(x, lengths)
        assert together.shape == (3, 17, encoder.out_features)
        for content in (0.0, 1e6):
            longer = torch.cat([x, torch.full((3, 4, CHANNELS), content, dtype=x.dtype)], dim=1)
            for b, n in enumerate(lengths.tolist()):
                longer[b, n:] = content
            padded = encoder(longer, lengths)
            for b, n in enumerate(lengths.tolist()):
                alone = encoder(x[b : b + 1, :n])[0]
                torch.testing.assert_close(together[b, :n], alone, rtol=1e-9, atol=1e-12)
                torch.testing.assert_close(padded[b, :n], alone, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("size", [1, 4, 7, 23, 100])
    def test_chunks_equal_the_whole(self, encoder: Encoder, size: int) -> None:
        x = signal(1, 23, CHANNELS)
        pieces = list(encoder.chunks(x, size))
        assert [piece.shape[1] for piece in pieces] == [len(part) for part in torch.arange(23).split(size)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), encoder(x), rtol=1e-9, atol=1e-12)

    def test_steps_equal_the_whole_or_are_rejected(self, encoder: Encoder) -> None:
        x = signal(2, 30, CHANNELS)
        if not encoder.causal:
            with rejects("encoder", got=type(encoder).__name__, advice="bidirectional=False"):
                encoder.step(x)
            return
        pieces, state = [], None
        for piece in x.split([1, 1, 9, 2, 17], dim=1):
            features, state = encoder.step(piece, state)
            pieces.append(features)
        torch.testing.assert_close(torch.cat(pieces, dim=1), encoder(x), rtol=1e-9, atol=1e-12)

    def test_only_a_causal_encoder_ignores_the_next_frame(self, encoder: Encoder) -> None:
        x = signal(1, 12, CHANNELS)
        other = x.clone()
        other[:, 7] += 1.0
        change = (encoder(other) - encoder(x)).abs().amax(dim=2)[0]
        assert (change[:7].max() == 0.0) == encoder.causal
        assert change[7] > 0.0

    def test_gradients_do_not_leak_into_the_padding(self, encoder: Encoder) -> None:
        x = signal(1, 9, CHANNELS).requires_grad_()
        (grad,) = torch.autograd.grad(encoder(x, torch.tensor([6]))[:, :6].sum(), x)
        assert grad[:, 6:].abs().max() == 0.0
        assert grad[:, 5].abs().max() > 0.0
