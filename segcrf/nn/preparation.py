"""Preparation: raw channels to what an encoder expects, and predictions back to the unit of the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf._validation import InputError, InputTypeError, check_choice
from segcrf.nn.channels import ChannelPlan, Differences, Tails
from segcrf.nn.encoders import Encoder, adopt_encoder, step_by_frame
from segcrf.nn.missing import MISSING, fill_missing
from segcrf.structures import frame_mask

__all__ = ["Preparation", "Standardizer", "adopt_preparation", "check_steps", "to_tensor"]

Array = npt.NDArray[Any]

# The deviation of a constant channel is rounding error: a division by it would amplify the rounding.
_CONSTANT = 1e-7
_TINY = float(np.finfo(np.float32).tiny)


def to_tensor(signal: Tensor | Array) -> Tensor:
    """Return a signal (T, F) as a tensor: one is kept as it is, an array is copied in its precision or float64."""
    if torch.is_tensor(signal):
        return signal
    dtype = np.float32 if signal.dtype == np.float32 else np.float64
    return torch.from_numpy(np.array(signal, dtype=dtype))


class Standardizer(nn.Module):
    """Bring every channel to mean 0 and standard deviation 1; a constant channel becomes 0.

    Args:
        mean: (F,).
        scale: (F,), positive.

    Attributes:
        mean, scale: buffers (F,), float64: large offsets keep their digits.

    Example:
        >>> scaler = Standardizer.fit([np.array([[1.0, 5.0], [3.0, 5.0]])])
        >>> scaler.transform(np.array([[2.0, 5.0], [4.0, 5.0]]))
        array([[0., 0.],
               [2., 0.]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Any, scale: Any) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("scale", scale)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).clone())

    @classmethod
    def fit(cls, arrays: Sequence[Array]) -> Standardizer:
        """Measure mean and deviation over all (T, F) arrays together; NaN is left out."""
        count = np.maximum(sum(np.sum(~np.isnan(a), axis=0) for a in arrays), 1)
        mean = np.asarray(sum(np.nansum(a, axis=0, dtype=np.float64) for a in arrays) / count)
        square = sum(np.nansum(np.square(a - mean), axis=0) for a in arrays) / count
        return cls(mean, _scale_of(torch.as_tensor(mean), torch.as_tensor(np.sqrt(square))))

    @classmethod
    def identity(cls, size: int) -> Standardizer:
        """Return one that changes nothing, for ``size`` channels."""
        return cls(torch.zeros(size), torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return values (..., F) standardised, float64.

        Raises:
            InputError: another number of channels than measured.
        """
        if x.shape[-1] != len(self.mean):
            raise InputError("signal", f"{x.shape[-1]} channels", f"{len(self.mean)}, as measured")
        return (x.double() - self.mean) / self.scale

    def inverse(self, x: Tensor) -> Tensor:
        """Return the inverse of :meth:`forward`, float64."""
        return x.double() * self.scale + self.mean

    def transform(self, array: Array) -> Array:
        """Return an array (T, F) standardised, float64."""
        return self(to_tensor(array)).numpy()

    def inverse_transform(self, array: Array) -> Array:
        """Return the inverse of :meth:`transform`, float64."""
        return self.inverse(to_tensor(array)).numpy()

    def extra_repr(self) -> str:
        return f"{len(self.mean)}"


class Preparation(nn.Module):
    """The first and the last step of a model: raw channels in, predictions in the unit of the targets out.

    The steps are: standardise; replace missing values; pass on the channels that a plan keeps, with their heavy tails
    compressed, and add their differences; or run a module of the user instead; add indicators of missing values.

    Args:
        num_channels: channels F of the raw signal.
        num_targets: targets R; 0 for none.
        per_recording: standardise every recording by its own mean and deviation, for offsets and gains without
            meaning. Otherwise by fixed ones, which are 0 and 1 until they are set.
        missing: what replaces missing values (NaN), see :func:`fill_missing`.
        plan: which channels are kept, compressed, differenced and flagged; None: all are kept as they are.
        own: a module in place of what the plan keeps and adds; it gets all F channels, standardised and without gaps.

    Attributes:
        num_channels: channels F of the raw signal.
        num_prepared: channels that go to the encoder.
        channels: the :class:`Standardizer` of the signal, or None with ``per_recording``.
        targets: the :class:`Standardizer` of the targets, or None without targets.
        tails: the :class:`Tails` of the kept channels, or None if the plan compresses none.
        differences: the :class:`Differences` of the slow channels, or None if there are none.

    Example:
        >>> preparation = Preparation(1, per_recording=True)
        >>> preparation(torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([2]))[0, :2, 0]
        tensor([-1.,  1.])
    """

    def __init__(
        self,
        num_channels: int,
        num_targets: int = 0,
        *,
        per_recording: bool = False,
        missing: str = "error",
        plan: ChannelPlan | None = None,
        own: Encoder | None = None,
    ) -> None:
        check_choice(missing, "missing", MISSING)
        super().__init__()
        self.num_channels, self.missing = num_channels, missing
        self.plan = ChannelPlan(tuple(range(num_channels))) if plan is None else plan
        self.channels = None if per_recording else Standardizer.identity(num_channels)
        self.targets = Standardizer.identity(num_targets) if num_targets else None
        slow = 0 if own is not None else len(self.plan.slow)
        self.tails = Tails(len(self.plan.kept)) if self.plan.compressed and own is None else None
        self.differences = Differences(slow, self.plan.spans, centred=self.plan.centred) if slow else None
        self.own = own

    @property
    def per_recording(self) -> bool:
        """Whether every recording is standardised by its own mean and deviation."""
        return self.channels is None

    @property
    def only_scales(self) -> bool:
        """Whether every frame without gaps is standardised by fixed scales, and nothing else is done to it."""
        plain = self.channels is not None and self.own is None and self.tails is None and self.differences is None
        return plain and not self.plan.flagged and len(self.plan.kept) == self.num_channels

    @property
    def num_prepared(self) -> int:
        """Channels that go to the encoder."""
        return self.plan.num_prepared if self.own is None else self.own.out_features + len(self.plan.flagged)

    @property
    def memory(self) -> int:
        """Earlier frames that :meth:`step` remembers; 0 for a preparation that treats every frame alone."""
        if self.differences is not None:
            return self.plan.memory
        return int(self.missing != "error")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return prepared signals (B, T, num_prepared), float32, of raw ones (B, T, F); ``lengths`` are all T if None.

        Frames beyond the length of a recording mean nothing.
        """
        standardized = self.standardize(x, lengths)
        filled = fill_missing(standardized, self.missing, lengths)
        if self.own is not None:
            return self._with_flags(standardized, self.own(filled.float(), lengths))
        moved = [] if self.differences is None else [self.differences(filled[..., list(self.plan.slow)], lengths)]
        return self._with_flags(standardized, self._kept(filled), *moved)

    def standardize(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return raw signals (B, T, F) standardised, float64, with their gaps."""
        return _by_own_scale(x.double(), lengths) if self.channels is None else self.channels(x)

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Prepare the next frames of recordings that are still being measured.

        All calls together return what one call with all frames returns, to the bit.

        Args:
            x: the next raw frames (B, N, F).
            state: what the previous call returned; None at the first frame.

        Returns:
            The prepared frames, float32, and the state for the next call: the last values of each channel (B,
            ``memory``, F), float64 and minus infinity before the first frame; None where nothing is remembered. With a
            module of the user, a pair of this and the state of the module.

        Raises:
            InputError: the preparation needs later frames.
        """
        check_steps(self)
        assert self.channels is not None
        standardized = self.channels(x)
        if self.own is None:
            filled, before, after = self._fill_next(standardized, state)
            moved = [] if self.differences is None else [self._moved_next(filled, before)]
            return self._with_flags(standardized, self._kept(filled), *moved), after
        recent, encoded = (None, None) if state is None else state
        filled, _, recent = self._fill_next(standardized, recent)
        features, encoded = step_by_frame(self.own, filled.float(), encoded)
        return self._with_flags(standardized, features), (recent, encoded)

    def initial_state(self, recordings: int) -> Tensor:
        """Return the state before the first frame, where ``memory`` is not 0: (B, ``memory``, F)."""
        return torch.full((recordings, self.memory, self.num_channels), -torch.inf, dtype=torch.float64)

    def to_unit_of_targets(self, predictions: Tensor) -> Tensor:
        """Return standardised predictions (..., R) in the unit of the targets, float64."""
        assert self.targets is not None
        return self.targets.inverse(predictions)

    def _kept(self, filled: Tensor) -> Tensor:
        """Return the channels that the plan keeps."""
        kept = filled if len(self.plan.kept) == self.num_channels else filled[..., list(self.plan.kept)]
        return kept if self.tails is None else self.tails(kept)

    def _with_flags(self, standardized: Tensor, *parts: Tensor) -> Tensor:
        """Return all channels that go to the encoder, float32: the parts, and indicators of missing values."""
        single = [each.float() for each in parts]
        if self.plan.flagged:
            single.append(standardized[..., list(self.plan.flagged)].isnan().float())
        return single[0] if len(single) == 1 else torch.cat(single, -1)

    def _fill_next(self, standardized: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the next frames without gaps, the frames before them, and those for the next call."""
        if not self.memory:
            return standardized, standardized[:, :0], None
        before = self.initial_state(len(standardized)).to(standardized.device) if state is None else state
        filled = standardized
        if self.missing != "error" and (torch.compiler.is_compiling() or standardized.isnan().any()):
            last = before[:, -1:]
            last = last.where(last != -torch.inf, 0.0)
            filled = fill_missing(torch.cat([last, standardized], 1), self.missing)[:, 1:]
        return filled, before, torch.cat([before, filled], 1)[:, -self.memory :]

    def _moved_next(self, filled: Tensor, before: Tensor) -> Tensor:
        """Return the differences of the next frames. The first frame of a recording stands for those before it."""
        assert self.differences is not None
        slow, known = filled[..., list(self.plan.slow)], before[..., list(self.plan.slow)]
        begun = torch.cat([known, slow], 1)
        first = begun.gather(1, (begun == -torch.inf).sum(1, keepdim=True).clamp(max=begun.shape[1] - 1))
        return self.differences.step(slow, known.where(known != -torch.inf, first))


def _by_own_scale(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Standardise each recording of (B, T, F) float64 by its own valid frames; the rest becomes 0."""
    if lengths is None:
        lengths = torch.full(x.shape[:1], x.shape[1], device=x.device)
    inside = frame_mask(lengths, x.shape[1])[..., None]
    known = inside & ~x.isnan()
    count = known.sum(1, keepdim=True).clamp(min=1)
    mean = x.where(known, 0.0).sum(1, keepdim=True) / count
    residual = (x - mean).where(inside, 0.0)
    deviation = (residual.where(known, 0.0).square().sum(1, keepdim=True) / count).sqrt()
    return residual / _scale_of(mean, deviation)


def _scale_of(mean: Tensor, deviation: Tensor) -> Tensor:
    """Return the deviation, and 1 where a channel is constant."""
    return deviation.where(deviation > _CONSTANT * mean.abs().clamp(min=_TINY), 1.0)


def adopt_preparation(given: nn.Module | Callable[[int], nn.Module], num_channels: int) -> Encoder:
    """Return a module of the user as a step of a preparation, with weights that training does not change.

    Args:
        given: a module, which is copied; or a callable such as a class, called with the number of channels.
        num_channels: channels F of the raw signal.

    Raises:
        InputError, InputTypeError: as of :class:`segcrf.nn.CustomEncoder`, or the callable returns no module.

    Example:
        >>> adopt_preparation(lambda channels: nn.Linear(channels, 5), 2).out_features
        5
    """
    try:
        own = adopt_encoder(given, num_channels)
    except (InputError, InputTypeError) as error:
        error.argument = "prepare"
        raise
    return own.requires_grad_(False).eval()


def check_steps(preparation: Preparation) -> None:
    """Raise for a preparation that needs later frames, or the whole recording."""
    if preparation.per_recording:
        advice = "mean and deviation of the recording are unknown before its end: fit with standardize='dataset'"
        raise InputError("standardize", "'recording'", "'dataset' for a stream", advice)
    if preparation.missing == "interpolate":
        advice = "the next measured value is unknown when a frame is decided: fit with missing='hold'"
        raise InputError("missing", "'interpolate'", "'hold', 'flag' or 'error' for a stream", advice)
    if preparation.differences is not None and preparation.differences.centred:
        advice = "later frames are unknown when a frame is decided: fit with bidirectional=False"
        raise InputError("prepare", "'auto' with centred differences", "differences of earlier frames", advice)
    if preparation.own is not None:
        if not preparation.own.causal:
            advice = "set causal = True on a module that is causal, and give it a method step"
            raise InputError("prepare", "a module that sees later frames", "a causal module for a stream", advice)
        preparation.own.check_has_steps()
