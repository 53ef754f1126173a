"""The joint model: one encoder, class scores into a structure, and numbers beside them or by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.nn.encoders import Encoder
from segcrf.structures import POSTERIORS, Structure, SwitchingRegression

__all__ = [
    "MIN_LOG_SIGMA",
    "Decoding",
    "Heads",
    "JointModel",
    "ModelOutput",
    "StructuredLayer",
    "SwitchingModel",
    "SwitchingModelOutput",
]

# Of standardised targets: an error of one hundredth of their deviation. Targets without noise would drive the
# log-deviation to minus infinity, and the weight of their loss to infinity.
MIN_LOG_SIGMA = -4.6


class StructuredLayer(Protocol):
    """What the model needs of a structured layer: a module such as :class:`segcrf.LinearChainCRF`."""

    num_classes: int

    def __call__(self, emissions: Tensor, lengths: Tensor | None = None) -> Structure:
        """The distribution over the labels, given class scores (B, T, C)."""
        ...


class ModelOutput(NamedTuple):
    """What a model makes of B recordings of T frames.

    Attributes:
        dist: structure over their labels; its ``emissions`` are the class scores (B, T, C).
        predictions: predicted targets (B, T, R), or None for a model without targets.
        features: what the encoder gave, (B, T, H).
        log_sigma: predicted log-deviations of the numbers, (B, T, R), or None for a model that predicts none.
        scores: what the class head gave, (B, T, C), before the structured layer scaled it; None: the emissions.
    """

    dist: Structure
    predictions: Tensor | None
    features: Tensor
    log_sigma: Tensor | None = None
    scores: Tensor | None = None


class Heads(NamedTuple):
    """What the linear heads make of features: class scores (B, T, C), and the numbers of :class:`ModelOutput`.

    Those of a :class:`SwitchingModel` are one per class, (B, T, C, R).
    """

    emissions: Tensor
    predictions: Tensor | None
    log_sigma: Tensor | None


@dataclass(frozen=True, eq=False)
class Decoding:
    """How one labelling is read off a structure.

    Args:
        structure: what is decoded.
        by_frame: take the most probable class of each frame by itself, :attr:`Structure.posterior_mode`; or else the
            most probable sequence as a whole, :attr:`Structure.mode`, which leaves a band out whose place is uncertain.
    """

    structure: Structure
    by_frame: bool = False

    @property
    def labels(self) -> Tensor:
        """(B, T) int64, -100 beyond a recording's length."""
        return self.structure.posterior_mode if self.by_frame else self.structure.mode

    @property
    def starts(self) -> Tensor:
        """(B, T) bool, True where a band begins."""
        if not self.by_frame:
            return self.structure.best.starts
        labels = self.labels
        before = functional.pad(labels[:, :-1], (1, 0), value=UNLABELLED)
        return (labels != before) & (labels != UNLABELLED)


def decoding(distribution: Structure, factor: float, by_frame: bool) -> Decoding:
    """Decodes a distribution with its emissions times ``factor``, see :meth:`Structure.scaled`."""
    return Decoding(distribution if factor == 1.0 else distribution.scaled(emissions=factor), by_frame)


class _Encoded(nn.Module):
    """An encoder, class scores of its features, and the structured layer that makes a distribution of these."""

    decode_factor: Tensor
    decode_by_frame: Tensor

    def __init__(self, encoder: Encoder, crf: StructuredLayer) -> None:
        super().__init__()
        self.encoder = encoder
        self.crf = cast(nn.Module, crf)
        self.class_head = nn.Linear(encoder.out_features, crf.num_classes)
        self.register_buffer("decode_factor", torch.ones(()))
        self.register_buffer("decode_by_frame", torch.zeros((), dtype=torch.bool))

    def dist(self, emissions: Tensor, lengths: Tensor | None = None) -> Structure:
        """The structure over labels with these class scores (B, T, C), in float32 at least, whatever autocast says."""
        with torch.autocast(emissions.device.type, enabled=False):
            return self.crf(emissions.to(torch.promote_types(emissions.dtype, torch.float32)), lengths)

    def bands(self, distribution: Structure) -> Decoding:
        """The bands of a distribution, by ``decode_factor`` and ``decode_by_frame``."""
        return decoding(distribution, float(self.decode_factor), bool(self.decode_by_frame))


class JointModel(_Encoded):
    """A shared encoder with two linear heads: class scores for the structured layer, and numbers.

    Args:
        encoder: from a signal (B, T, F) to features (B, T, H).
        crf: a module that makes a structure of class scores; it knows the number of classes C.
        num_targets: numbers R to predict at each frame; 0 for none.
        heteroscedastic: whether to predict a log-deviation for each number too, not below -4.6.

    Attributes:
        decode_factor: buffer (), by how much :meth:`bands` weighs the signal; 1 until somebody chooses another.
        decode_by_frame: buffer () bool, whether :meth:`bands` takes the most probable class of each frame rather than
            the most probable sequence; False until somebody chooses otherwise.

    >>> from segcrf.crf import LinearChainCRF
    >>> from segcrf.encoders import LSTMEncoder
    >>> model = JointModel(LSTMEncoder(3, hidden=8), LinearChainCRF(5), num_targets=2)
    >>> output = model(torch.zeros(4, 50, 3), torch.tensor([50, 50, 30, 10]))
    >>> output.dist.mode.shape, output.predictions.shape
    (torch.Size([4, 50]), torch.Size([4, 50, 2]))
    """

    def __init__(
        self, encoder: Encoder, crf: StructuredLayer, num_targets: int = 0, *, heteroscedastic: bool = False
    ) -> None:
        super().__init__(encoder, crf)
        self.target_head = nn.Linear(encoder.out_features, num_targets) if num_targets else None
        self.sigma_head = nn.Linear(encoder.out_features, num_targets) if num_targets and heteroscedastic else None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> ModelOutput:
        """Encodes a batch and describes its labels and numbers.

        Args:
            x: signal (B, T, F).
            lengths: valid frames of each recording, (B,) int64; all T when None.
        """
        features = self.encoder(x, lengths)
        scores, values, log_sigma = self.heads(features)
        return ModelOutput(self.dist(scores, lengths), values, features, log_sigma, scores)

    def heads(self, features: Tensor) -> Heads:
        """Class scores and numbers of features (B, T, H)."""
        values = None if self.target_head is None else self.target_head(features)
        # Softplus, not a clamp: below the floor a clamp has no gradient and would never come back.
        floored = None if self.sigma_head is None else functional.softplus(self.sigma_head(features) - MIN_LOG_SIGMA)
        return Heads(self.class_head(features), values, None if floored is None else floored + MIN_LOG_SIGMA)


class SwitchingModelOutput(NamedTuple):
    """What a switching model makes of B recordings of T frames; it can stand wherever a :class:`ModelOutput` can.

    Attributes:
        switching: classes and numbers in one distribution.
        features: what the encoder gave, (B, T, H).
        posterior: by which ``predictions`` mixes the classes' regressions, ``"filter"`` or ``"smooth"``.
        scores: class scores as in :class:`ModelOutput`.
    """

    switching: SwitchingRegression
    features: Tensor
    posterior: str
    scores: Tensor | None = None

    @property
    def dist(self) -> Structure:
        """The structure over labels."""
        return self.switching.structure

    @property
    def predictions(self) -> Tensor:
        """The numbers expected, (B, T, R), by ``posterior``."""
        return self.switching.predict(posterior=self.posterior).mean

    @property
    def log_sigma(self) -> None:
        """None: a mixture has no single deviation; see ``switching``."""
        return None


class SwitchingModel(_Encoded):
    """A shared encoder, class scores for the structured layer, and a linear regression of the features per class.

    Train it by :class:`segcrf.losses.SwitchingObjective`, one likelihood without weights; or, since its output has
    ``predictions``, by :class:`segcrf.losses.JointObjective` on the mean of the mixture: with ``posterior="filter"`` and a
    causal encoder, the causal form.

    Args:
        encoder: from a signal (B, T, F) to features (B, T, H).
        crf: a module that makes a structure of class scores; it knows the number of classes C.
        num_targets: numbers R to predict at each frame.
        posterior: by which ``predictions`` mixes the regressions: ``"filter"`` where y lies in the future of x, ``"smooth"``
            where the whole recording may be known.

    Attributes:
        log_sigma: parameter (C, R), log-deviations. Wants a larger learning rate than the network, and no decay.

    >>> from segcrf.crf import LinearChainCRF
    >>> from segcrf.encoders import LSTMEncoder
    >>> model = SwitchingModel(LSTMEncoder(3, hidden=8), LinearChainCRF(5), num_targets=2, posterior="filter")
    >>> output = model(torch.zeros(4, 50, 3))
    >>> output.predictions.shape, output.switching.mean.shape
    (torch.Size([4, 50, 2]), torch.Size([4, 50, 5, 2]))
    """

    def __init__(self, encoder: Encoder, crf: StructuredLayer, num_targets: int, *, posterior: str) -> None:
        _validation.whole(num_targets, "num_targets", 1)
        _validation.choice(posterior, "posterior", POSTERIORS)
        super().__init__(encoder, crf)
        self.shape, self.posterior = (crf.num_classes, num_targets), posterior
        self.target_head = nn.Linear(encoder.out_features, crf.num_classes * num_targets)
        self.log_sigma = nn.Parameter(torch.zeros(crf.num_classes, num_targets))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> SwitchingModelOutput:
        """Encodes a batch and describes its labels and numbers; arguments as those of :class:`JointModel`."""
        features = self.encoder(x, lengths)
        scores, means, _ = self.heads(features)
        switching = self.switching(self.dist(scores, lengths), means)
        return SwitchingModelOutput(switching, features, self.posterior, scores)

    def heads(self, features: Tensor) -> Heads:
        """Class scores and each class's numbers, (B, T, C, R), of features (B, T, H)."""
        return Heads(self.class_head(features), self.target_head(features).unflatten(-1, self.shape), None)

    def switching(self, distribution: Structure, means: Tensor | None) -> SwitchingRegression:
        """Classes and numbers in one distribution: a structure over labels, and numbers by class (B, T, C, R)."""
        assert means is not None
        self.log_sigma.data.clamp_(min=MIN_LOG_SIGMA)
        return SwitchingRegression(distribution, means.to(distribution.dtype), self.log_sigma)
