"""Penalties: terms that punish switching, added to the loss of a network that is trained frame by frame.

A penalty takes the class scores of a network before the softmax, (B, T, C), and the frames of each recording. It
returns one number to add to a frame-wise loss with a weight. It is a sum over neighbouring frames divided by the
number of valid frames; padding does not count. A score of -inf forbids a class at a frame: its probability is 0.
Half precision is computed, and returned, in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segcrf._validation import InputError, check_positive
from segcrf.structures import check_emissions_shape, check_lengths, frame_mask

__all__ = ["expected_switches", "neighbour_kl", "total_variation", "truncated_mse"]


def expected_switches(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the expected number of class changes per frame, with the class of every frame drawn on its own.

    The sum of 1 - sum_c p[t, c] p[t - 1, c] over neighbouring frames, divided by the number of valid frames.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.

    Returns:
        A scalar, 0 to 1.

    Raises:
        TypeError, ValueError: ``logits`` are no (B, T, C) floating tensor, a length is not from 1 to T, or a
            frame forbids every class.

    >>> certain = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]]])
    >>> round(expected_switches(certain).item(), 4)
    0.25
    """
    before, after, frames = _neighbours(logits, lengths)
    return (1 - (before.softmax(-1) * after.softmax(-1)).sum(-1)).sum() / frames


def total_variation(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the sum over classes of ``|p[t] - p[t - 1]|``, per frame.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.

    Returns:
        A scalar, 0 to 2.

    Raises:
        TypeError, ValueError: as :func:`expected_switches`.

    Source: Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.

    >>> certain = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]]])
    >>> round(total_variation(certain).item(), 4)
    0.5
    """
    before, after, frames = _neighbours(logits, lengths)
    return (after.softmax(-1) - before.softmax(-1)).abs().sum() / frames


def neighbour_kl(logits: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the Kullback-Leibler divergence KL(p[t - 1] || p[t]) per frame, in nats.

    The earlier frame is a target: no gradient goes through it. A class that is forbidden (-inf) in the earlier
    frame adds nothing. One that is forbidden in the later frame only makes the divergence infinite, as its
    definition says; the gradient is finite all the same.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.

    Returns:
        A scalar, 0 or more.

    Raises:
        TypeError, ValueError: as :func:`expected_switches`.

    Source: Farha and Gall, "MS-TCN", 2019, section 3.3.

    >>> neighbour_kl(torch.zeros(1, 5, 3)).item()
    0.0
    """
    before, after, frames = _neighbours(logits, lengths)
    target = before.detach().log_softmax(-1)
    share = target.exp()
    # 0 log 0 is 0: an infinite difference times 0 would be NaN.
    difference = torch.where(share > 0, target - after.log_softmax(-1), 0.0)
    return (share * difference).sum() / frames


def truncated_mse(logits: Tensor, lengths: Tensor | None = None, tau: float = 4.0) -> Tensor:
    """Return the truncated mean squared difference of neighbouring log-probabilities, per frame and class.

    The sum of min(abs(log p[t, c] - log p[t - 1, c]), tau)^2, divided by valid frames times classes. The
    earlier frame is a target: no gradient goes through it. A class that is forbidden (-inf) in both frames has not
    changed and adds nothing; one that is forbidden in one of them adds ``tau`` squared. The weight of the paper is
    0.15.

    Args:
        logits: class scores before the softmax, (B, T, C).
        lengths: frames of each recording, (B,) integers; None: T.
        tau: largest difference that counts, in nats, above 0.

    Returns:
        A scalar, 0 to ``tau`` squared.

    Raises:
        TypeError, ValueError: as :func:`expected_switches`; or ``tau`` is not above 0.

    Source: Farha and Gall, "MS-TCN", 2019, section 3.3.

    >>> certain = torch.tensor([[[9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0]]])
    >>> truncated_mse(certain).item()
    4.0
    """
    check_positive(tau, "tau")
    before, after, frames = _neighbours(logits, lengths)
    now, target = after.log_softmax(-1), before.detach().log_softmax(-1)
    # Before abs(): its gradient at NaN, -inf minus -inf, is NaN.
    change = torch.where((now > -torch.inf) | (target > -torch.inf), now - target, 0.0)
    return change.abs().clamp(max=tau).square().sum() / (frames * logits.shape[-1])


def _neighbours(logits: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores (M, C) of the earlier and of the later frame of each pair, and the number of frames."""
    num_recordings, num_frames, _ = check_emissions_shape(logits)
    lengths = check_lengths(lengths, num_recordings, num_frames, logits.device)
    # Chosen, not masked: padding may hold NaN, and NaN times zero is NaN in the gradient too.
    inside = frame_mask(lengths, num_frames)[:, 1:]
    _check_any_class(logits, lengths)
    # A sum over many frames in float16 would pass its largest number, 65,504.
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return scores[:, :-1][inside], scores[:, 1:][inside], lengths.sum()


def _check_any_class(logits: Tensor, lengths: Tensor) -> None:
    """Raise for a frame that forbids every class: it has no probabilities."""
    if torch.compiler.is_compiling():
        return
    bad = (logits.detach().amax(-1) == -torch.inf) & frame_mask(lengths, logits.shape[1])
    if bad.any():
        recording, frame = bad.nonzero()[0].tolist()
        got, advice = "-inf (forbidden) for every class", "relax the scores of that frame"
        raise InputError("logits", got, "a finite score for one at least", advice, recording=recording, frame=frame)
