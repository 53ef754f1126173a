"""Segmenter: from lists of recordings to solid bands, in the manner of scikit-learn."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import inspect
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.data import (
    ClassCoder,
    Given,
    Labelled,
    Recording,
    Standardizer,
    check_any_labelled,
    check_signals,
    offset_share,
    read_labelled,
    split_recordings,
)
from segcrf.inference import Inferred, SignalStream, Stream, infer, storage
from segcrf.losses import (
    FORMS,
    REGRESSIONS,
    Combiner,
    FadingWeights,
    FixedWeights,
    JointObjective,
    RunningMeanWeights,
    SwitchingObjective,
    UncertaintyWeights,
)
from segcrf.nn import ENCODERS, JointModel, LinearChainCRF, SemiMarkovCRF, SwitchingModel, make_encoder
from segcrf.segments import Segments
from segcrf.structures import POSTERIORS
from segcrf.training import TrainingWarning

if TYPE_CHECKING:
    import pandas as pd

    from segcrf.training import Recipe, Result

__all__ = ["Segmenter"]

Array = npt.NDArray[Any]
STRUCTURES = ("linear-chain", "semi-markov")
COMBINERS: dict[str, Callable[[], Combiner]] = {
    "sum": FixedWeights,
    "running-mean": RunningMeanWeights,
    "uncertainty": UncertaintyWeights,
}
# Losses that are above zero, as a combiner that divides by them wants.
ERRORS = ("mse", "smooth_l1")
SWITCHING = ("mean", *FORMS)
# What a model folder says of a combiner that was no name: a program, and nothing that is executed is ever stored.
CUSTOM = "custom"
# Durations beyond this share of the training bands, or this many frames, are left to the geometric tail.
COVERED, LONGEST = 0.95, 1000
# Measured on validation recordings: with bands of 58 frames (ECG at 500 Hz) the likelihood alone needed several times
# the epochs, and with 88 (EMG) it lost 5 points; but with 51 and 77 (motion capture, sinusoids) cross-entropy took it
# astray by up to 30. With shorter ones (gaze, gestures, power) it never helped, least where nearly all frames are of
# one class. So where bands are long both are tried.
LONG_BANDS = 50
# Measured on validation recordings: with targets too, rates a decade apart are best for different data, and trying them
# saved a sixth of the error on two of three; for classes alone this one was within 4 % of the best (benchmarks.rates).
LEARNING_RATE = 5e-3
# Scores that are logits of single frames say too much in a sequence, where frames of a band err together.
EMISSION_SCALE = 0.1
# Scores, of which somebody may have forbidden some by hand: there -inf is no damage.
FORBIDDING = tuple(f"model.crf.{name}" for name in ("transitions", "start", "end", "durations.table"))
# What may differ between a fit and its resumption: it changes where and how long, not what is computed.
FREE_TO_CHANGE = ("sampling_rate", "device", "directory", "progress", "patience")
# Measured: 0.9 for gestures of three people before a camera, 0.2 for sleep, below 0.05 for ECG, EMG, power and motion.
OFFSETS_DOMINATE = 0.5


@dataclasses.dataclass(frozen=True)
class _Trained:
    """A model, what its training left, by which weight and rate, and what was to be said before."""

    model: JointModel | SwitchingModel
    result: Result
    frame_loss: float
    rate: float
    notes: list[str]


class Segmenter:
    """Finds the class of every frame of a recording, in solid bands, and numbers beside it where asked.

    A recurrent or convolutional encoder and a structured layer, trained together. Recordings are lists of ``(T, F)``
    arrays of any length; labels are lists of ``(T,)`` arrays, either of class indices (-100 = unlabelled) or of class
    names (``""`` = unlabelled); targets are lists of ``(T, R)`` arrays (NaN = unknown).

    Args:
        structure: ``"linear-chain"``, which learns what a switch costs; or ``"semi-markov"``, which also learns how
            long a band of each class lasts.
        encoder: ``"lstm"``, ``"gru"`` or ``"tcn"``.
        hidden: features per frame and direction.
        layers: layers of the encoder; None: 1 recurrent layer, or 6 convolutions.
        bidirectional: whether a frame's class may depend on later frames. False for live use.
        dropout: probability that a feature is dropped for a whole window.
        noise: deviation of the noise added to the standardised signal while training.
        standardize: ``"dataset"``, every channel by its mean and deviation over all training recordings;
            ``"recording"``, by those of the recording itself, for offsets and gains that mean nothing; or ``"auto"``:
            the latter where most of a channel's variance is such an offset, see
            :func:`segcrf.data.offset_share`, and the encoder may see the whole recording.
        frame_loss: weight, at the start, of a cross-entropy of single frames beside the likelihood of the whole
            sequence; it fades until half of the epochs are over, see :class:`segcrf.losses.FadingWeights`. ``"auto"``:
            0; but where the median band lasts 50 frames or more the likelihood alone may learn slowly, and both 1 and 0
            are trained, at twice the time, for the validation recordings to choose. Where there are none, 1.
        regression: loss of the targets, see :class:`segcrf.losses.JointObjective`; ``"auto"``: ``"mse"``, or with
            ``switching="likelihood"`` and ``"predictive"`` what these imply.
        combine: what makes one number of the losses of labels and targets:

            * ``"running-mean"``, each divided by its running mean, see :class:`segcrf.losses.RunningMeanWeights`; for
              ``"mse"`` and ``"smooth_l1"``;
            * ``"sum"``: with ``regression="gaussian"``, the likelihood of labels and targets together;
            * ``"uncertainty"``, a learned deviation that the targets share, see
              :class:`segcrf.losses.UncertaintyWeights`; for ``"mse"``;
            * a dict of weights, such as ``{"regression": 0.1}``;
            * any callable from the named losses to a scalar, a module with parameters included. It is not saved with
              the model, which predicts without it;
            * ``"auto"``: ``"running-mean"`` where the losses are above zero, else ``"sum"``.
        switching: one regression per class, mixed by the class's probability, see
            :class:`segcrf.structures.SwitchingRegression`; trained on the ``"mean"`` of the mixture (by ``regression``
            and ``combine``), by the ``"likelihood"`` of labels and targets, or by the ``"predictive"`` density of each
            target by itself. None: one regression for all classes.
        posterior: of a switching model, by which probability the mean mixes: ``"filter"``, given the signal so far, if
            the targets lie in the future of the signal, and then the encoder must not be bidirectional; ``"smooth"``,
            given the whole recording.
        sampling_rate: frames per second, for tables in seconds; None: tables in frames.
        classes: names of the classes, in order; None: those found in the training labels, sorted.
        max_epochs: epochs at most. An epoch shows every frame once, and has 16 batches at least.
        batch_size: windows of a step.
        window: frames of a training window.
        balance: for a class that is nearly everywhere: of the windows that show the commonest class alone, train on at
            most so many per other window. 1 finds rare classes better, and may expect them more often than they are:
            see the calibration before trusting probabilities. Take windows short enough to show one class alone. None:
            all windows.
        learning_rate: the largest; it rises for 5 % of the steps and falls to zero as a cosine. Potentials of the
            structure learn 3 times as fast, the deviation of the targets 10 times. ``"auto"``: the one of several that
            is best on the validation recordings in short trainings, see
            :func:`segcrf.training.find_learning_rate`. None: that, where there are targets and validation recordings;
            else 0.005.
        weight_decay: decoupled, of matrices only.
        patience: epochs without a better validation loss after which training ends.
        clip: largest norm of the gradient; 0 for any.
        validation_fraction: share of the recordings held out to choose the best epoch, one at least, chosen such that
            no class is lost to training where that can be. With one labelled recording, its last frames. 0: none, all
            epochs are trained and the last is the best.
        seed: decides everything that is random.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... or a ``torch.device``.
        directory: where to keep the checkpoint ``last.ckpt`` (two, where ``frame_loss`` trains twice) and the best
            model so far, ``best``; None: nowhere.
        progress: whether to show a bar.

    Attributes:
        classes_: (C,) names of the classes, or their indices.
        n_features_in_: channels F.
        max_duration_: with ``"semi-markov"``, the longest duration in frames with a score of its own, by the bands of
            the training recordings; longer ones go on with a learned tail.
        standardize_: ``"dataset"`` or ``"recording"``, what was chosen.
        frame_loss_: the weight that was chosen.
        learning_rate_: the rate that was chosen.
        model_: the trained :class:`segcrf.nn.JointModel`, or :class:`segcrf.nn.SwitchingModel`.
        history_: a dict per epoch, drawn by :func:`segcrf.plot.history`: ``epoch``, ``loss``, ``crf``, ``regression``,
            the same with ``val_``, and ``learning_rate``. Losses are per valid frame, in nats; those of targets are of
            standardised targets. ``gradient`` is the mean norm of the gradient and ``clipped`` the share of steps where
            it was cut. Of the epoch's first batch: ``weight_crf`` and ``weight_regression``, by how much the total
            changes per unit of a loss; ``gradient_crf`` and ``gradient_regression``, how hard each pulls at the shared
            features, and ``cosine``, whether they pull together; ``sigma``, the mean deviation of the targets;
            ``bands``, decoded bands per true one.
        notes_: what training had to say: warnings and explanations, each once.
        best_epoch_: the epoch with the best bands (and numbers) on validation recordings, whose weights are kept. Its
            ``val_decode_factor`` is by how much decoding weighs the signal, see
            :meth:`segcrf.Structure.scaled`; ``val_decode_by_frame`` is 1 where the most probable class of
            each frame made better bands than the most probable sequence. Posterior probabilities are those of the
            likelihood itself.

    >>> rng = np.random.default_rng(0)
    >>> labels = [np.repeat(rng.integers(2, size=8), 25) for _ in range(4)]
    >>> X = [(k + rng.normal(size=len(k)))[:, None] for k in labels]
    >>> segmenter = Segmenter(hidden=8, max_epochs=3, progress=False).fit(X, labels)
    >>> segmenter.predict(X)[0].shape
    (200,)
    >>> segmenter
    Segmenter(hidden=8, max_epochs=3, progress=False), fitted: 2 classes, 1 channel
    """

    def __init__(
        self,
        *,
        structure: str = "linear-chain",
        encoder: str = "lstm",
        hidden: int = 64,
        layers: int | None = None,
        bidirectional: bool = True,
        dropout: float = 0.3,
        noise: float = 0.1,
        standardize: str = "auto",
        frame_loss: float | str = "auto",
        regression: str = "auto",
        combine: str | Mapping[str, float] | Combiner = "auto",
        switching: str | None = None,
        posterior: str | None = None,
        sampling_rate: float | None = None,
        classes: Sequence[str] | None = None,
        max_epochs: int = 30,
        batch_size: int = 16,
        window: int = 256,
        balance: float | None = None,
        learning_rate: float | str | None = None,
        weight_decay: float = 1e-2,
        patience: int = 15,
        clip: float = 1.0,
        validation_fraction: float = 0.2,
        seed: int = 0,
        device: str | torch.device = "cpu",
        directory: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        self.structure = structure
        self.encoder = encoder
        self.hidden = hidden
        self.layers = layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.noise = noise
        self.standardize = standardize
        self.frame_loss = frame_loss
        self.regression = regression
        self.combine = combine
        self.switching = switching
        self.posterior = posterior
        self.sampling_rate = sampling_rate
        self.classes = classes
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.window = window
        self.balance = balance
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.patience = patience
        self.clip = clip
        self.validation_fraction = validation_fraction
        self.seed = seed
        self.device = device
        self.directory = directory
        self.progress = progress

    # ------------------------------------------------------------------------------------ scikit-learn's manners
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name, as they were given.

        Args:
            deep: for scikit-learn, which asks so; it makes no difference here.

        Returns:
            A dict from names to values.
        """
        return {name: getattr(self, name) for name in _defaults()}

    def set_params(self, **params: Any) -> Segmenter:
        """Changes parameters. They count from the next ``fit``: until then a fitted model predicts and is saved as it
        was fitted. Only ``sampling_rate``, the unit of tables, counts at once.

        Args:
            **params: new values by name.

        Returns:
            self.

        Raises:
            ValueError: there is no such parameter.
        """
        unknown = [name for name in params if name not in _defaults()]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no parameter of Segmenter. It has {', '.join(_defaults())}.")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _plain_params(self) -> dict[str, Any]:
        """Copies of the parameters as JSON can write them: nobody changes them later."""
        return {name: _plain(value) for name, value in self.get_params().items()}

    def __repr__(self) -> str:
        default = {name: _plain(value) for name, value in _defaults().items()}
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if _plain(value) != default[name]]
        fitted = ""
        if hasattr(self, "model_"):
            plural = "" if self.n_features_in_ == 1 else "s"
            fitted = f", fitted: {len(self.classes_)} classes, {self.n_features_in_} channel{plural}"
            if self.max_duration_ is not None:
                fitted += f", durations up to {self.max_duration_} frames"
        return f"Segmenter({', '.join(changed)}){fitted}"

    # -------------------------------------------------------------------------------------------------- fitting
    def fit(
        self,
        X: Given,
        labels: Given,
        targets: Given | None = None,
        validation: Sequence[Given] | None = None,
        resume: bool = False,
    ) -> Segmenter:
        """Learns from labelled recordings. A fit that fails or is interrupted leaves the Segmenter as it was before.

        Args:
            X: signals, (T, F) each.
            labels: classes, (T,) each: indices (-100 = unlabelled) or names ("" = unlabelled). A class without a
                training frame is told by a :class:`segcrf.training.TrainingWarning`.
            targets: numbers, (T, R) each; NaN = unknown.
            validation: ``(X, labels)`` or ``(X, labels, targets)`` of other recordings, to choose the best epoch, with
                labels of the same classes; None: some of the given ones are held out, see ``validation_fraction``.
            resume: go on from the checkpoint in ``directory``, where an earlier fit of the same data with the same
                parameters was cut off; where there is none, begin.

        Returns:
            self.

        Raises:
            ValueError, TypeError: something is wrong with the data, a parameter or the checkpoint, and nothing was
                trained; or a loss became infinite or NaN in training. The message says where, what was got and
                expected, and what to do.
            ImportError: Lightning is not installed.
        """
        # What is learned is handed over at the very end, so that this one never holds half of a fit.
        twin = copy.copy(self)
        twin._learn(X, labels, targets, validation, resume)
        parameters = self.get_params()
        vars(self).update({name: value for name, value in vars(twin).items() if name not in parameters})
        return self

    def _learn(
        self, X: Given, labels: Given, targets: Given | None, validation: Sequence[Given] | None, resume: bool
    ) -> None:
        """Fits in place, and may leave half of a fit."""
        self._check_parameters(resume)
        if self.combine == CUSTOM:
            raise ValueError(
                "combine: got 'custom', which stands for a callable that this model was once fitted with and that was "
                "not saved; set_params(combine=...) with it, or with a name, to fit again"
            )
        # PyTorch wants Python's own numbers, and a checkpoint holds nothing else.
        self._fitted = self._plain_params()
        self.set_params(**{name: value for name, value in self._fitted.items() if name != "combine"})
        recordings, validating = self._open(X, labels, targets, validation)
        if self.switching is not None and not self.n_targets_:
            raise ValueError(
                f"switching: got {self.switching!r} and no targets, expected numbers to predict; give fit(X, labels, "
                "targets), or switching=None"
            )
        self._measure(recordings, validating)
        self.max_duration_ = _max_duration(recordings.labels) if self.structure == "semi-markov" else None

        def begin() -> JointModel | SwitchingModel:
            with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
                torch.manual_seed(self.seed)  # pyright: ignore[reportUnknownMemberType]
                model = self._build()
            model.crf.init_from(recordings.labels)  # pyright: ignore[reportCallIssue]
            return model

        weights = self._frame_losses(recordings.labels, bool(validating.labels))
        fingerprint = {} if self.directory is None else self._fingerprint(recordings, validating)
        recipes = self._recipes(weights, fingerprint, resume)
        told = self._unseen(recordings.labels)
        self._train(begin, recipes, (self._scaled(recordings), self._scaled(validating)), resume)
        self.notes_[:0] = told

    def _check_parameters(self, resume: bool) -> None:
        _validation.choice(self.structure, "structure", STRUCTURES)
        _validation.choice(self.encoder, "encoder", tuple(ENCODERS))
        self._check_objective()
        _validation.choice(self.standardize, "standardize", ("auto", "dataset", "recording"))
        for name in ("hidden", "max_epochs", "batch_size", "patience"):
            _validation.whole(getattr(self, name), name, 1)
        if self.layers is not None:
            _validation.whole(self.layers, "layers (or None)", 1)
        _validation.choice(self.bidirectional, "bidirectional", (True, False))
        _validation.whole(self.window, "window", 2)
        _validation.whole(self.seed, "seed", 0)
        for name in ("weight_decay", "noise", "clip"):
            _validation.number(getattr(self, name), name, 0.0)
        if self.learning_rate is not None and self.learning_rate != "auto":
            _validation.number(self.learning_rate, "learning_rate (or 'auto')", 0.0)
        if self.balance is not None:
            _validation.positive(self.balance, "balance")
        for name in ("dropout", "validation_fraction"):
            _validation.share(getattr(self, name), name)
        if self.frame_loss != "auto":
            _validation.number(self.frame_loss, "frame_loss (or 'auto')", 0.0)
        _validation.frames_per_second(self.sampling_rate)
        _check_device(self.device)
        if self.directory is not None:
            _check_directory(self.directory)
            storage.check_replaceable(Path(self.directory) / storage.BEST)
        elif resume:
            raise ValueError("resume=True: got directory=None, expected the folder with the checkpoint; set directory")

    def _check_objective(self) -> None:
        _validation.choice(self.regression, "regression", ("auto", *REGRESSIONS))
        if isinstance(self.combine, str):
            _validation.choice(self.combine, "combine", ("auto", *COMBINERS, CUSTOM))
        elif not isinstance(self.combine, Mapping) and not callable(self.combine):
            raise TypeError(
                f"combine: got {type(self.combine).__name__}, expected one of {', '.join(map(repr, COMBINERS))}, a "
                "dict of weights by name of the loss, or a callable from the named losses to a scalar"
            )
        fitting = {"running-mean": ERRORS, "uncertainty": ("mse",)}.get(self._combine(), REGRESSIONS)
        if self._regression() not in fitting:
            raise ValueError(
                f"combine={self.combine!r} is for losses above zero: got regression={self._regression()!r}, expected "
                f"one of {', '.join(map(repr, fitting))}; or give combine='sum', which adds up log-likelihoods"
            )
        if self.switching is not None:
            self._check_switching()
        elif self.posterior is not None:
            raise ValueError(
                f"posterior: got {self.posterior!r} with switching=None, expected None: one regression for all "
                "classes mixes nothing; give switching='mean', or leave posterior out"
            )

    def _check_switching(self) -> None:
        _validation.choice(self.switching, "switching", SWITCHING)
        _validation.choice(self.posterior, "posterior (of a switching model)", POSTERIORS)
        if self.posterior == "filter" and self.bidirectional:
            raise ValueError(
                "posterior: got 'filter' with bidirectional=True, whose features have seen the future that the filter "
                "must not know; give bidirectional=False, or posterior='smooth' where nothing is forecast"
            )
        allowed = ("gaussian",) if self.switching in FORMS else tuple(r for r in REGRESSIONS if r != "beta_nll")
        if self._regression() not in allowed:
            raise ValueError(
                f"regression: got {self.regression!r} with switching={self.switching!r}, expected 'auto' or one of "
                f"{', '.join(map(repr, allowed))}; leave regression out"
            )

    def _regression(self) -> str:
        """The loss of the targets."""
        if self.regression != "auto":
            return self.regression
        return "gaussian" if self.switching in FORMS else "mse"

    def _combine(self) -> str:
        """The name of the combiner, ``CUSTOM`` for one that has none."""
        if not isinstance(self.combine, str):
            return CUSTOM
        if self.combine != "auto":
            return self.combine
        return "running-mean" if self._regression() in ERRORS else "sum"

    def _open(
        self, X: Given, labels: Given, targets: Given | None, validation: Sequence[Given] | None
    ) -> tuple[Labelled, Labelled]:
        """Checks all that was given, learns the classes, and tells training from validation."""
        train = read_labelled(X, labels, targets)
        self.n_features_in_ = train.signals[0].shape[1]
        self.n_targets_ = 0 if train.targets is None else train.targets[0].shape[1]
        self._coder = ClassCoder.learn(train.labels, self.classes)
        self.classes_ = self._coder.classes
        train = dataclasses.replace(train, labels=self._coder.encode(train.labels))
        if isinstance(self.combine, Mapping):
            _check_loss_weights(self.combine, ("crf", "regression") if self.n_targets_ else ("crf",))
        if validation is None:
            return split_recordings(train, self.validation_fraction, self.seed)
        check_any_labelled(train.labels, "training")
        return train, self._open_validation(_check_validation(validation))

    def _open_validation(self, given: Sequence[Given]) -> Labelled:
        targets = given[2] if self.n_targets_ and len(given) > 2 else None
        with _validation.about("validation"):
            held = read_labelled(given[0], given[1], targets, self.n_features_in_, self.n_targets_)
            held = dataclasses.replace(held, labels=self._coder.encode(held.labels))
        check_any_labelled(held.labels, "validation")
        return held

    def _measure(self, recordings: Labelled, validating: Labelled) -> None:
        self.standardize_ = self.standardize
        if self.standardize == "auto":
            everything = Labelled(recordings.signals + validating.signals, recordings.labels + validating.labels, None)
            own = self.bidirectional and offset_share(everything) > OFFSETS_DOMINATE
            self.standardize_ = "recording" if own else "dataset"
        self.scaler_ = Standardizer.fit(recordings.signals) if self.standardize_ == "dataset" else None
        self.target_scaler_ = Standardizer.fit(recordings.targets) if recordings.targets else None

    def _scale(self, signal: Array) -> Tensor:
        scaler = self.scaler_ or Standardizer.fit([signal])
        return torch.as_tensor(scaler.apply(signal).astype(np.float32))

    def _scaled(self, recordings: Labelled) -> list[Recording]:
        numbers: list[Tensor | None] = [None] * len(recordings.signals)
        if recordings.targets is not None and self.target_scaler_ is not None:
            scaled = (self.target_scaler_.apply(array).astype(np.float32) for array in recordings.targets)
            numbers = [torch.as_tensor(array) for array in scaled]
        rows = zip(recordings.signals, recordings.labels, numbers, recordings.names, strict=True)
        return [Recording(self._scale(signal), torch.as_tensor(labels), y, name) for signal, labels, y, name in rows]

    def _build(self) -> JointModel | SwitchingModel:
        options: dict[str, Any] = {"hidden": self.hidden, "dropout": self.dropout}
        both = self.bidirectional
        options |= {"causal": not both} if self.encoder == "tcn" else {"bidirectional": both}
        if self.layers is not None:
            options["layers"] = self.layers
        encoder = make_encoder(self.encoder, self.n_features_in_, **options)
        if self.switching is not None:
            assert self.posterior is not None
            return SwitchingModel(encoder, self._build_crf(), self.n_targets_, posterior=self.posterior)
        uneven = self.regression == "beta_nll"
        return JointModel(encoder, self._build_crf(), self.n_targets_, heteroscedastic=uneven)

    def _build_crf(self) -> LinearChainCRF | SemiMarkovCRF:
        crf = self._layer()
        if crf.log_emission_scale is not None:
            nn.init.constant_(crf.log_emission_scale, math.log(EMISSION_SCALE))
        return crf

    def _layer(self) -> LinearChainCRF | SemiMarkovCRF:
        scaled = self.frame_loss_ > 0  # without it the class head finds the scale by itself
        if self.max_duration_ is None:
            return LinearChainCRF(len(self.classes_), emission_scale=scaled)
        # Windows cut bands in training, and so does every recording at its ends.
        return SemiMarkovCRF(len(self.classes_), self.max_duration_, censored=True, emission_scale=scaled)

    def _objective(self) -> JointObjective | SwitchingObjective:
        frames = self.frame_loss_ > 0
        if self.switching in FORMS:
            return SwitchingObjective(self.switching, frames=frames)
        return JointObjective(self._regression() if self.n_targets_ else None, max(self.n_targets_, 1), frames=frames)

    def _combiner(self) -> Combiner:
        name = self._combine()
        if isinstance(self.combine, Mapping):
            combine: Combiner = FixedWeights(**self.combine)
        elif not isinstance(self.combine, str):
            combine = copy.deepcopy(self.combine)  # one with a state begins anew in every fit
        else:
            # A single loss has nothing to be weighed against, and by itself should fade as it is learned.
            alone = self.combine == "auto" and not self.n_targets_
            combine = FixedWeights() if alone else COMBINERS[name]()
        return FadingWeights("frames", self.frame_loss_, combine=combine) if self.frame_loss_ > 0 else combine

    def _frame_losses(self, labels: Sequence[Array], validated: bool) -> list[float]:
        """The weights of a loss of frames to try."""
        if self.frame_loss != "auto":
            return [float(self.frame_loss)]
        if not _are_long(labels):
            return [0.0]
        return [1.0, 0.0] if validated else [1.0]

    def _unseen(self, labels: Sequence[Array]) -> list[str]:
        """Warns of classes that there is nothing to learn from, and returns what was said."""
        seen = np.unique(np.concatenate(labels))
        absent = [str(name) for index, name in enumerate(self.classes_.tolist()) if index not in seen]
        if not absent:
            return []
        text = (
            f"no training frame is of class {', '.join(absent)}: it cannot be learned, and will hardly be predicted; "
            "label some, give other recordings for validation=, or leave the class out"
        )
        warnings.warn(text, TrainingWarning, stacklevel=4)  # where fit was called
        return [text]

    def _fingerprint(self, *parts: Labelled) -> dict[str, Any]:
        """What a checkpoint must share with this fit: parameters, the problem, and the very recordings."""
        digest = hashlib.sha256()
        for array in (a for part in parts for a in (*part.signals, *part.labels, *(part.targets or ()))):
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        lengths = [len(labels) for part in parts for labels in part.labels]
        same = {name: value for name, value in self._fitted.items() if name not in FREE_TO_CHANGE}
        return same | {
            "classes": self.classes_.tolist(),
            "channels": self.n_features_in_,
            "targets": self.n_targets_,
            "data": f"{len(lengths)} recordings, {sum(lengths)} frames, checksum {digest.hexdigest()[:16]}",
        }

    def _recipes(self, weights: Sequence[float], fingerprint: dict[str, Any], resume: bool) -> dict[float, Recipe]:
        """How to train with each weight of the loss of frames; to ``resume``, all checkpoints must fit."""
        try:
            from segcrf.training import Recipe, check_resumable
        except ImportError as error:
            raise ImportError(f"fit needs Lightning ({error}); pip install 'segcrf[train]'") from error

        shared = {field.name for field in dataclasses.fields(Recipe)} & _defaults().keys()
        given: dict[str, Any] = {name: getattr(self, name) for name in shared} | {"fingerprint": fingerprint}
        if isinstance(self.learning_rate, str | None):
            given["learning_rate"] = 0.0  # it is chosen when training begins
        trials = {weight: f"frame_loss={weight:g}" if len(weights) > 1 else "" for weight in weights}
        recipes = {weight: Recipe(**given, trial=trial) for weight, trial in trials.items()}
        for recipe in recipes.values() if resume else ():
            check_resumable(recipe)
        return recipes

    def _train(
        self,
        begin: Callable[[], JointModel | SwitchingModel],
        recipes: Mapping[float, Recipe],
        data: tuple[list[Recording], list[Recording]],
        resume: bool,
    ) -> None:
        """Trains with each weight of the loss of frames, and keeps what is best on the validation recordings."""
        errors: list[float] = []
        best: _Trained | None = None
        for weight, recipe in recipes.items():
            self.frame_loss_, to_beat = weight, min(errors, default=math.inf)
            trained = self._train_once(begin, recipe, data, resume, to_beat)
            errors.append(trained.result.history[trained.result.best_epoch].get("val_error", 0.0))
            if errors[-1] < to_beat:
                best = trained
        assert best is not None
        model, result = best.model, best.result
        model.load_state_dict(result.weights)
        self.model_, self.history_, self.best_epoch_ = model.to(self.device).eval(), result.history, result.best_epoch
        self.frame_loss_, self.learning_rate_, self.notes_ = best.frame_loss, best.rate, best.notes + result.notes
        if len(recipes) > 1:
            told = " and ".join(f"{error:.3f} with {weight:g}" for weight, error in zip(recipes, errors, strict=True))
            self.notes_.insert(0, f"frame_loss='auto' trained twice, as bands are long; validation error: {told}")

    def _train_once(
        self,
        begin: Callable[[], JointModel | SwitchingModel],
        recipe: Recipe,
        data: tuple[list[Recording], list[Recording]],
        resume: bool,
        to_beat: float,
    ) -> _Trained:
        """Trains with ``frame_loss_``. A model with a validation error of ``to_beat`` is in the folder already."""
        from segcrf.training import find_learning_rate, train

        notes: list[str] = []

        def start() -> tuple[JointModel | SwitchingModel, JointObjective | SwitchingObjective, Combiner]:
            return begin(), self._objective(), self._combiner()

        def keep(result: Result) -> None:
            if result.history[-1].get("val_error", -math.inf) < to_beat:
                self._keep(result)

        rate = self.learning_rate
        if rate is None:
            rate = "auto" if self.n_targets_ and data[1] else LEARNING_RATE
        if rate == "auto":
            tried = find_learning_rate(start, recipe, data)
            # Where none has learned anything yet, the largest is the best guess.
            rate = min(tried, key=lambda rate: (tried[rate], -rate))
            told = ", ".join(f"{error:.3f} at {rate:g}" for rate, error in tried.items())
            notes = [f"learning_rate='auto' tried short trainings, whose error on validation recordings was {told}"]
        self.learning_rate_ = float(rate)
        model, objective, combine = start()
        on_best = None if self.directory is None else keep
        recipe = dataclasses.replace(recipe, learning_rate=self.learning_rate_)
        result = train(model, objective, combine, recipe, data, resume=resume, on_best=on_best)
        return _Trained(model, result, self.frame_loss_, self.learning_rate_, notes)

    # ----------------------------------------------------------------------------------------------- predicting
    def predict(self, X: Given) -> list[Array]:
        """The classes, decoded over each whole recording.

        Args:
            X: signals, (T, F) each.

        Returns:
            Labels (T,) of each recording, written as in ``fit``.

        Raises:
            ValueError, TypeError: the signals are not as in ``fit``, or there was no fit.
        """
        (labels,) = self._ask(X, _labels)
        return [self._coder.decode(array) for array in labels]

    def predict_proba(self, X: Given) -> list[Array]:
        """The posterior probability of each class at each frame, given the whole recording.

        Args:
            X: signals, (T, F) each.

        Returns:
            Probabilities (T, C) of each recording, in the order of ``classes_``; they sum to one over the classes.

        Raises:
            ValueError, TypeError: the signals are not as in ``fit``, or there was no fit.
        """
        (probabilities,) = self._ask(X, _probabilities)
        return probabilities

    def predict_targets(self, X: Given, *, posterior: str | None = None) -> list[Array]:
        """The numbers at each frame.

        Args:
            X: signals, (T, F) each.
            posterior: of a switching model, by which probability of the class to mix; None: the model's own.

        Returns:
            Numbers (T, R) of each recording, in the unit they had in ``fit``.

        Raises:
            ValueError, TypeError: the signals are not as in ``fit``, or there was no fit, or one without targets; or a
                ``posterior`` was given for a model with one regression for all classes.
        """
        self._check_fitted()
        scaler = self.target_scaler_
        if scaler is None:
            raise ValueError("predict_targets: the model was fitted without targets; give fit(X, labels, targets)")
        if posterior is not None:
            _validation.choice(posterior, "posterior", POSTERIORS)
            if self._fitted["switching"] is None:
                raise ValueError(
                    f"posterior: got {posterior!r}, but this model has one regression for all classes; leave it out, "
                    "or fit with switching='mean'"
                )
        mix = posterior or self._fitted["posterior"]
        (values,) = self._ask(X, lambda found: _values(found, mix))
        return [scaler.undo(array) for array in values]

    def predict_segments(
        self, X: Given, recordings: Sequence[object] | None = None, *, confidence: str = "frames"
    ) -> pd.DataFrame:
        """The bands of each recording.

        Args:
            X: signals, (T, F) each.
            recordings: their names; None: their numbers.
            confidence: ``"frames"``, the mean over the band of the posterior probability of its class: the share of
                the band that is expected to be right; or ``"band"``, the posterior probability that it is a band as a
                whole, from its first to its last frame and no longer: small where a boundary is uncertain. With
                ``"semi-markov"`` the latter is a Python loop over frames.

        Returns:
            A table with a row per band: ``recording``, ``start`` and ``end`` (half-open; in frames, or in seconds where
            the Segmenter has a ``sampling_rate``), ``label``, and ``confidence``.

        Raises:
            ValueError, TypeError: the signals are not as in ``fit``, or there was no fit; fewer names than recordings,
                or a repeated one; or an unknown ``confidence``.
        """
        _validation.choice(confidence, "confidence", tuple(CONFIDENCES))
        labels, starts, own = self._ask(X, _labels, _starts, CONFIDENCES[confidence])
        bands = Segments.from_labels(labels, starts)
        first = np.cumsum([0, *map(len, labels)])[bands.recording] + bands.start
        mean = np.add.reduceat(np.concatenate(own).astype(np.float64), first) / bands.durations
        return bands.with_score(mean).to_table(
            classes=self.classes_.tolist(), sampling_rate=self.sampling_rate, recordings=recordings
        )

    def stream(self, *, max_delay: int | None = None, recording: object = 0) -> SignalStream:
        """Begins a recording that is still being measured.

        Bands are those of the most probable sequence; what ``val_decode_by_frame`` chose needs the whole recording.

        Args:
            max_delay: frames after which a label is decided although later frames could change it; None: wait until
                they cannot. What no later frame can change is told at once, in any case.
            recording: name in the tables.

        Returns:
            A :class:`~segcrf.inference.SignalStream`: its ``push`` takes the next frames (N, F) and returns a table of
            the bands that are finished, as :meth:`predict_segments` writes it but without confidence;
            ``finish`` returns those that are left, and ``decoder`` tells what is running now.

        Raises:
            ValueError: nothing was fitted; the encoder looks at later frames; the bands are semi-Markov; every
                recording is standardised by itself, as a whole; or ``max_delay`` is below 1.
        """
        self._check_fitted()
        _check_streamed(self._fitted["bidirectional"], self._fitted["structure"], self.standardize_)
        now = copy.copy(self)  # so that another fit does not change a stream that is running
        model = now.model_

        def prepare(signal: Array) -> Tensor:
            return now._to_model(check_signals([signal], now.n_features_in_)[0])

        def show(bands: Segments) -> pd.DataFrame:
            return bands.to_table(
                classes=now.classes_.tolist(), sampling_rate=now.sampling_rate, recordings=[recording]
            )

        decoder = Stream(lambda scores: model.decode(model.dist(scores)).dist, max_delay=max_delay)
        return SignalStream(model.encoder, lambda features: model.heads(features).emissions, decoder, prepare, show)

    def score(self, X: Given, labels: Given) -> float:
        """The share of labelled frames, of all recordings together, whose predicted class is right.

        Args:
            X: signals, (T, F) each.
            labels: true classes, (T,) each, written as in ``fit``; unlabelled frames are left out.

        Returns:
            The share, 0 to 1.

        Raises:
            ValueError, TypeError: signals or labels are not as in ``fit``, or no frame has a label; or there was no
                fit.
        """
        predicted = self._ask(X, _labels)[0]
        arrays = _validation.matching(labels, "labels", [len(array) for array in predicted])
        true = np.concatenate(self._coder.encode(arrays))
        check_any_labelled([true], "score")
        return float((np.concatenate(predicted) == true)[true != UNLABELLED].mean())

    def _ask(self, X: Given, *questions: Callable[[Inferred], Tensor]) -> list[list[Array]]:
        """The answer to each question, one array per recording."""
        self._check_fitted()
        signals = [self._to_model(signal) for signal in check_signals(X, self.n_features_in_)]
        answers: list[list[Array]] = [[np.empty(0)] * len(signals) for _ in questions]
        for found in infer(self.model_, signals):
            for answer, question in zip(answers, questions, strict=True):
                rows = question(found).cpu().numpy()
                for row, recording in zip(rows, found.recordings, strict=True):
                    answer[recording] = np.array(row[: len(signals[recording])])
        return answers

    def _to_model(self, signal: Array) -> Tensor:
        """A standardised signal, where the model is: it may have been moved, or ``device`` set since."""
        return self._scale(signal).to(self.model_.class_head.weight.device)

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise ValueError("this Segmenter has learned nothing yet; call fit, or Segmenter.load, first")

    # --------------------------------------------------------------------------------------------------- storage
    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the fitted model into a folder, as safetensors and JSON.

        Args:
            folder: a new folder, or an earlier model, which is replaced at once and as a whole.

        Raises:
            ValueError: nothing was fitted, the folder holds other things, or ``sampling_rate`` is not one.
        """
        self._check_fitted()
        _validation.frames_per_second(self.sampling_rate)
        history = {"history": self.history_, "best_epoch": self.best_epoch_, "notes": self.notes_}
        storage.write_model(folder, self._config() | history, self._tensors(self.model_.state_dict()))

    def _keep(self, result: Result) -> None:
        """Saves the best model so far beside the checkpoint."""
        assert self.directory is not None
        history = {"history": result.history, "best_epoch": result.best_epoch, "notes": result.notes}
        folder = Path(self.directory) / storage.BEST
        storage.write_model(folder, self._config() | history, self._tensors(result.weights))

    def _config(self) -> dict[str, Any]:
        return {
            "parameters": self._fitted | {"sampling_rate": _plain(self.sampling_rate)},
            "classes": self.classes_.tolist(),
            "labels": "name" if self._coder.named else "index",
            "channels": self.n_features_in_,
            "targets": self.n_targets_,
            "max_duration": self.max_duration_,
            "frame_loss": self.frame_loss_,
            "learning_rate": self.learning_rate_,
        }

    def _tensors(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors = {f"model.{name}": tensor for name, tensor in weights.items()}
        for name, scaler in (("signal", self.scaler_), ("target", self.target_scaler_)):
            if scaler is not None:
                tensors[f"{name}.mean"] = torch.as_tensor(scaler.mean)
                tensors[f"{name}.scale"] = torch.as_tensor(scaler.scale)
        return tensors

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Segmenter:
        """Reads a model that ``save`` wrote. Nothing in it is executed.

        Args:
            folder: where it is.
            device: where it shall run.

        Returns:
            A Segmenter that predicts as the saved one did.

        Raises:
            ValueError: the folder is missing, damaged or of another program, or a number in it is not finite, or this
                machine lacks the device; the message says what was found.
        """
        _check_device(device)
        config, tensors = storage.read_model(folder, forbidding=FORBIDDING)
        try:
            return cls._restore(config, tensors, device)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"{folder}: {storage.CONFIG} and {storage.TENSORS} do not belong together, found {error!r}; "
                "copy the folder again, or save the model again"
            ) from error

    @classmethod
    def _restore(cls, config: dict[str, Any], tensors: dict[str, Tensor], device: str | torch.device) -> Segmenter:
        self = cls(**config["parameters"]).set_params(device=device, directory=None)
        self._check_parameters(resume=False)
        self._fitted = self._plain_params()
        self.classes_ = np.array(config["classes"])
        self._coder = ClassCoder(self.classes_, config["labels"] == "name")
        self.n_features_in_, self.n_targets_ = config["channels"], config["targets"]
        self.max_duration_, self.frame_loss_ = config["max_duration"], config["frame_loss"]
        self.learning_rate_ = config["learning_rate"]
        self.history_, self.best_epoch_, self.notes_ = config["history"], config["best_epoch"], config["notes"]
        scalers = {
            name: Standardizer(tensors[f"{name}.mean"].numpy(), tensors[f"{name}.scale"].numpy())
            for name in ("signal", "target")
            if f"{name}.mean" in tensors
        }
        self.scaler_, self.target_scaler_ = scalers.get("signal"), scalers.get("target")
        self.standardize_ = "recording" if self.scaler_ is None else "dataset"
        model = self._build()
        prefix = "model."
        model.load_state_dict({name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)})
        self.model_ = model.to(device).eval()
        return self


def _defaults() -> dict[str, Any]:
    """The parameters of a Segmenter and their defaults."""
    parameters = list(inspect.signature(Segmenter.__init__).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def _max_duration(labels: Sequence[Array]) -> int:
    """The duration that nearly all bands of every class stay within."""
    bands = Segments.from_labels(labels)
    within = [np.quantile(bands.durations[bands.label == label], COVERED) for label in np.unique(bands.label)]
    return int(np.clip(np.ceil(max(within)), 2, LONGEST))


def _are_long(labels: Sequence[Array]) -> bool:
    """Whether most bands are so long that the likelihood alone may learn slowly."""
    return float(np.median(Segments.from_labels(labels).durations)) >= LONG_BANDS


def _plain(value: Any) -> Any:
    """A parameter as JSON can write it."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if callable(value):
        return CUSTOM
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, torch.device):
        return str(value)
    return np.asarray(value).tolist()


def _labels(found: Inferred) -> Tensor:
    return found.bands.labels


def _starts(found: Inferred) -> Tensor:
    return found.bands.starts


def _probabilities(found: Inferred) -> Tensor:
    return found.dist.marginals.labels


def _of_frames(found: Inferred) -> Tensor:
    """(B, T): posterior probability of the class that was decoded."""
    return found.dist.marginals.labels.gather(-1, found.bands.labels.clamp(min=0)[..., None])[..., 0]


def _of_bands(found: Inferred) -> Tensor:
    """(B, T): posterior probability of the band that a frame lies in."""
    dist, lengths = found.dist, found.dist.lengths.tolist()
    shown = (found.bands.labels, found.bands.starts)
    rows = [[row[:n] for row, n in zip(values, lengths, strict=True)] for values in shown]
    bands = Segments.from_labels(rows[0], rows[1])
    probability = dist.band_probability(bands)
    each = probability.repeat_interleave(torch.as_tensor(bands.durations, device=probability.device))
    return torch.nn.utils.rnn.pad_sequence(list(each.split(lengths)), batch_first=True)


CONFIDENCES: dict[str, Callable[[Inferred], Tensor]] = {"frames": _of_frames, "band": _of_bands}


def _values(found: Inferred, posterior: str | None) -> Tensor:
    if found.switching is not None and posterior is not None:
        return found.switching.predict(posterior=posterior).mean
    assert found.predictions is not None
    return found.predictions


def _check_streamed(bidirectional: bool, structure: str, standardize: str) -> None:
    """Refuse a fitted Segmenter that needs later frames, with what to fit instead."""
    if bidirectional:
        raise ValueError("stream: got an encoder that looks at later frames; fit with bidirectional=False")
    if structure != "linear-chain":
        raise ValueError(f"stream: got structure={structure!r}, expected 'linear-chain'; fit with that")
    if standardize != "dataset":
        raise ValueError(
            "stream: channels are standardised by mean and deviation of the whole recording, which nobody knows yet; "
            "fit with standardize='dataset'"
        )


def _check_loss_weights(values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse weights of losses that there will not be, and what is no weight."""
    for name, value in values.items():
        if name not in known:
            raise ValueError(
                f"combine: a weight was given for the loss {name!r}, expected one of {', '.join(map(repr, known))}; "
                "correct its name, or leave it out"
            )
        _validation.number(value, f"combine[{name!r}]", 0.0)


def _check_device(value: object) -> None:
    """Refuse a device that this machine does not have."""
    numbers = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        found = torch.device(value) if isinstance(value, str | torch.device) else None
    except RuntimeError:
        found = None
    if found is None or (found.index or 0) >= numbers.get(found.type, 0):
        here = [f"{kind}:{i}" if kind == "cuda" else kind for kind, number in numbers.items() for i in range(number)]
        raise ValueError(f"device: got {value!r}, expected one that this machine has: {', '.join(map(repr, here))}")


def _check_directory(value: Any) -> None:
    """Refuse what is no folder that can be written to, nor can be made."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"directory: got {value!r}, expected the path of a folder, or None")
    path = Path(value).absolute()  # pyright: ignore[reportUnknownArgumentType]
    nearest = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    if not nearest.is_dir():
        raise ValueError(f"directory: got {str(value)!r}, but {nearest} is a file; choose another folder, or move it")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(
            f"directory: got {str(value)!r}, but {nearest} cannot be written to; choose another folder, or change its "
            "permissions"
        )


def _check_validation(values: Any) -> Sequence[Any]:
    """Return recordings for validation if they are given as two or three lists."""
    if not isinstance(values, (tuple, list)) or len(values) not in (2, 3):
        count = f" of {len(values)}" if isinstance(values, (tuple, list)) else ""
        raise TypeError(
            f"validation: got {type(values).__name__}{count}, expected (X, labels) or (X, labels, targets); to hold "
            "out a share of the recordings, set validation_fraction"
        )
    return cast("Sequence[Any]", values)
