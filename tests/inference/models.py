"""Random models for the tests of exports, and what these must answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from segcrf import LinearChain, LinearChainCRF, SemiMarkovCRF
from segcrf.nn import (
    AttentionEncoder,
    Calibration,
    ChannelPlan,
    ConstrainedTransitions,
    ConvGRUEncoder,
    ConvLSTMEncoder,
    DecodingRule,
    Encoder,
    GRUEncoder,
    InputDependentTransitions,
    JointModel,
    LSTMEncoder,
    MSTCNEncoder,
    PottsTransitions,
    Preparation,
    SwitchingModel,
    TCNEncoder,
    UNetEncoder,
    cycle,
)

Model = JointModel | SwitchingModel
CHANNELS = 2


class AnnouncedLayer(nn.Module):
    """A structured layer whose transitions depend on the scores."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.crf = LinearChainCRF(3, transitions=InputDependentTransitions(3, 3))

    def forward(self, emissions: Tensor, lengths: Tensor | None = None) -> LinearChain:
        return self.crf(emissions, lengths, context=emissions)


def chain() -> LinearChainCRF:
    constrained = ConstrainedTransitions(PottsTransitions(3), forbidden=[(0, 2)])
    return LinearChainCRF(3, transitions=constrained, emission_scale=True)


def joint(encoder: Encoder, layer: Any, targets: int = 0, *, per_recording: bool = False) -> JointModel:
    return JointModel(encoder, layer, targets, preparation=prepared(targets, per_recording))


def switching(encoder: Encoder, layer: Any, posterior: str, *, per_recording: bool = False) -> SwitchingModel:
    preparation = prepared(2, per_recording)
    return SwitchingModel(encoder, layer, 2, posterior=posterior, preparation=preparation)


def differenced(encoder: Encoder, layer: Any, *, centred: bool) -> JointModel:
    """A model with every step of a preparation: a compressed channel, differences, and an indicator."""
    plan = ChannelPlan((0, 1), compressed=(1,), slow=(0, 1), flagged=(0,), spans=(1, 3), centred=centred)
    preparation = Preparation(CHANNELS, missing="hold", plan=plan)
    assert preparation.channels is not None and preparation.tails is not None and preparation.differences is not None
    preparation.channels.mean.fill_(100.0)
    preparation.channels.scale.fill_(3.0)
    preparation.tails.compressed[1] = True
    preparation.differences.tails.compressed.fill_(True)
    preparation.differences.tails.scale.fill_(2.0)
    return JointModel(encoder, layer, preparation=preparation)


def prepared(targets: int, per_recording: bool) -> Preparation:
    """A preparation for signals far from 0, with targets in another unit."""
    preparation = Preparation(CHANNELS, targets, per_recording=per_recording)
    for standardizer, mean in ((preparation.channels, 100.0), (preparation.targets, -5.0)):
        if standardizer is not None:
            standardizer.mean.fill_(mean)
            standardizer.scale.fill_(3.0)
    return preparation


MODELS: dict[str, tuple[Callable[[], Model], DecodingRule]] = {
    "lstm, chain, sequence": (lambda: joint(LSTMEncoder(2, 4), LinearChainCRF(3)), DecodingRule()),
    "tcn, semi-Markov, by frame": (
        lambda: joint(TCNEncoder(2, 4, layers=2), SemiMarkovCRF(3, 4), 1),
        DecodingRule(2.0, by_frame=True),
    ),
    "both ways gru, chain, by frame": (
        lambda: joint(GRUEncoder(2, 4, layers=2, bidirectional=True), chain(), 1, per_recording=True),
        DecodingRule(0.5, by_frame=True),
    ),
    "lstm, chain, delay": (
        lambda: switching(LSTMEncoder(2, 4), LinearChainCRF(3), "filter"),
        DecodingRule(1.5, True, 3),
    ),
    "tcn, censored, filter": (
        lambda: switching(TCNEncoder(2, 4, layers=2, causal=True), SemiMarkovCRF(3, 4, censored=True), "filter"),
        DecodingRule(2.0),
    ),
    "both ways lstm, limits, smooth": (
        lambda: switching(
            LSTMEncoder(2, 4, bidirectional=True),
            SemiMarkovCRF(3, 4, min_duration=2, tail="none", transitions=cycle(3)),
            "smooth",
            per_recording=True,
        ),
        DecodingRule(1.0, by_frame=True),
    ),
    "gru, touching bands": (
        lambda: joint(GRUEncoder(2, 4), SemiMarkovCRF(3, 3, self_transitions=True), 2),
        DecodingRule(0.7),
    ),
    "tcn, transitions of every step": (
        lambda: joint(TCNEncoder(2, 4, layers=2), AnnouncedLayer(), per_recording=True),
        DecodingRule(1.0, by_frame=True),
    ),
    "causal tcn, transitions of every step, delay": (
        lambda: switching(TCNEncoder(2, 4, layers=2, causal=True), AnnouncedLayer(), "filter"),
        DecodingRule(1.0, by_frame=True, max_delay=4),
    ),
    "tcn, censored, delay": (
        lambda: joint(TCNEncoder(2, 4, layers=2), SemiMarkovCRF(3, 4, censored=True), 1),
        DecodingRule(1.5, by_frame=True, max_delay=6),
    ),
    "unet, chain, sequence": (
        lambda: joint(UNetEncoder(2, 6, layers=2), LinearChainCRF(3), 1, per_recording=True),
        DecodingRule(),
    ),
    "causal unet, filter": (
        lambda: switching(UNetEncoder(2, 6, layers=2, causal=True), LinearChainCRF(3), "filter"),
        DecodingRule(),
    ),
    "ms-tcn, semi-Markov": (
        lambda: joint(MSTCNEncoder(2, 4, layers=2), SemiMarkovCRF(3, 4)),
        DecodingRule(),
    ),
    "attention, chain, by frame": (
        lambda: joint(AttentionEncoder(2, 8, window=5), LinearChainCRF(3)),
        DecodingRule(1.0, by_frame=True),
    ),
    "causal attention, chain, delay": (
        lambda: joint(AttentionEncoder(2, 8, window=5, causal=True), LinearChainCRF(3)),
        DecodingRule(1.0, by_frame=True, max_delay=3),
    ),
    "convolutions and lstm, chain": (
        lambda: joint(ConvLSTMEncoder(2, 4, stem_layers=2), LinearChainCRF(3)),
        DecodingRule(),
    ),
    "causal convolutions and gru, chain": (
        lambda: joint(ConvGRUEncoder(2, 4, stem_layers=2, causal=True), LinearChainCRF(3)),
        DecodingRule(),
    ),
    "lstm, centred differences": (
        lambda: differenced(LSTMEncoder(7, 4), LinearChainCRF(3), centred=True),
        DecodingRule(),
    ),
    "nothing prepared, one class": (
        lambda: JointModel(LSTMEncoder(2, 4, layers=2), LinearChainCRF(1), 1),
        DecodingRule(),
    ),
}


def random_model(name: str) -> Model:
    """A model with scores as large as its emissions, and with its decoding rule."""
    torch.manual_seed(len(name))
    build, rule = MODELS[name]
    model = build().eval()
    for parameter in [*model.crf.parameters(), *model.class_head.parameters()]:
        nn.init.normal_(parameter)
    return with_rule(model, rule)


def with_rule(model: Model, rule: DecodingRule) -> Model:
    """The same model, with a decoding rule of any kind, and calibrated."""
    model.set_calibration(Calibration(temperature=0.8))
    cls = type(model)
    model.__class__ = type(cls.__name__, (cls,), {"decoding_rule": property(lambda _: rule)})
    return model


def recordings(batch: int, frames: int) -> tuple[Tensor, Tensor]:
    """Signals far from 0, in recordings of several lengths, with garbage in the padding."""
    generator = torch.Generator().manual_seed(frames)
    lengths = torch.randint(2, frames + 1, (batch,), generator=generator) if frames > 1 else torch.ones(batch).long()
    lengths[0] = frames
    x = 100 + 9 * torch.randn(batch, frames, CHANNELS, generator=generator, dtype=torch.float64)
    x[torch.arange(frames) >= lengths[:, None]] = 1e6
    return x, lengths
