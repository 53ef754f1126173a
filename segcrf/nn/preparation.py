"""Preparation: raw channels to what an encoder expects, and predictions back to the unit of the targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf._validation import InputError, check_choice
from segcrf.nn.missing import MISSING, fill_missing
from segcrf.structures import frame_mask

__all__ = ["Preparation", "Standardizer", "check_steps", "to_tensor"]

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

    Args:
        num_channels: channels F of the raw signal.
        num_targets: targets R; 0 for none.
        per_recording: standardise every recording by its own mean and deviation, for offsets and gains without
            meaning. Otherwise by fixed ones, which are 0 and 1 until they are set.
        missing: what replaces missing values (NaN), see :func:`fill_missing`.

    Attributes:
        channels: the :class:`Standardizer` of the signal, or None with ``per_recording``.
        targets: the :class:`Standardizer` of the targets, or None without targets.

    Example:
        >>> preparation = Preparation(1, per_recording=True)
        >>> preparation(torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([2]))[0, :2, 0]
        tensor([-1.,  1.])
    """

    def __init__(
        self, num_channels: int, num_targets: int = 0, *, per_recording: bool = False, missing: str = "error"
    ) -> None:
        check_choice(missing, "missing", MISSING)
        super().__init__()
        self.missing = missing
        self.channels = None if per_recording else Standardizer.identity(num_channels)
        self.targets = Standardizer.identity(num_targets) if num_targets else None

    @property
    def per_recording(self) -> bool:
        """Whether every recording is standardised by its own mean and deviation."""
        return self.channels is None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return raw signals (B, T, F) standardised and without gaps, float32; ``lengths`` (B,) are all T if None."""
        standardized = _by_own_scale(x.double(), lengths) if self.channels is None else self.channels(x)
        return fill_missing(standardized, self.missing, lengths).float()

    def step(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Prepare the next frames of recordings that are still being measured.

        All calls together return what one call with all frames returns, to the bit.

        Args:
            x: the next raw frames (B, N, F).
            state: what the previous call returned; None at the first frame.

        Returns:
            The prepared frames, float32, and the state for the next call: the last value of each channel.

        Raises:
            InputError: the preparation needs later frames.
        """
        check_steps(self)
        assert self.channels is not None
        standardized = self.channels(x)
        if self.missing == "error":
            return standardized.float(), None
        if standardized.shape[1] and not torch.compiler.is_compiling() and not standardized.isnan().any():
            return standardized.float(), standardized[:, -1]
        last = standardized.new_zeros(len(x), x.shape[2]) if state is None else state
        filled = fill_missing(torch.cat([last[:, None], standardized], 1), self.missing)[:, 1:]
        return filled.float(), filled[:, -1] if filled.shape[1] else last

    def to_unit_of_targets(self, predictions: Tensor) -> Tensor:
        """Return standardised predictions (..., R) in the unit of the targets, float64."""
        assert self.targets is not None
        return self.targets.inverse(predictions)


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


def check_steps(preparation: Preparation) -> None:
    """Raise for a preparation that needs later frames, or the whole recording."""
    if preparation.per_recording:
        advice = "mean and deviation of the recording are unknown before its end: fit with standardize='dataset'"
        raise InputError("standardize", "'recording'", "'dataset' for a stream", advice)
    if preparation.missing == "interpolate":
        advice = "the next measured value is unknown when a frame is decided: fit with missing='hold'"
        raise InputError("missing", "'interpolate'", "'hold' or 'error' for a stream", advice)
