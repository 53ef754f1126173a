"""Models: from a raw signal to class scores, predictions and a distribution over label sequences.

The flow, for B recordings of T frames::

    raw signal (B, T, F) -> preparation -> encoder -> features (B, T, H)
                         -> heads   -> emissions (B, T, C) and predictions (B, T, R)
                         -> structured layer (``crf``) -> dist, a distribution over label sequences
                         -> decoding rule -> labels (B, T) and band starts (B, T)

``model(x, lengths)`` returns all but the last step; ``model.decode(dist)`` applies the decoding rule. Training prepares
whole recordings once and passes windows of them to ``model.from_prepared(x, lengths)``.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcrf._validation import InputError, check_choice, check_whole
from segcrf.nn.calibration import Calibration, CalibrationBuffers
from segcrf.nn.decoding import Decoded, DecodingRule
from segcrf.nn.encoders import Encoder, State, linear_by_frame, step_by_frame
from segcrf.nn.preparation import Preparation, check_steps
from segcrf.structures import POSTERIORS, Structure, SwitchingRegression

__all__ = [
    "MIN_LOG_SIGMA",
    "Heads",
    "JointModel",
    "ModelOutput",
    "StructuredLayer",
    "SwitchingModel",
    "SwitchingModelOutput",
    "can_step",
    "check_causal",
]

#: Smallest log-deviation of standardised targets: an error of one hundredth of their deviation. Targets without noise
#: would drive the log-deviation to minus infinity, and the weight of their loss to infinity.
MIN_LOG_SIGMA = -4.6
# In the buffer of the largest delay: the decoding rule has none.
_NO_LIMIT = -1


class StructuredLayer(Protocol):
    """What a model needs of a structured layer; :class:`segcrf.LinearChainCRF` is one."""

    num_classes: int

    def __call__(self, emissions: Tensor, lengths: Tensor | None = None) -> Structure:
        """Return the distribution over label sequences for emissions (B, T, C) and lengths (B,)."""
        ...


class ModelOutput(NamedTuple):
    """What a model returns for B recordings of T frames.

    Attributes:
        dist: distribution over their label sequences; its ``emissions`` are the class scores (B, T, C).
        predictions: predicted targets (B, T, R), standardised if the model has a preparation; None without targets.
        features: output of the encoder, (B, T, H).
        log_sigma: predicted log-deviations of the targets, (B, T, R), or None for a model without them.
        scores: output of the class head, (B, T, C), before the structured layer scales it; None: the emissions.
    """

    dist: Structure
    predictions: Tensor | None
    features: Tensor
    log_sigma: Tensor | None = None
    scores: Tensor | None = None


class Heads(NamedTuple):
    """What the linear heads make of features (B, T, H).

    Attributes:
        emissions: class scores, (B, T, C).
        predictions: predicted targets, (B, T, R), or None; those of a :class:`SwitchingModel` are per class,
            (B, T, C, R).
        log_sigma: predicted log-deviations of the targets, (B, T, R), or None.
    """

    emissions: Tensor
    predictions: Tensor | None
    log_sigma: Tensor | None


class _StructuredModel(nn.Module):
    """What both models share: preparation, an encoder, a class head, a structured layer and a decoding rule."""

    decode_factor: Tensor
    decode_by_frame: Tensor
    decode_max_delay: Tensor

    def __init__(self, encoder: Encoder, crf: StructuredLayer, preparation: Preparation | None) -> None:
        super().__init__()
        self.preparation = preparation
        self.encoder = encoder
        self.crf = cast(nn.Module, crf)
        self.class_head = nn.Linear(encoder.out_features, crf.num_classes)
        self.register_buffer("decode_factor", torch.ones((), dtype=torch.float64))
        self.register_buffer("decode_by_frame", torch.zeros((), dtype=torch.bool))
        self.register_buffer("decode_max_delay", torch.full((), _NO_LIMIT))
        self.calibration_buffers = CalibrationBuffers()

    @property
    def num_channels(self) -> int:
        """Channels F of the raw signal."""
        return self.encoder.in_features if self.preparation is None else self.preparation.num_channels

    def prepare(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return raw signals (B, T, F) as the encoder expects them."""
        return x if self.preparation is None else self.preparation(x, lengths).to(self.class_head.weight.dtype)

    def heads(self, features: Tensor, *, by_frame: bool = False) -> Heads:
        """Return what the heads make of features (B, T, H); ``by_frame`` as of :meth:`step`."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, x: Tensor, state: State = None) -> tuple[Heads, State]:
        """Return what the heads make of the next frames of recordings that are still being measured.

        On a CPU, in evaluation mode, the result of a frame is the same to the last bit in every call. It depends
        neither on how the frames are cut into calls, nor on the other recordings. It agrees with a call of the model
        on whole recordings up to rounding.

        Args:
            x: the next raw frames (B, N, F).
            state: what the previous call returned; None at the first frame.

        Returns:
            What the heads make of these frames, and the state for the next call.

        Raises:
            InputError: the model needs later frames, or the whole recording.
        """
        gap, encoded = (None, None) if state is None else state
        if self.preparation is not None:
            x, gap = self.preparation.step(x, gap)
        features, encoded = step_by_frame(self.encoder, x.to(self.class_head.weight.dtype), encoded)
        return self.heads(features, by_frame=True), (gap, encoded)

    def dist(self, emissions: Tensor, lengths: Tensor | None = None) -> Structure:
        """Return the distribution over label sequences for class scores (B, T, C) and lengths (B,).

        It is in float32 at least, also under autocast.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            return self.crf(emissions.to(torch.promote_types(emissions.dtype, torch.float32)), lengths)

    @property
    def decoding_rule(self) -> DecodingRule:
        """The decoding rule; the buffers hold it, so that a ``state_dict`` does. :meth:`set_decoding_rule` sets it."""
        delay = int(self.decode_max_delay)
        limit = None if delay == _NO_LIMIT else delay
        return DecodingRule(float(self.decode_factor), bool(self.decode_by_frame), limit)

    def set_decoding_rule(self, rule: DecodingRule) -> None:
        """Decode by another rule from here on.

        Raises:
            InputError: the rule has a ``max_delay``, and the model needs the whole recording.
        """
        if rule.max_delay is not None:
            check_causal(cast("JointModel | SwitchingModel", self))
        self.decode_factor.fill_(rule.factor)
        self.decode_by_frame.fill_(rule.by_frame)
        self.decode_max_delay.fill_(_NO_LIMIT if rule.max_delay is None else rule.max_delay)

    @property
    def calibration(self) -> Calibration:
        """What corrects posteriors and bands; buffers hold it, so that a ``state_dict`` does."""
        return self.calibration_buffers.value

    def set_calibration(self, calibration: Calibration) -> None:
        """Correct posteriors and bands by another calibration from here on."""
        self.calibration_buffers.set(calibration)

    def decode(self, dist: Structure) -> Decoded:
        """Return the labelling of a distribution by :attr:`decoding_rule`, with posteriors before calibration."""
        return self.decoding_rule.decode(dist)


class JointModel(_StructuredModel):
    """A shared encoder with linear heads: class scores for the structured layer, and predictions of targets.

    Args:
        encoder: from a signal (B, T, F) to features (B, T, H).
        crf: a structured layer; it sets the number of classes C.
        num_targets: targets R to predict at each frame; 0 for none.
        heteroscedastic: whether to predict a log-deviation for each target too, at least -4.6.
        preparation: from the raw signal to what the encoder expects; None: the signal as it is.

    Attributes:
        decode_factor, decode_by_frame, decode_max_delay: buffers () of the decoding rule. It takes the most probable
            sequence unless :meth:`set_decoding_rule` sets another.
        calibration_buffers: what corrects the posteriors of the decoded distribution. It changes nothing unless
            :meth:`set_calibration` sets it.

    Example:
        >>> from segcrf.nn import LinearChainCRF, LSTMEncoder
        >>> model = JointModel(LSTMEncoder(3, hidden=8), LinearChainCRF(5), num_targets=2)
        >>> output = model(torch.zeros(4, 50, 3), torch.tensor([50, 50, 30, 10]))
        >>> model.decode(output.dist).labels.shape, output.predictions.shape
        (torch.Size([4, 50]), torch.Size([4, 50, 2]))
    """

    def __init__(
        self,
        encoder: Encoder,
        crf: StructuredLayer,
        num_targets: int = 0,
        *,
        heteroscedastic: bool = False,
        preparation: Preparation | None = None,
    ) -> None:
        super().__init__(encoder, crf, preparation)
        self.target_head = nn.Linear(encoder.out_features, num_targets) if num_targets else None
        self.sigma_head = nn.Linear(encoder.out_features, num_targets) if num_targets and heteroscedastic else None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> ModelOutput:
        """Return the distribution over label sequences and the predictions of a batch.

        Args:
            x: raw signal (B, T, F).
            lengths: valid frames of each recording, (B,) int64; all T if None.
        """
        return self.from_prepared(self.prepare(x, lengths), lengths)

    def from_prepared(self, x: Tensor, lengths: Tensor | None = None) -> ModelOutput:
        """Return what the model returns, given a prepared signal (B, T, F): of windows, in training."""
        features = self.encoder(x, lengths)
        scores, predictions, log_sigma = self.heads(features)
        return ModelOutput(self.dist(scores, lengths), predictions, features, log_sigma, scores)

    def heads(self, features: Tensor, *, by_frame: bool = False) -> Heads:
        """Return the class scores and predictions of features (B, T, H); ``by_frame`` as of :meth:`step`."""
        scores = _apply(self.class_head, features, by_frame)
        predictions = None if self.target_head is None else _apply(self.target_head, features, by_frame)
        if self.sigma_head is None:
            return Heads(scores, predictions, None)
        # Softplus instead of a clamp: below its floor a clamp has no gradient, and the deviation would stay there.
        floored = functional.softplus(_apply(self.sigma_head, features, by_frame) - MIN_LOG_SIGMA)
        return Heads(scores, predictions, floored + MIN_LOG_SIGMA)


class SwitchingModelOutput(NamedTuple):
    """What a switching model returns for B recordings of T frames; usable wherever a :class:`ModelOutput` is.

    Attributes:
        switching: classes and targets in one distribution.
        features: output of the encoder, (B, T, H).
        posterior: which posterior of the classes weights their regressions in ``predictions``, ``"filter"`` or
            ``"smooth"``.
        scores: class scores as in :class:`ModelOutput`.
    """

    switching: SwitchingRegression
    features: Tensor
    posterior: str
    scores: Tensor | None = None

    @property
    def dist(self) -> Structure:
        """The distribution over label sequences."""
        return self.switching.structure

    @property
    def predictions(self) -> Tensor:
        """The expected targets, (B, T, R), by ``posterior``."""
        return self.switching.predict(posterior=self.posterior).mean

    @property
    def log_sigma(self) -> None:
        """None: a mixture has no single deviation; see ``switching``."""
        return None


class SwitchingModel(_StructuredModel):
    """A shared encoder, class scores for the structured layer, and a linear regression of the features per class.

    Train it by :class:`segcrf.losses.SwitchingObjective`, one likelihood without weights. Its output has
    ``predictions``, so :class:`segcrf.losses.JointObjective` trains it too, on the mean of the mixture; with
    ``posterior="filter"`` and a causal encoder this is a causal forecast.

    Args:
        encoder: from a signal (B, T, F) to features (B, T, H).
        crf: a structured layer; it sets the number of classes C.
        num_targets: targets R to predict at each frame.
        posterior: which posterior of the classes weights their regressions in ``predictions``: ``"filter"`` if the
            targets lie in the future of the signal, ``"smooth"`` if the whole recording may be used.
        preparation: as of :class:`JointModel`.

    Attributes:
        log_sigma: parameter (C, R), log-deviations. It needs a larger learning rate than the network, and no weight
            decay.

    Example:
        >>> from segcrf.nn import LinearChainCRF, LSTMEncoder
        >>> model = SwitchingModel(LSTMEncoder(3, hidden=8), LinearChainCRF(5), num_targets=2, posterior="filter")
        >>> output = model(torch.zeros(4, 50, 3))
        >>> output.predictions.shape, output.switching.mean.shape
        (torch.Size([4, 50, 2]), torch.Size([4, 50, 5, 2]))
    """

    def __init__(
        self,
        encoder: Encoder,
        crf: StructuredLayer,
        num_targets: int,
        *,
        posterior: str,
        preparation: Preparation | None = None,
    ) -> None:
        check_whole(num_targets, "num_targets", 1)
        check_choice(posterior, "posterior", POSTERIORS)
        super().__init__(encoder, crf, preparation)
        self.shape, self.posterior = (crf.num_classes, num_targets), posterior
        self.target_head = nn.Linear(encoder.out_features, crf.num_classes * num_targets)
        self.log_sigma = nn.Parameter(torch.zeros(crf.num_classes, num_targets))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> SwitchingModelOutput:
        """Return the distribution over classes and targets of a batch; arguments as in :class:`JointModel`."""
        return self.from_prepared(self.prepare(x, lengths), lengths)

    def from_prepared(self, x: Tensor, lengths: Tensor | None = None) -> SwitchingModelOutput:
        """Return what the model returns, given a prepared signal (B, T, F): of windows, in training."""
        features = self.encoder(x, lengths)
        scores, means, _ = self.heads(features)
        switching = self.switching(self.dist(scores, lengths), means)
        return SwitchingModelOutput(switching, features, self.posterior, scores)

    def heads(self, features: Tensor, *, by_frame: bool = False) -> Heads:
        """Return the class scores and the predictions per class, (B, T, C, R); arguments as in :class:`JointModel`."""
        means = _apply(self.target_head, features, by_frame).unflatten(-1, self.shape)
        return Heads(_apply(self.class_head, features, by_frame), means, None)

    def switching(self, dist: Structure, means: Tensor | None) -> SwitchingRegression:
        """Return classes and targets in one distribution, from predictions per class (B, T, C, R)."""
        assert means is not None
        self.log_sigma.data.clamp_(min=MIN_LOG_SIGMA)
        return SwitchingRegression(dist, means.to(dist.dtype), self.log_sigma)

    def extra_repr(self) -> str:
        return f"posterior={self.posterior!r}"


def _apply(head: nn.Linear, features: Tensor, by_frame: bool) -> Tensor:
    return linear_by_frame(features, head.weight, head.bias) if by_frame else head(features)


def can_step(model: JointModel | SwitchingModel) -> bool:
    """Return whether a model can encode frames as they are measured, see :meth:`JointModel.step`."""
    try:
        check_causal(model)
    except InputError:
        return False
    return True


def check_causal(model: JointModel | SwitchingModel) -> None:
    """Raise for a model that needs later frames, or the whole recording.

    Args:
        model: of a stream, or with a largest delay.

    Raises:
        InputError: the parameter of the Segmenter with another value than such a model needs.
    """
    if not model.encoder.causal:
        advice = "later frames are unknown when a frame is decided: fit with bidirectional=False"
        raise InputError("bidirectional", "True", "False for a stream", advice)
    model.encoder.check_has_steps()
    if model.preparation is not None:
        check_steps(model.preparation)
