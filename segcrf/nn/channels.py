"""Channels: what a preparation makes of standardised channels, besides passing them on.

A network of a few steps sees little in a channel that moves slowly: the steps between frames are tiny against the
spread. Differences over several spans of frames show them at a scale of their own. Heavy tails let a few frames decide
the scale of a channel; a logarithm far from its centre leaves the others visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["ChannelPlan", "Differences", "Tails"]

Array = npt.NDArray[Any]

# Frames between the two values of a difference.
SPANS = (1, 2, 4, 8, 16)
# Values beyond this quantile are the tail of a channel.
RARE = 0.999


@dataclass(frozen=True)
class ChannelPlan:
    """Which channels a preparation passes on, and what it adds to them. Channels are indices into the raw signal.

    Args:
        kept: channels that are passed on.
        compressed: channels with heavy tails, which are compressed; all are kept ones.
        slow: channels with differences over the ``spans``; all are kept ones.
        flagged: channels with an indicator of missing values: 1 where a value is missing, else 0.
        spans: frames between the two values of a difference.
        centred: whether a difference lies around its frame, and so depends on later frames. Otherwise it ends there.

    Attributes:
        num_prepared: channels that go to the encoder.
        memory: earlier frames that differences depend on, if they are not centred.

    Example:
        >>> plan = ChannelPlan(kept=(0, 2), slow=(2,), flagged=(0,), centred=False)
        >>> plan.num_prepared, plan.memory
        (8, 16)
        >>> ChannelPlan.from_dict({"kept": [0, 2], "slow": [2], "flagged": [0], "centred": False}) == plan
        True
    """

    kept: tuple[int, ...]
    compressed: tuple[int, ...] = ()
    slow: tuple[int, ...] = ()
    flagged: tuple[int, ...] = ()
    spans: tuple[int, ...] = SPANS
    centred: bool = True

    @property
    def num_prepared(self) -> int:
        return len(self.kept) + len(self.slow) * len(self.spans) + len(self.flagged)

    @property
    def memory(self) -> int:
        return max(self.spans) if self.slow else 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ChannelPlan:
        """Return the plan of ``dataclasses.asdict``, also after a way through JSON."""
        given: dict[str, Any] = {name: tuple(each) for name, each in values.items() if name != "centred"}
        return cls(**given, centred=values["centred"])


class Tails(nn.Module):
    """Compress heavy tails: a channel stays as it is near its centre, and is a logarithm far from it.

    A value at a distance d from the centre becomes ``knee * log(1 + d / knee)``, with the sign of before, and is
    divided by the deviation of the result. A channel without heavy tails is divided by its deviation only.

    Args:
        num_channels: F.

    Attributes:
        centre, knee, scale: buffers (F,), float64, as measured by :meth:`measure`: the median, the median distance from
            it, and the deviation of the result.
        compressed: buffer (F,), bool: where tails are heavy.

    Example:
        >>> tails = Tails(1)
        >>> tails.measure(np.array([[-1.0], [0.0], [1.0], [1000.0]]), [True])
        >>> tails(torch.tensor([[0.5], [1000.5]], dtype=torch.float64)).round(decimals=2)
        tensor([[0.0000],
                [2.1900]], dtype=torch.float64)
    """

    centre: Tensor
    knee: Tensor
    scale: Tensor
    compressed: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        for name, value in (("centre", 0.0), ("knee", 1.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full((num_channels,), value, dtype=torch.float64))
        self.register_buffer("compressed", torch.zeros(num_channels, dtype=torch.bool))

    def measure(self, values: Array, compressed: Sequence[bool]) -> None:
        """Measure the buffers on values (N, F) without NaN; ``compressed`` (F,) names the channels to compress."""
        centre, knee = _centre_of(values)
        self.compressed.copy_(torch.as_tensor(compressed))
        self.centre.copy_(torch.from_numpy(np.where(compressed, centre, 0.0)))
        self.knee.copy_(torch.from_numpy(knee))
        self.scale.fill_(1.0)
        deviation = self(torch.from_numpy(values)).std(0, correction=0)
        self.scale.copy_(deviation.where(deviation > 0.0, 1.0))

    @staticmethod
    def weigh(values: Array) -> Array:
        """Return how heavy the tails of values (N, F) without NaN are, (F,).

        It is the distance from the median that one value in a thousand exceeds, in units of the median distance: 4.9
        for a normal distribution, 10 for a Laplace distribution.
        """
        centre, knee = _centre_of(values)
        return np.quantile(np.abs(values - centre), RARE, axis=0) / knee

    def forward(self, x: Tensor) -> Tensor:
        """Return values (..., F) float64 with their tails compressed."""
        distance = x - self.centre
        far = distance.sign() * self.knee * torch.log(1.0 + distance.abs() / self.knee)
        return torch.where(self.compressed, far, distance) / self.scale


class Differences(nn.Module):
    """Differences of channels over several spans of frames, each with its own scale.

    Over a span s, the difference of frame t is ``x[t] - x[t - s]``; a centred one is
    ``x[t + s // 2] - x[t + s // 2 - s]``. Frames before the first one repeat it, and frames after the last valid one
    repeat that.

    Args:
        num_channels: channels F of the input.
        spans: S numbers of frames, positive.
        centred: whether a difference depends on later frames.

    Attributes:
        tails: :class:`Tails` of the S * F differences, those of the first span first. Most differences of a slow
            channel are noise, and few are large; compressed ones show both.

    Example:
        >>> differences = Differences(1, (1, 2), centred=False)
        >>> differences(torch.tensor([[[0.0], [1.0], [4.0]]], dtype=torch.float64))
        tensor([[[0., 0.],
                 [1., 1.],
                 [3., 4.]]], dtype=torch.float64)
    """

    def __init__(self, num_channels: int, spans: Sequence[int], *, centred: bool) -> None:
        super().__init__()
        self.spans, self.centred = tuple(spans), centred
        self.tails = Tails(len(self.spans) * num_channels)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the differences (B, T, S * F) of signals (B, T, F) without NaN; lengths (B,) are all T if None."""
        return self.tails(self.unscaled(x, lengths))

    def unscaled(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the differences before they are scaled, as :meth:`forward` otherwise."""
        frame = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
        last = x.shape[1] - 1 if lengths is None else (lengths.to(x.device)[:, None] - 1).clamp(min=0)

        def at(index: Tensor) -> Tensor:
            within = index.clamp(min=0).clamp(max=last)
            return x.gather(1, within[..., None].expand_as(x))

        ends = [frame + (span // 2 if self.centred else 0) for span in self.spans]
        return torch.cat([at(end) - at(end - span) for end, span in zip(ends, self.spans, strict=True)], -1)

    def step(self, x: Tensor, before: Tensor) -> Tensor:
        """Return the differences (B, N, S * F) of the next frames (B, N, F), which must not be centred.

        Args:
            x: the next frames.
            before: the max(spans) frames before them, (B, max(spans), F).
        """
        memory, whole = before.shape[1], torch.cat([before, x], 1)
        frames = x.shape[1]
        return self.tails(torch.cat([x - whole.narrow(1, memory - span, frames) for span in self.spans], -1))


def _centre_of(values: Array) -> tuple[Array, Array]:
    """Return the median of values (N, F), and the median distance from it; where that is 0, of the other values."""
    centre = np.median(values, axis=0)
    distance = np.abs(values - centre)
    typical = np.median(distance, axis=0)
    for channel in np.flatnonzero(typical == 0.0):
        others = distance[distance[:, channel] > 0.0, channel]
        typical[channel] = np.median(others) if len(others) else 1.0
    return centre, typical
