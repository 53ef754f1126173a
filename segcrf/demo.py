"""The founding figure: one encoder trained three ways on a signal that switches between oscillations.

A recurrent network reads ``x``, predicts the clean signal a little ahead (``y``) and the mode that is on (``k``). With a
frame-wise loss its mode flickers; a penalty on switching is weak or kills all switches; a conditional random field learns
what a switch costs and gives solid bands. Signals, first weights, batches and steps are the same for all three.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from segcrf import metrics, smoothing
from segcrf.crf import LinearChainCRF
from segcrf.encoders import LSTMEncoder
from segcrf.losses import FixedWeights, JointObjective, Losses
from segcrf.model import JointModel, ModelOutput
from segcrf.signals import SwitchingSignal, switching_sinusoid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

RATE = 100.0
FREQUENCIES = (5.0, 10.0, 15.0)
CLASSES = tuple(f"{frequency:g} Hz" for frequency in FREQUENCIES)
PENALTIES = (0.1, 0.3, 1.0, 2.0)


@dataclass(frozen=True)
class Settings:
    """The problem and the budget, the same for every method.

    Args:
        num_train: training signals, of ``train_length`` frames at 100 Hz.
        num_test: held-out signals, of ``test_length`` frames; as many again pick the penalty's weight.
        noise: standard deviation of the noise on x, whose amplitude is 1.
        mean_dwell: mean time in a mode, in seconds.
        horizon: how far ahead y lies, in frames.
        hidden: units of the causal LSTM.
        steps: training steps of ``batch_size`` signals.
        learning_rate: of AdamW at its start; it falls to zero as a half cosine.
        seed: of signals, first weights and batches.
    """

    num_train: int = 512
    num_test: int = 64
    train_length: int = 200
    test_length: int = 500
    noise: float = 0.1
    mean_dwell: float = 1.0
    horizon: int = 5
    hidden: int = 48
    steps: int = 400
    batch_size: int = 32
    learning_rate: float = 0.01
    seed: int = 0


QUICK = Settings(steps=100, num_test=32)


class Signals(NamedTuple):
    """Training, validation and test signals, each x (N, T, 1), y (N, T, 1) and k (N, T)."""

    train: SwitchingSignal
    validation: SwitchingSignal
    test: SwitchingSignal


@dataclass(frozen=True)
class Method:
    """A way to train and to decode.

    Args:
        name: what the table calls it.
        losses: from a model's output, k (B, T) and y (B, T, 1) to named losses per frame.
        decode: from a model's output to modes (B, T).
        weights: weight of a loss by name, where it is not 1.
    """

    name: str
    losses: Callable[[ModelOutput, Tensor, Tensor], Losses]
    decode: Callable[[ModelOutput], Tensor]
    weights: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Result:
    """What a trained method predicts on the test signals, and how well.

    Args:
        name: of the method.
        modes: (N, T) predicted modes.
        values: (N, T, 1) predicted future values.
        scores: row of the table, by column.
    """

    name: str
    modes: Array
    values: Array
    scores: dict[str, float]


def frame_wise(output: ModelOutput, k: Tensor, y: Tensor) -> Losses:
    """Squared error, and binary cross-entropy of every mode against the rest: what one writes first."""
    scores = output.distribution.emissions
    one_hot = functional.one_hot(k, scores.shape[2]).to(scores.dtype)
    return {
        "mse": functional.mse_loss(_values(output), y),
        "bce": functional.binary_cross_entropy_with_logits(scores, one_hot),
    }


def penalised(output: ModelOutput, k: Tensor, y: Tensor) -> Losses:
    """The same, and the expected number of switches per frame."""
    switches = smoothing.expected_switches(output.distribution.emissions, output.distribution.lengths)
    return {**frame_wise(output, k, y), "switches": switches}


def argmax(output: ModelOutput) -> Tensor:
    """The best mode of every frame by itself."""
    return output.distribution.emissions.argmax(dim=2)


def viterbi(output: ModelOutput) -> Tensor:
    """The best sequence of modes."""
    return output.distribution.mode


def run(settings: Settings, progress: bool = True) -> tuple[SwitchingSignal, list[Result]]:
    """Train and test the three methods.

    Args:
        settings: the problem and the budget.
        progress: show a bar on stderr.

    Returns:
        The test signals, and a result per method: frame-wise, penalised, CRF.
    """
    signals = make_signals(settings)
    rivals = [Method(f"MSE + BCE + {w:g} × switches", penalised, argmax, (("switches", w),)) for w in PENALTIES]
    with _bar(settings.steps * (2 + len(rivals)), progress) as bar:
        plain = _train(Method("MSE + BCE", frame_wise, argmax), signals, settings, bar)
        penalties = [_train(rival, signals, settings, bar) for rival in rivals]
        crf = _train(Method("MSE + CRF", JointObjective("mse"), viterbi), signals, settings, bar)
    best = max(penalties, key=lambda trained: trained.test(signals.validation).scores["f1@50"])
    return signals.test, [trained.test(signals.test) for trained in (plain, best, crf)]
