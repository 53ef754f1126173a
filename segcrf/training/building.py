"""Building: the model, the objective and the combiner that the parameters of a Segmenter ask for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from segcrf._validation import InputError
from segcrf.losses import (
    FORMS,
    Combiner,
    FadingWeights,
    FixedWeights,
    JointObjective,
    RunningMeanWeights,
    SwitchingObjective,
    UncertaintyWeights,
)
from segcrf.nn import (
    ChannelPlan,
    Encoder,
    JointModel,
    LinearChainCRF,
    Preparation,
    SemiMarkovCRF,
    SwitchingModel,
    adopt_encoder,
    adopt_preparation,
    import_path_of,
    make_encoder,
)
from segcrf.segments import Segments
from segcrf.training.parameters import Parameters

__all__ = ["Sizes", "build_combiner", "build_model", "build_objective", "longest_duration"]

Array = npt.NDArray[Any]

# Durations beyond this share of the training bands, or beyond this many frames, are left to the geometric tail.
COVERED, LONGEST = 0.95, 1000
# A loss of frames makes class scores the logits of single frames. In a sequence these are overconfident, as the errors
# of neighbouring frames depend on each other.
EMISSION_SCALE = 0.1

_COMBINERS: dict[str, Callable[[], Combiner]] = {
    "sum": FixedWeights,
    "running-mean": RunningMeanWeights,
    "uncertainty": UncertaintyWeights,
}


@dataclass(frozen=True)
class Sizes:
    """What data decide about a model.

    Args:
        num_classes: C.
        num_channels: F.
        num_targets: R, or 0.
        max_duration: longest duration with a score of its own; None for a linear chain.
        per_recording: whether every recording is standardised by its own mean and deviation.
        encoder_name: encoder, after ``"auto"`` is replaced; of no effect with an encoder of the user.
        encoder: options of the encoder by name, see :func:`segcrf.training.choose_size`.
        missing: what replaces missing values, see :func:`segcrf.nn.fill_missing`.
        plan: which channels are kept, compressed, differenced and flagged.
    """

    num_classes: int
    num_channels: int
    num_targets: int
    max_duration: int | None
    per_recording: bool
    encoder_name: str
    encoder: Mapping[str, int]
    missing: str
    plan: ChannelPlan

    def new_preparation(self, parameters: Parameters) -> Preparation:
        """Return a preparation of these sizes, with scales that are not measured yet."""
        given = parameters.prepare
        own = None if given is None or isinstance(given, str) else adopt_preparation(given, self.num_channels)
        how: dict[str, Any] = {"per_recording": self.per_recording, "missing": self.missing}
        return Preparation(self.num_channels, self.num_targets, **how, plan=self.plan, own=own)


def longest_duration(labels: Sequence[Array]) -> int:
    """Return the duration that nearly all bands of every class stay within.

    Args:
        labels: class indices of each recording, (T,); -100 = unlabelled.

    Example:
        >>> longest_duration([np.repeat([0, 1, 0], [5, 9, 5])])
        9
    """
    bands = Segments.from_labels(labels)
    within = [np.quantile(bands.durations[bands.label == label], COVERED) for label in np.unique(bands.label)]
    return int(np.clip(np.ceil(max(within)), 2, LONGEST))


def build_model(parameters: Parameters, sizes: Sizes, frame_loss: float) -> JointModel | SwitchingModel:
    """Build the model with random weights, from PyTorch's global random state, and a preparation that changes nothing.

    Args:
        parameters: checked parameters.
        sizes: numbers of classes, channels and targets, the longest duration, and options of the encoder.
        frame_loss: weight of the loss of frames; above 0, a learned factor scales the emissions.
    """
    preparation = sizes.new_preparation(parameters)
    encoder = _build_encoder(parameters, sizes, preparation.num_prepared)
    crf = _build_crf(sizes, frame_loss)
    if parameters.switching is not None:
        assert parameters.posterior is not None
        return SwitchingModel(encoder, crf, sizes.num_targets, posterior=parameters.posterior, preparation=preparation)
    heteroscedastic = parameters.regression == "beta_nll"
    return JointModel(encoder, crf, sizes.num_targets, heteroscedastic=heteroscedastic, preparation=preparation)


def _build_encoder(parameters: Parameters, sizes: Sizes, num_channels: int) -> Encoder:
    if not isinstance(parameters.encoder, str):
        encoder = adopt_encoder(parameters.encoder, num_channels)
        if not (encoder.causal or parameters.bidirectional):
            expected = "an encoder that sees no later frames, because bidirectional=False"
            advice = "set causal = True on a module that is causal, or leave bidirectional out"
            raise InputError("encoder", f"{import_path_of(parameters.encoder)} without causal = True", expected, advice)
        return encoder
    options: dict[str, Any] = {"hidden": parameters.hidden, "dropout": parameters.dropout, **sizes.encoder}
    both = parameters.bidirectional
    options |= {"bidirectional": both} if sizes.encoder_name in ("lstm", "gru") else {"causal": not both}
    if parameters.layers is not None:
        options["layers"] = parameters.layers
    return make_encoder(sizes.encoder_name, num_channels, **options)


def _build_crf(sizes: Sizes, frame_loss: float) -> LinearChainCRF | SemiMarkovCRF:
    scaled = frame_loss > 0  # without it the class head finds the scale by itself
    if sizes.max_duration is None:
        crf = LinearChainCRF(sizes.num_classes, emission_scale=scaled)
    else:
        # Bands are cut by the windows of training, and by the ends of every recording.
        crf = SemiMarkovCRF(sizes.num_classes, sizes.max_duration, censored=True, emission_scale=scaled)
    if crf.log_emission_scale is not None:
        nn.init.constant_(crf.log_emission_scale, math.log(EMISSION_SCALE))
    return crf


def build_objective(parameters: Parameters, num_targets: int, frame_loss: float) -> JointObjective | SwitchingObjective:
    """Build what turns the output of the model into named losses.

    Args:
        parameters: checked parameters.
        num_targets: R, or 0.
        frame_loss: weight of the loss of frames; 0: there is none.
    """
    frames = frame_loss > 0
    if parameters.switching in FORMS:
        return SwitchingObjective(parameters.switching, frames=frames)
    regression = parameters.chosen_regression if num_targets else None
    return JointObjective(regression, max(num_targets, 1), frames=frames)


def build_combiner(parameters: Parameters, num_targets: int, frame_loss: float) -> Combiner:
    """Build what turns named losses into one scalar; a combiner with a state begins anew.

    Args:
        parameters: checked parameters.
        num_targets: R, or 0.
        frame_loss: initial weight of the loss of frames, which fades.
    """
    if isinstance(parameters.combine, Mapping):
        combine: Combiner = FixedWeights(**parameters.combine)
    elif not isinstance(parameters.combine, str):
        combine = copy.deepcopy(parameters.combine)
    else:
        # A single loss is not weighed against another one, and should count less as it is learned.
        alone = parameters.combine == "auto" and not num_targets
        combine = FixedWeights() if alone else _COMBINERS[parameters.chosen_combiner]()
    return FadingWeights("frames", frame_loss, combine=combine) if frame_loss > 0 else combine
