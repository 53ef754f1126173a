"""The contract of every encoder: padding changes nothing, pieces equal the whole, causal means causal.

A test class subclasses :class:`EncoderContract` and supplies the fixture ``encoder``: encoders of ``CHANNELS`` input
channels, in float64 and in evaluation mode. For causal ones, :class:`CausalEncoderContract` tests what a stream needs:
features by ``step_by_frame``, in float64 and in float32, the same to the last bit.
"""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as tree

from segcrf.nn import Encoder, step_by_frame
from segcrf.testing.errors import rejects

__all__ = ["CausalEncoderContract", "EncoderContract", "in_pieces", "same", "signal"]

CHANNELS = 3


def signal(*shape: int) -> Tensor:
    """Return a random float64 signal, the same for every call with the same shape."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def same(left: Any, right: Any) -> bool:
    """Return whether two nests of tensors have the same bits; NaN equals NaN."""
    ours, theirs = tree.tree_leaves(left), tree.tree_leaves(right)
    return len(ours) == len(theirs) and all(
        a is b is None or (a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b)))
        for a, b in zip(ours, theirs, strict=True)
    )


def _bits(values: Tensor) -> Tensor:
    kind = {8: torch.int64, 4: torch.int32, 2: torch.int16}[values.element_size()]
    return values.contiguous().view(kind)


def in_pieces(encoder: Encoder, x: Tensor, sizes: list[int], state: Any = None) -> tuple[Tensor, Any]:
    """Return features and last state of a signal (B, T, F) that comes in pieces of ``sizes`` frames."""
    features: list[Tensor] = []
    with torch.no_grad():
        for piece in x.split(sizes, dim=1):
            part, state = step_by_frame(encoder, piece, state)
            features.append(part)
    return torch.cat(features, dim=1), state


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
        (grad,) = torch.autograd.grad(encoder(x, torch.tensor([6]))[:, :6].sin().sum(), x)
        assert grad[:, 6:].abs().max() == 0.0
        assert grad[:, 5].abs().max() > 0.0


class CausalEncoderContract:
    """What a causal encoder owes a stream: the same bits, however the frames are cut into calls."""

    @pytest.fixture
    def encoder(self) -> Encoder:
        """Return the causal encoder under test."""
        raise NotImplementedError

    @pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
    def causal(self, encoder: Encoder, request: pytest.FixtureRequest) -> Encoder:
        """Return the encoder under test in both types."""
        return encoder.to(request.param)

    @pytest.mark.parametrize("seed", range(5))
    def test_frames_in_any_pieces_give_the_same_bits(self, causal: Encoder, seed: int) -> None:
        x = signal(2, 40, CHANNELS).to(_dtype(causal))
        cuts = torch.randint(0, 41, (seed * 5,), generator=torch.Generator().manual_seed(seed)).sort().values
        sizes = torch.diff(cuts, prepend=torch.tensor([0]), append=torch.tensor([40])).tolist()
        assert same(in_pieces(causal, x, sizes), in_pieces(causal, x, [40]))
        assert same(in_pieces(causal, x, [1] * 40), in_pieces(causal, x, [40]))

    def test_frames_as_they_come_agree_with_the_whole(self, causal: Encoder) -> None:
        x = signal(2, 300, CHANNELS).to(_dtype(causal))
        tolerance = 1e-9 if x.dtype == torch.float64 else 1e-5
        torch.testing.assert_close(in_pieces(causal, x, [300])[0], causal(x).detach(), rtol=tolerance, atol=tolerance)

    def test_other_recordings_change_no_bit(self, causal: Encoder) -> None:
        x = signal(9, 20, CHANNELS).to(_dtype(causal))
        together, _ = in_pieces(causal, x, [7, 13])
        for b in range(len(x)):
            assert same(in_pieces(causal, x[b : b + 1], [20])[0], together[b : b + 1])
        assert same(in_pieces(causal, x.flip(0), [20])[0], together.flip(0))

    def test_a_state_is_kept_and_continued_twice(self, causal: Encoder) -> None:
        x = signal(2, 20, CHANNELS).to(_dtype(causal))
        given = x.clone()
        _, state = in_pieces(causal, x[:, :8], [8])
        kept = copy.deepcopy(state)
        first = in_pieces(causal, x[:, 8:], [12], state)
        other = in_pieces(causal, 1.0 - x[:, 8:], [5, 7], state)
        assert same(state, kept)
        assert same(in_pieces(causal, x[:, 8:], [3, 9], state), first)
        assert not same(other, first)
        assert same(x, given)

    def test_a_frozen_step_gives_the_same_bits(self, causal: Encoder) -> None:
        with torch.no_grad():
            step = causal.freeze_step()
        if step is None:
            return
        x = signal(2, 20, CHANNELS).to(_dtype(causal))
        expected, kept = in_pieces(causal, x, [20])
        frozen, after = step(x[:, :7].contiguous().numpy(), None)
        for parameter in causal.parameters():
            parameter.data = 2.0 * parameter.data  # which the frozen step does not see
        rest, after = step(x[:, 7:].contiguous().numpy(), after)
        assert same(torch.cat([torch.from_numpy(frozen), torch.from_numpy(rest)], dim=1), expected)
        assert same(torch.from_numpy(after), kept)

    def test_features_may_be_changed_without_changing_the_state(self, causal: Encoder) -> None:
        x = signal(1, 12, CHANNELS).to(_dtype(causal))
        features, state = in_pieces(causal, x[:, :6], [6])
        kept = copy.deepcopy(state)
        features.fill_(7.0)
        x[:, :6] = 3.0
        assert same(state, kept)

    def test_a_state_can_be_saved(self, causal: Encoder) -> None:
        x = signal(2, 20, CHANNELS).to(_dtype(causal))
        _, state = in_pieces(causal, x[:, :8], [8])
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=True)
        assert same(in_pieces(causal, x[:, 8:], [12], loaded), in_pieces(causal, x[:, 8:], [12], state))

    def test_no_frames_change_nothing(self, causal: Encoder) -> None:
        x = signal(2, 10, CHANNELS).to(_dtype(causal))
        features, begun = in_pieces(causal, x[:, :0], [0])
        assert features.shape == (2, 0, causal.out_features)
        assert features.dtype == x.dtype
        assert same(in_pieces(causal, x, [10], begun), in_pieces(causal, x, [10]))
        _, state = in_pieces(causal, x, [10])
        assert same(in_pieces(causal, x[:, :0], [0], state)[1], state)

    def test_a_change_of_weights_is_noticed(self, causal: Encoder) -> None:
        x = signal(1, 40, CHANNELS).to(_dtype(causal))
        before, _ = in_pieces(causal, x, [40])
        weights = copy.deepcopy(causal.state_dict())
        for parameter in causal.parameters():
            old, _ = in_pieces(causal, x, [40])
            change = torch.linspace(0.01, 0.02, parameter.numel(), dtype=x.dtype)  # not the same for all weights
            with torch.no_grad():
                parameter.mul_(1.5).add_(change.view_as(parameter))
            assert not same(in_pieces(causal, x, [40])[0], old)
        _agrees(causal, x)
        causal.load_state_dict(weights)
        assert same(in_pieces(causal, x, [40])[0], before)
        causal.load_state_dict({name: 0.5 * value for name, value in weights.items()}, assign=True)
        _agrees(causal, x)
        for parameter in causal.parameters():
            parameter.data = 1.5 * parameter.data
        _agrees(causal, x)
        for parameter in causal.parameters():
            parameter.data.mul_(0.5)  # PyTorch does not count this change
        _agrees(causal.eval(), x)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -0.0, 1e-40])
    def test_special_values_change_no_earlier_frame_and_no_other_recording(self, causal: Encoder, value: float) -> None:
        x = signal(3, 12, CHANNELS).to(_dtype(causal))
        odd = x.clone()
        odd[1, 5, 0] = value
        expected, _ = in_pieces(causal, x, [12])
        for sizes in ([12], [1] * 12, [5, 1, 6]):
            features, _ = in_pieces(causal, odd, sizes)
            assert same(features[[0, 2]], expected[[0, 2]])
            assert same(features[1, :5], expected[1, :5])
        assert same(in_pieces(causal, odd, [12]), in_pieces(causal, odd, [6, 6]))


def _dtype(encoder: Encoder) -> torch.dtype:
    return next(encoder.parameters()).dtype


def _agrees(encoder: Encoder, x: Tensor) -> None:
    tolerance = 1e-9 if x.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(
        in_pieces(encoder, x, [x.shape[1]])[0], encoder(x).detach(), rtol=tolerance, atol=tolerance
    )
