"""Segmenter: from lists of recordings to solid bands, as a scikit-learn estimator."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import torch
from torch import nn

from segcrf._validation import InputError, InputTypeError, frames_per_second
from segcrf.data import (
    Given,
    Labelled,
    check_any_labelled,
    check_matching,
    holds_bands,
    label_frames,
    prepare_recordings,
)
from segcrf.inference import Predictor, best_model_folder, check_replaceable, hold_checkpoint, read_model, write_model
from segcrf.losses import Combiner
from segcrf.nn import DecodingRule
from segcrf.training import (
    PARAMETERS,
    SCORES,
    Examples,
    Parameters,
    Trained,
    calibrate,
    check_parameters,
    fit_model,
    to_plain,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Segmenter"]

Array = npt.NDArray[Any]


class Segmenter(Predictor):
    """Find the class of every frame of a recording, in solid bands, and predict targets beside it.

    A recurrent or convolutional encoder and a structured layer, trained together. Recordings are lists of ``(T, F)``
    arrays of any length; labels are lists of ``(T,)`` arrays, either of class indices (-100 = unlabelled) or of class
    names (``""`` = unlabelled); targets are lists of ``(T, R)`` arrays (NaN = unknown). It works with scikit-learn's
    ``clone``, ``cross_val_score``, ``GridSearchCV`` and ``Pipeline``: a sample is a recording.

    Args:
        structure: structured layer. ``"linear-chain"`` learns what a switch costs;
            ``"semi-markov"`` also learns how long the bands of each class last. ``"auto"``: short trainings choose, see
            ``budget``.
        encoder: encoder of the signal.

            * ``"lstm"`` and ``"gru"``: a recurrent network;
            * ``"tcn"``: dilated convolutions; ``"ms-tcn"``: two such stages, the second refines the first;
            * ``"unet"``: convolutions at ever lower rates, and an LSTM at the lowest;
            * ``"conv-lstm"`` and ``"conv-gru"``: convolutions before a recurrent network;
            * ``"attention"``: a transformer that looks at the frames within a window;
            * ``"auto"``: short trainings choose among the LSTM, the TCN and, with ``bidirectional``, the U-Net;
            * your own, see :class:`segcrf.nn.CustomEncoder`: an ``nn.Module``, which every fit copies, or a callable
              such as its class, called with the number of channels. ``hidden``, ``layers`` and ``dropout`` are then
              without effect.
        hidden: features per frame and direction.
        layers: layers of the encoder; halvings of the rate of a U-Net. None: 1 recurrent layer, 6 convolutions, 2
            layers of attention, and else what the bands of the training recordings ask for, see
            :func:`segcrf.training.choose_size`.
        bidirectional: whether the class of a frame may depend on later frames. False for live use.
        dropout: probability that a feature is dropped for a whole window.
        noise: deviation of the noise added to the standardised signal in training.
        standardize: standardise channels by the mean and deviation of: ``"dataset"``, all training recordings;
            ``"recording"``, the recording itself, for offsets and gains without meaning; ``"auto"``, the latter if
            offsets have none, see :func:`segcrf.data.has_free_offsets`, and the encoder is bidirectional.
        prepare: what is made of the standardised channels. ``"auto"``: what the training recordings ask for, see
            :func:`segcrf.data.plan_channels`. A channel that is constant is left out. One that moves slowly gets its
            differences over 1, 2, 4, 8 and 16 frames, which look back only if ``bidirectional=False``. Heavy tails are
            compressed. Each decision is a line of ``notes_``. None: nothing, also if ``encoder`` is an ``nn.Module``,
            which was built for the channels of the signal. Or your own module ``(B, T, F) -> (B, T, F')``, given and
            saved as an own ``encoder``; training leaves its weights as they are.
        missing: what replaces missing values (NaN) of the signal. ``"hold"``: the last measured value of the channel,
            and its mean before the first; ``"interpolate"``: a straight line between measured neighbours, not for live
            use; ``"flag"``: as ``"hold"``, and an indicator is added for channels that miss values in training;
            ``"error"``: nothing, such recordings are rejected; ``"auto"``: ``"flag"``, or ``"hold"`` if ``encoder`` is
            an ``nn.Module``.
        frame_loss: initial weight of a cross-entropy of single frames, which fades. It is added to the likelihood of
            the sequence until half of the epochs are over, see :class:`segcrf.losses.FadingWeights`. ``"auto"``: 0; but
            where the median band lasts 50 frames or more the likelihood alone may learn slowly, so 1 and 0 are both
            trained, in twice the time, and validation recordings choose. Without these, 1.
        regression: loss of the targets, see :class:`segcrf.losses.JointObjective`. ``"auto"``: ``"mse"``, or what
            ``switching="likelihood"`` and ``"predictive"`` imply.
        combine: combination of the losses of labels and targets.

            * ``"running-mean"``: each is divided by its running mean, see :class:`segcrf.losses.RunningMeanWeights`;
              for ``"mse"`` and ``"smooth_l1"``;
            * ``"sum"``: with ``regression="gaussian"``, the likelihood of labels and targets together;
            * ``"uncertainty"``: by a learned deviation, see :class:`segcrf.losses.UncertaintyWeights`; for ``"mse"``;
            * a dict of weights, such as ``{"regression": 0.1}``;
            * a callable from the named losses to a scalar, also a module with parameters. It is not saved;
            * ``"auto"``: ``"running-mean"`` where the losses are above zero, else ``"sum"``.
        switching: regression per class, trained by this form. The class probability mixes the regressions, see
            :class:`segcrf.structures.SwitchingRegression`: ``"mean"`` trains the mixed mean (by ``regression`` and
            ``combine``), ``"likelihood"`` the density of labels and targets, ``"predictive"`` the density of each
            target. None: one regression for all classes.
        posterior: class probability that mixes the regressions of a switching model. ``"filter"``, given the signal so
            far, if the targets lie in the future (needs ``bidirectional=False``); ``"smooth"``, given the recording.
        decoding: how labels are read off the probabilities. ``"sequence"``: the most probable sequence of bands;
            ``"frame"``: the most probable class of each frame. Validation recordings choose how much the signal counts;
            without them it counts once. ``"auto"``: they also choose between the two; without them, with a
            ``max_delay``, or to ``optimize="accuracy"``, ``"frame"``. The choice begins with a signal that counts once,
            decoded by frame if ``decoding`` allows it. Another rule replaces it only if its error on validation
            recordings is lower by more than the bootstrap error of the difference, because few bands rank rules by
            chance. A :class:`segcrf.nn.DecodingRule`: as it is.
        max_delay: frames after which a label is decided, for live use: every method and stream then decides a frame by
            at most so many later frames, and validation recordings choose the rule under this delay. It needs an
            encoder that sees no later frames. 0: at once. None: by the whole recording.
        sampling_rate: frames per second. Tables are in seconds; None: in frames.
        classes: names of the classes, in order. None: those of the training labels, sorted.
        budget: how long short trainings compare encoders and structures where these are ``"auto"``. All candidates
            train for 32 steps with ``"quick"``, 96 with ``"default"``, 256 with ``"thorough"``; the better half goes on
            to twice as many, until one is left. If the last two are level, the one that is the default wins.
        max_epochs: largest number of epochs. An epoch shows every frame once, and has at least 16 batches.
        batch_size: windows per step.
        window: frames of a training window.
        balance: largest number of windows of the commonest class alone, per other window. 1 finds rare classes better,
            but may expect them too often: check the calibration before you trust probabilities. Use windows short
            enough to show one class alone. None: all windows.
        learning_rate: largest learning rate. It rises for 5 % of the steps and falls to zero as a cosine. Potentials of
            the structure learn 3 times as fast, deviations of targets 10 times. ``"auto"``: the best of several in
            short trainings, by validation recordings. None: ``"auto"`` if there are targets and validation recordings,
            else 0.005.
        weight_decay: decoupled weight decay, of matrices only.
        patience: epochs without improvement after which training ends.
        clip: largest norm of the gradient. 0: any.
        validation_fraction: share of the recordings held out to choose the best epoch. At least one, chosen such that
            training keeps every class, from two recordings or groups if possible, and such that the held-out ones have
            the right shares of each class, see :func:`segcrf.data.split_recordings`. With one labelled recording, its
            last frames. 0: none; all epochs are trained and the last is the best.
        optimize: score of validation recordings that chooses among models: the epoch, the decoding rule, the learning
            rate and the loss of frames. ``"bands"``: the mean of accuracy, edit score and F1@50; or one of
            ``"f1@50"``, ``"edit"``, ``"accuracy"`` (of frames), and ``"boundary"``, the F1 of boundaries within a tenth
            of the median band. Errors of targets are added to each. For ``"accuracy"`` the most probable class of each
            frame is the exact minimum-risk labelling; for the others validation recordings choose among rules.
        seed: seed of everything that is random.
        device: cpu, cuda, cuda:1 or another device, or a ``torch.device``.
        directory: folder of the checkpoint and of the best model so far. ``last.ckpt`` (two, if ``frame_loss`` trains
            twice) and ``best``; None: nothing is written.
        progress: whether to show a progress bar.

    Attributes:
        classes_: (C,) names of the classes, or their indices.
        n_features_in_: channels F.
        n_targets_: targets R, or 0.
        encoder_, structure_: the encoder and the structure, after ``"auto"`` is replaced.
        max_duration_: with ``"semi-markov"``, the longest duration in frames with a score of its own, else None.
        standardize_, frame_loss_, learning_rate_: values that were chosen.
        scaler_: the :class:`segcrf.nn.Standardizer` of the channels, or None with ``"recording"``.
        model_: the trained :class:`segcrf.nn.JointModel`, or :class:`segcrf.nn.SwitchingModel`.
        history_: one dict per epoch, see :class:`segcrf.training.Trained`; :func:`segcrf.plot.history` draws it.
        best_epoch_: the epoch with the best score (and targets) on validation recordings, see ``optimize``; its weights
            are kept.
        notes_: warnings and explanations of training, each once. Signs that the scores of a fit are doubtful are among
            them; a single :class:`segcrf.training.TrainingWarning` lists these, unless there are under 100 bands in
            all.

    Example:
        >>> import numpy as np
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
        encoder: str | nn.Module | Callable[[int], nn.Module] = "lstm",
        hidden: int = 64,
        layers: int | None = None,
        bidirectional: bool = True,
        dropout: float = 0.3,
        noise: float = 0.1,
        standardize: str = "auto",
        prepare: str | nn.Module | Callable[[int], nn.Module] | None = "auto",
        missing: str = "auto",
        frame_loss: float | str = "auto",
        regression: str = "auto",
        combine: str | Mapping[str, float] | Combiner = "auto",
        switching: str | None = None,
        posterior: str | None = None,
        decoding: str | DecodingRule | Mapping[str, Any] = "auto",
        max_delay: int | None = None,
        sampling_rate: float | None = None,
        classes: Sequence[str] | None = None,
        budget: str = "default",
        max_epochs: int = 30,
        batch_size: int = 16,
        window: int = 256,
        balance: float | None = None,
        learning_rate: float | str | None = None,
        weight_decay: float = 1e-2,
        patience: int = 15,
        clip: float = 1.0,
        validation_fraction: float = 0.2,
        optimize: str = "bands",
        seed: int = 0,
        device: str | torch.device = "cpu",
        directory: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> None:
        self.structure, self.encoder, self.hidden, self.layers = structure, encoder, hidden, layers
        self.bidirectional, self.dropout, self.noise, self.standardize = bidirectional, dropout, noise, standardize
        self.prepare, self.missing = prepare, missing
        self.frame_loss, self.regression, self.combine = frame_loss, regression, combine
        self.switching, self.posterior = switching, posterior
        self.decoding, self.max_delay = decoding, max_delay
        self.sampling_rate, self.classes = sampling_rate, classes
        self.budget, self.max_epochs, self.batch_size = budget, max_epochs, batch_size
        self.window, self.balance = window, balance
        self.learning_rate, self.weight_decay, self.patience, self.clip = learning_rate, weight_decay, patience, clip
        self.validation_fraction, self.optimize = validation_fraction, optimize
        self.seed, self.device = seed, device
        self.directory, self.progress = directory, progress

    # --------------------------------------------------------------------------------------- as in scikit-learn
    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as they were given; ``deep`` makes no difference."""
        return {name: getattr(self, name) for name in PARAMETERS}

    def set_params(self, **params: Any) -> Segmenter:
        """Change parameters, for the next ``fit``: until then a fitted model predicts and is saved as it was fitted.

        Only ``sampling_rate``, the unit of tables, has an immediate effect. An unknown name is an InputError.
        """
        for name in params:
            if name not in PARAMETERS:
                raise InputError(name, "a parameter of that name", f"one of {', '.join(PARAMETERS)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        default = {name: to_plain(parameter.default) for name, parameter in PARAMETERS.items()}
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if to_plain(value) != default[name]]
        fitted = ""
        if hasattr(self, "model_"):
            plural = "" if self.n_features_in_ == 1 else "s"
            fitted = f", fitted: {len(self.classes_)} classes, {self.n_features_in_} channel{plural}"
            if self.max_duration_ is not None:
                fitted += f", durations up to {self.max_duration_} frames"
        return f"Segmenter({', '.join(changed)}){fitted}"

    def __sklearn_tags__(self) -> Any:
        # No classifier for scikit-learn, which stratifies by the class of a sample: here that is a whole recording.
        from sklearn.utils import InputTags, Tags, TargetTags

        inputs = InputTags(two_d_array=False, three_d_array=True)
        return Tags(estimator_type=None, target_tags=TargetTags(required=True), input_tags=inputs)

    # -------------------------------------------------------------------------------------------------- fitting
    def fit(
        self,
        X: Given,
        y: Given | pd.DataFrame,
        *,
        targets: Given | None = None,
        groups: Sequence[Any] | None = None,
        validation: Sequence[Given | None] | None = None,
        resume: bool = False,
        warm_start: bool = False,
    ) -> Segmenter:
        """Learn from labelled recordings. A fit that fails or is interrupted leaves the Segmenter as it was before.

        Args:
            X: signals, (T, F) each.
            y: labels, (T,) each: indices (-100 = unlabelled) or names ("" = unlabelled); or a table of bands, in
                seconds by ``sampling_rate`` and in frames without one, see :func:`segcrf.data.label_frames`. A class
                without a training frame is reported by a :class:`segcrf.training.TrainingWarning`.
            targets: (T, R) each; NaN = unknown.
            groups: one name per recording, such as a person. If recordings are held out, no group is on both sides.
            validation: ``(X, y)`` or ``(X, y, targets)`` of other recordings, with the same classes, to choose the best
                epoch; None: some recordings are held out, see ``validation_fraction``.
            resume: continue from the checkpoint in ``directory``, which an earlier fit of the same data with the same
                parameters left; without a checkpoint, begin.
            warm_start: go on from the weights and scales of the fitted (or loaded) model instead of random ones.
                Classes that it does not know are appended to ``classes_``. Architecture, channels and targets stay.

        Returns:
            self.

        Raises:
            InputError, InputTypeError: a parameter or the data cannot be used, and nothing was trained.
            ValueError: the checkpoint is of another fit, or a loss became infinite or NaN.
            BlockingIOError: another process fits with the same ``directory``.
            ImportError: Lightning is not installed.
        """
        if warm_start:
            self._check_fitted()
        parameters = Parameters(**self.get_params())
        check_parameters(parameters)
        best = best_model_folder(parameters.directory)
        if best is not None:
            check_replaceable(best)
        elif resume:
            raise InputError("resume", "True with directory=None", "a directory with the checkpoint", "set directory")

        def keep(trained: Trained) -> None:
            if best is not None:
                write_model(best, trained.to_config(), trained.to_tensors())

        if isinstance(validation, (tuple, list)) and len(validation) in (2, 3):
            held, labels, *rest = validation
            validation = (held, self._label_frames(held, labels), *rest)
        examples = Examples(X, self._label_frames(X, y), targets, groups, validation)
        start = dataclasses.replace(self._trained, weights=self.model_.state_dict()) if warm_start else None
        with hold_checkpoint(parameters.directory):
            trained = fit_model(parameters, examples, start=start, resume=resume, on_best=keep)
        return self._adopt(trained, parameters.device)

    def calibrate(self, X: Given, y: Given) -> Segmenter:
        """Calibrate probabilities, confidences and intervals by other recordings than those of ``fit``.

        ``fit`` does so by its validation recordings. Call this with more of them, such as other people's, or after
        :meth:`set_decoding`. Labels stay as they are.

        Args:
            X: signals, (T, F) each, that did not train the model.
            y: labels, (T,) each, written as in ``fit``.

        Returns:
            self.

        Raises:
            InputError, InputTypeError: the recordings are not as in ``fit``, or no frame has a label.
        """
        signals = self._check_signals(X)
        labels = self._coder.encode(check_matching(y, "y", [len(signal) for signal in signals]))
        check_any_labelled(labels)
        preparation = copy.deepcopy(self.model_.preparation)
        assert preparation is not None
        calibrate(self.model_, prepare_recordings(preparation.cpu(), Labelled(signals, labels, None)))
        return self

    def _label_frames(self, X: Any, y: Any) -> Any:
        """Return labels as they are, or those of the frames of X from a table of bands."""
        if not holds_bands([str(name) for name in getattr(y, "columns", ())]):
            return y
        return label_frames(y, [len(signal) for signal in X], sampling_rate=self.sampling_rate)

    def _adopt(self, trained: Trained, device: str | torch.device) -> Segmenter:
        """Become what was trained."""
        setting, model = trained.setting, trained.build_model(device)
        self._trained = dataclasses.replace(trained, weights=model.state_dict())
        self.model_, self._coder, self.classes_ = model, setting.coder, setting.coder.classes
        self.n_features_in_, self.n_targets_ = setting.sizes.num_channels, setting.sizes.num_targets
        self.standardize_ = "recording" if setting.sizes.per_recording else "dataset"
        self.max_duration_ = setting.sizes.max_duration
        self.encoder_ = setting.sizes.encoder_name
        self.structure_ = "linear-chain" if self.max_duration_ is None else "semi-markov"
        assert model.preparation is not None
        self.scaler_, self.target_scaler_ = model.preparation.channels, model.preparation.targets
        self.frame_loss_, self.learning_rate_ = trained.frame_loss, trained.learning_rate
        self.history_, self.best_epoch_, self.notes_ = trained.history, trained.best_epoch, trained.notes
        return self

    # --------------------------------------------------------------------------------------------------- storage
    def save(self, folder: str | os.PathLike[str], *, table: dict[str, Any] | None = None) -> None:
        """Write the fitted model into a folder, as safetensors and JSON.

        Args:
            folder: a new folder, or an earlier model, which is replaced at once and as a whole.
            table: columns and sampling rate of the table that the recordings were read from, see
                :func:`segcrf.data.columns_to_config`, for the commands; None: those of the model that was loaded.

        Raises:
            ValueError: nothing was fitted, the folder holds other things, or ``sampling_rate`` is not one.
        """
        self._check_fitted()
        frames_per_second(self.sampling_rate)
        setting = self._trained.setting
        parameters = dataclasses.replace(setting.parameters, sampling_rate=to_plain(self.sampling_rate))
        setting = dataclasses.replace(setting, parameters=parameters)
        table = self._trained.table if table is None else table
        trained = dataclasses.replace(self._trained, setting=setting, weights=self.model_.state_dict(), table=table)
        write_model(folder, trained.to_config(), trained.to_tensors())

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        encoder: nn.Module | Callable[[int], nn.Module] | None = None,
        prepare: nn.Module | Callable[[int], nn.Module] | None = None,
    ) -> Segmenter:
        """Read a model that ``save`` wrote. Nothing in it is executed.

        Args:
            folder: the folder of the model.
            device: where it runs.
            encoder: what ``Segmenter(encoder=...)`` was, if it was your own: a model folder holds its weights, and
                where its class can be imported from, but no program.
            prepare: what ``Segmenter(prepare=...)`` was, if it was your own.

        Returns:
            A Segmenter that predicts as the saved one did.

        Raises:
            ValueError: the folder is missing, damaged or of another program, or this machine lacks the device.
            InputError: ``encoder`` or ``prepare`` is missing, or is given and the model does not need it.
        """
        PARAMETERS["device"].check(device)
        config, tensors = read_model(folder, forbidding=SCORES)
        try:
            parameters = config["parameters"] | {"device": str(device), "directory": None}
            trained = Trained.restore(config | {"parameters": parameters}, tensors, encoder, prepare)
            check_parameters(trained.setting.parameters)
            own = {name: getattr(trained.setting.parameters, name) for name in ("encoder", "prepare")}
            model = cls(**parameters).set_params(device=device, **own)
            return model._adopt(trained, device)
        except (InputError, InputTypeError):
            raise
        except (KeyError, TypeError, RuntimeError) as error:
            advice = "copy the folder again, or save the model again"
            if encoder is not None or prepare is not None:
                which = "encoder" if prepare is None else "prepare" if encoder is None else "encoder and prepare"
                advice = f"pass the {which} that the model was fitted with"
            raise ValueError(f"{folder}: its files do not belong together, found {error!r}; {advice}") from error
