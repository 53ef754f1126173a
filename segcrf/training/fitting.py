"""Fitting: from checked recordings to the best of the models that were trained on them."""

from __future__ import annotations

import copy
import hashlib
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from segcrf._validation import InputError, InputTypeError, about_argument, check_number
from segcrf.data import (
    ClassCoder,
    Given,
    Labelled,
    Recording,
    check_any_labelled,
    choose_preparation,
    prepare_recordings,
    read_labelled,
    split_recordings,
)
from segcrf.losses import Combiner, JointObjective, SwitchingObjective
from segcrf.nn import JointModel, Preparation, SwitchingModel
from segcrf.segments import Segments
from segcrf.training.alarms import Evidence, decode_side, find_alarms
from segcrf.training.building import Sizes, build_combiner, build_model, build_objective, longest_duration
from segcrf.training.calibration import calibrate
from segcrf.training.candidates import Candidate, choose_candidate, list_candidates
from segcrf.training.diagnostics import TrainingWarning
from segcrf.training.parameters import CUSTOM, Parameters
from segcrf.training.rules import candidate_rules, default_rule
from segcrf.training.sizing import choose_size
from segcrf.training.trained import Setting, Trained
from segcrf.training.warm_start import (
    check_continues,
    copy_weights,
    digest_weights,
    restored_preparation,
)

__all__ = ["LEARNING_RATE", "Examples", "fit_model", "has_long_bands"]

Array = npt.NDArray[Any]

# Measured on validation recordings: with bands of 58 frames (ECG at 500 Hz) the likelihood alone needed several times
# the epochs, and with 88 (EMG) it lost 5 points; but with 51 and 77 (motion capture, sinusoids) a cross-entropy of
# frames cost up to 30. With shorter bands (gaze, gestures, power) it never helped, least where nearly all frames are of
# one class. So both are tried where bands are long.
LONG_BANDS = 50
# Measured on validation recordings: with targets, learning rates a decade apart are best for different data, and trying
# them saved a sixth of the error on two of three; for classes alone this one was within 4 % of the best
# (benchmarks.rates).
LEARNING_RATE = 5e-3
# These parameters may differ between a fit and its resumption: they change where and how long it runs, not its result.
FREE_TO_CHANGE = ("sampling_rate", "device", "directory", "progress", "patience")


class Examples(NamedTuple):
    """Recordings to learn from, as a user gives them.

    Args:
        X: signals, (T, F) each.
        y: labels, (T,) each, indices or names.
        targets: (T, R) each, or None.
        groups: one name per recording, or None.
        validation: (X, y) or (X, y, targets) of other recordings, or None.
    """

    X: Given
    y: Given
    targets: Given | None = None
    groups: Sequence[Any] | None = None
    validation: Sequence[Given | None] | None = None


def fit_model(
    parameters: Parameters,
    examples: Examples,
    *,
    start: Trained | None = None,
    resume: bool = False,
    on_best: Callable[[Trained], None] | None = None,
) -> Trained:
    """Train a model, or several, and let validation choose one.

    Args:
        parameters: checked parameters of a Segmenter.
        examples: recordings, which are checked here.
        start: an earlier training to go on from; None: begin with random weights.
        resume: continue from the checkpoint in the directory, if there is one.
        on_best: called with each model that is better than all before, while training runs.

    Raises:
        InputError, InputTypeError: the recordings cannot be used, or not with these parameters.
        ValueError: the checkpoint is of another fit, or a loss is no longer finite.
        ImportError: Lightning is not installed.
    """
    if parameters.combine == CUSTOM:
        advice = "a callable is not saved with a model: set_params(combine=...) with it, or with a name, to fit again"
        raise InputError("combine", "'custom', which stands for a callable", "the callable itself", advice)
    # PyTorch requires Python's own numbers, and a checkpoint holds nothing else.
    parameters = parameters.to_builtin()
    coder, train, validate = _open_recordings(examples, parameters, start)
    num_targets = 0 if train.targets is None else train.targets[0].shape[1]
    if parameters.switching is not None and not num_targets:
        advice = "give fit(X, y, targets=...), or switching=None"
        raise InputError("switching", f"{parameters.switching!r} without targets", "targets to predict", advice)
    preparation, sizes, notes = _choose_sizes(parameters, coder, train, validate, start)
    # Copies that later changes of the caller do not reach.
    own = {name: copy.deepcopy(getattr(parameters, name)) for name in ("encoder", "prepare")}
    plain = replace(Parameters(**parameters.to_dict()), **own)
    setting = Setting(plain, coder, sizes)
    fingerprint = {} if parameters.directory is None else _fingerprint(setting, (train, validate))
    weights = _frame_losses(parameters.frame_loss, train.labels, bool(validate.labels))
    if start is not None:
        fingerprint, weights = fingerprint | {"start": digest_weights(start.weights)}, [start.frame_loss]
    recipes = _recipes(parameters, weights, fingerprint, resume)
    for note in notes if parameters.progress else ():
        sys.stderr.write(f"{note}\n")
    unseen = _warn_of_unseen(coder, train.labels) if start is None else _note_forgettable(coder, train.labels)
    data = prepare_recordings(preparation, train), prepare_recordings(preparation, validate)
    fit = _Fit(parameters, setting, preparation, start, train.labels, data, resume, on_best)
    if start is None:
        fit, chosen = fit.of_best_candidate(recipes)
        notes = notes + chosen
    trained = fit.calibrated(fit.best_of(recipes))
    alarms = fit.alarms(trained, train, validate)
    return replace(trained, notes=unseen + notes + trained.notes + alarms)


def _choose_sizes(
    parameters: Parameters, coder: ClassCoder, train: Labelled, validate: Labelled, start: Trained | None
) -> tuple[Preparation, Sizes, list[str]]:
    """Return the preparation, the sizes of the model, and notes; those of an earlier training stay."""
    if start is not None:
        check_continues(parameters, start, train)
        return restored_preparation(start), replace(start.setting.sizes, num_classes=len(coder.classes)), []
    given: dict[str, Any] = {name: getattr(parameters, name) for name in ("standardize", "missing", "prepare")}
    if isinstance(parameters.encoder, nn.Module):  # it was built for the channels of the signal
        given |= {name: plain for name, plain in (("prepare", None), ("missing", "hold")) if given[name] == "auto"}
    looks_ahead = parameters.bidirectional and not getattr(parameters.encoder, "causal", False)
    preparation, notes = choose_preparation(train, validate, **given, looks_ahead=looks_ahead)
    sizes = Sizes(
        num_classes=len(coder.classes),
        num_channels=train.signals[0].shape[1],
        num_targets=0 if train.targets is None else train.targets[0].shape[1],
        max_duration=None,
        per_recording=preparation.per_recording,
        encoder_name="",
        encoder={},
        missing=preparation.missing,
        plan=preparation.plan,
    )
    return preparation, _sized_for(list_candidates(parameters)[0], sizes, train.labels, parameters.window), notes


def _sized_for(candidate: Candidate, sizes: Sizes, labels: Sequence[Array], window: int) -> Sizes:
    """Return sizes with those of an encoder and a structure."""
    longest = longest_duration(labels) if candidate.structure == "semi-markov" else None
    options = choose_size(candidate.encoder, labels, window)
    return replace(sizes, max_duration=longest, encoder_name=candidate.encoder, encoder=options)


# ------------------------------------------------------------------------------------------------------ recordings
def _open_recordings(
    examples: Examples, parameters: Parameters, start: Trained | None
) -> tuple[ClassCoder, Labelled, Labelled]:
    """Check all recordings, learn the classes, and separate training from validation recordings."""
    train = read_labelled(examples.X, examples.y, examples.targets, gaps=parameters.missing != "error")
    known = None if start is None else start.setting.coder
    coder = ClassCoder.learn(train.labels, parameters.classes) if known is None else known.extended(train.labels)
    train = replace(train, labels=coder.encode(train.labels))
    if isinstance(parameters.combine, Mapping):
        _check_loss_weights(parameters.combine, ("crf",) if train.targets is None else ("crf", "regression"))
    groups = None if examples.groups is None else _check_groups(examples.groups, len(train.signals))
    if examples.validation is None:
        return coder, *split_recordings(train, parameters.validation_fraction, parameters.seed, groups)
    check_any_labelled(train.labels)
    return (
        coder,
        train,
        _open_validation(_check_validation(examples.validation), coder, train, parameters.missing != "error"),
    )


def _open_validation(given: Sequence[Given], coder: ClassCoder, train: Labelled, gaps: bool) -> Labelled:
    """Check recordings for validation: they must be like those for training."""
    num_targets = 0 if train.targets is None else train.targets[0].shape[1]
    targets = given[2] if num_targets and len(given) > 2 else None
    with about_argument("validation"):
        held = read_labelled(given[0], given[1], targets, train.signals[0].shape[1], num_targets, gaps=gaps)
        held = replace(held, labels=coder.encode(held.labels))
    check_any_labelled(held.labels, "validation: y")
    return held


def has_long_bands(labels: Sequence[Array]) -> bool:
    """Return whether the median band is so long that the likelihood alone may learn slowly.

    Args:
        labels: class indices of each recording, (T,); -100 = unlabelled.

    Example:
        >>> has_long_bands([np.repeat([0, 1], 60)])
        True
    """
    return float(np.median(Segments.from_labels(labels).durations)) >= LONG_BANDS


def _frame_losses(given: float | str, labels: Sequence[Array], validated: bool) -> list[float]:
    """Return the weights of a loss of frames to try."""
    if given != "auto":
        return [float(given)]
    if not has_long_bands(labels):
        return [0.0]
    return [1.0, 0.0] if validated else [1.0]


def _warn_of_unseen(coder: ClassCoder, labels: Sequence[Array]) -> list[str]:
    """Warn of classes without a training frame; return the warning as a note."""
    absent = _absent_classes(coder, labels)
    if not absent:
        return []
    text = (
        f"no training frame is of class {', '.join(absent)}: it cannot be learned, and will hardly be predicted; "
        "label some, give other recordings for validation=, or leave the class out"
    )
    warnings.warn(text, TrainingWarning, stacklevel=4)  # points at the call of Segmenter.fit
    return [text]


def _note_forgettable(coder: ClassCoder, labels: Sequence[Array]) -> list[str]:
    """Return a note on classes that an earlier training learned, and that have no frame in this one."""
    absent = _absent_classes(coder, labels)
    if not absent:
        return []
    return [f"no training frame is of class {', '.join(absent)}: it may be forgotten; add recordings with it"]


def _absent_classes(coder: ClassCoder, labels: Sequence[Array]) -> list[str]:
    """Return the names of classes without a frame."""
    seen = np.unique(np.concatenate(labels))
    return [str(name) for index, name in enumerate(coder.classes.tolist()) if index not in seen]


def _fingerprint(setting: Setting, parts: Sequence[Labelled]) -> dict[str, Any]:
    """Return what a checkpoint must share with this fit: parameters, the problem, and the recordings themselves."""
    digest = hashlib.sha256()
    for array in (a for part in parts for a in (*part.signals, *part.labels, *(part.targets or ()))):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    lengths = [len(labels) for part in parts for labels in part.labels]
    plain = setting.parameters.to_dict()
    return {name: value for name, value in plain.items() if name not in FREE_TO_CHANGE} | {
        "classes": setting.coder.classes.tolist(),
        "channels": setting.sizes.num_channels,
        "targets": setting.sizes.num_targets,
        "data": f"{len(lengths)} recordings, {sum(lengths)} frames, checksum {digest.hexdigest()[:16]}",
    }


def _recipes(
    parameters: Parameters, weights: Sequence[float], fingerprint: dict[str, Any], resume: bool
) -> dict[float, Any]:
    """Return how to train with each weight of the loss of frames; to ``resume``, all checkpoints must fit."""
    try:
        from segcrf.training import Recipe, check_resumable
    except ImportError as error:
        raise ImportError(f"fit needs Lightning ({error}); pip install 'segcrf[train]'") from error

    shared = {each.name for each in fields(Recipe)} & {each.name for each in fields(Parameters)}
    given: dict[str, Any] = {name: getattr(parameters, name) for name in shared}
    given |= {
        "fingerprint": fingerprint,
        "rules": candidate_rules(parameters.decoding, parameters.max_delay, parameters.optimize),
    }
    if isinstance(parameters.learning_rate, str | None):
        given["learning_rate"] = 0.0  # it is chosen when training begins
    trials = {weight: f"frame_loss={weight:g}" if len(weights) > 1 else "" for weight in weights}
    recipes = {weight: Recipe(**given, trial=trial) for weight, trial in trials.items()}
    for recipe in recipes.values() if resume else ():
        check_resumable(recipe)
    return recipes


# -------------------------------------------------------------------------------------------------------- training
@dataclass(frozen=True, eq=False)
class _Fit:
    """One call of :func:`fit_model`, once everything is checked."""

    parameters: Parameters
    setting: Setting
    preparation: Preparation
    start: Trained | None
    labels: Sequence[Array]
    data: tuple[list[Recording], list[Recording]]
    resume: bool
    on_best: Callable[[Trained], None] | None

    def of_best_candidate(self, recipes: Mapping[float, Any]) -> tuple[_Fit, list[str]]:
        """Return the fit of the encoder and structure that ``"auto"`` stands for, and a note; itself without one."""
        candidates = list_candidates(self.parameters)
        if len(candidates) == 1:
            return self, []
        given, window = self.parameters.learning_rate, self.parameters.window
        sizes = {each: _sized_for(each, self.setting.sizes, self.labels, window) for each in candidates}
        fits = {each: replace(self, setting=replace(self.setting, sizes=sizes[each])) for each in candidates}
        weight, recipe = next(iter(recipes.items()))
        rate = LEARNING_RATE if isinstance(given, str | None) else float(given)
        entrants = {each: partial(fit._begin, weight) for each, fit in fits.items()}
        recipe = replace(recipe, learning_rate=rate)
        budget = self.parameters.budget
        winner, note = choose_candidate(entrants, recipe, self.data, budget=budget, resume=self.resume)
        if self.parameters.progress:
            sys.stderr.write(f"{note}\n")
        return fits[winner], [note]

    def best_of(self, recipes: Mapping[float, Any]) -> Trained:
        """Train with each weight of the loss of frames, and return what is best on the validation recordings."""
        errors: list[float] = []
        best: Trained | None = None
        for weight, recipe in recipes.items():
            to_beat = min(errors, default=math.inf)
            trained = self._train(weight, recipe, to_beat)
            errors.append(trained.history[trained.best_epoch].get("val_error", 0.0))
            if errors[-1] < to_beat:
                best = trained
        assert best is not None
        if len(recipes) == 1:
            return best
        each = " and ".join(f"{error:.3f} with {weight:g}" for weight, error in zip(recipes, errors, strict=True))
        note = f"frame_loss='auto' trained twice, as bands are long; validation error: {each}"
        return replace(best, notes=[note, *best.notes])

    def calibrated(self, trained: Trained) -> Trained:
        """Return a model with a calibration by the validation recordings, and give it to ``on_best``."""
        model = trained.build_model(self.parameters.device)
        notes = calibrate(model, self.data[1])
        trained = replace(trained, weights=model.state_dict(), notes=[*trained.notes, *notes])
        if self.on_best is not None:
            self.on_best(trained)
        return trained

    def alarms(self, trained: Trained, train: Labelled, validate: Labelled) -> list[str]:
        """Return the alarms of a finished fit, and warn of them in one warning, worst first."""
        from segcrf.training.loop import VALIDATION_WINDOWS

        learned = judged = None
        if self.data[1]:
            model, size = trained.build_model(self.parameters.device), VALIDATION_WINDOWS * self.parameters.window
            judged = decode_side(model, self.data[1], size)
            learned = decode_side(model, self.data[0], size, most=sum(map(len, judged.true)))
        classes = list(map(str, self.setting.coder.classes.tolist()))
        epochs = len(trained.history), trained.best_epoch
        texts, serious = find_alarms(Evidence(classes, train, validate, learned, judged, *epochs))
        if serious:
            listed = "".join(f"\n({i}) {text}" for i, text in enumerate(serious, 1))
            warnings.warn(f"this fit may not be what it seems:{listed}", TrainingWarning, stacklevel=4)
        return texts

    def _train(self, weight: float, recipe: Any, to_beat: float) -> Trained:
        """Train once. A model with a validation error of ``to_beat`` has been given to ``on_best`` already."""
        from segcrf.training import train

        learning_rate, notes = self._choose_learning_rate(weight, recipe)

        def trained(result: Any, notes: list[str]) -> Trained:
            found = result.weights, result.history, result.best_epoch
            return Trained(self.setting, weight, learning_rate, *found, notes)

        def keep(result: Any) -> None:
            if self.on_best is not None and result.history[-1].get("val_error", -math.inf) < to_beat:
                self.on_best(trained(result, result.notes))

        recipe = replace(recipe, learning_rate=learning_rate)
        result = train(*self._begin(weight), recipe, self.data, resume=self.resume, on_best=keep)
        return trained(result, notes + result.notes)

    def _begin(
        self, weight: float
    ) -> tuple[JointModel | SwitchingModel, JointObjective | SwitchingObjective, Combiner]:
        """Build model, objective and combiner anew, the same ones each time."""
        sizes = self.setting.sizes
        with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
            torch.manual_seed(self.parameters.seed)  # pyright: ignore[reportUnknownMemberType]
            model = build_model(self.parameters, sizes, weight)
        model.preparation = copy.deepcopy(self.preparation)
        model.crf.init_from(self.labels)  # pyright: ignore[reportCallIssue]
        if self.start is not None:
            copy_weights(model, self.start.weights)
        model.set_decoding_rule(default_rule(self.parameters.decoding, self.parameters.max_delay))
        objective = build_objective(self.parameters, sizes.num_targets, weight)
        return model, objective, build_combiner(self.parameters, sizes.num_targets, weight)

    def _choose_learning_rate(self, weight: float, recipe: Any) -> tuple[float, list[str]]:
        """Return the learning rate, and a note where short trainings chose it."""
        from segcrf.training import find_learning_rate

        given = self.parameters.learning_rate
        if given is None:
            given = "auto" if self.setting.sizes.num_targets and self.data[1] else LEARNING_RATE
        if given != "auto":
            return float(given), []
        tried = find_learning_rate(lambda: self._begin(weight), recipe, self.data)
        # Where no trial has learned anything yet, the largest is the best guess.
        chosen = min(tried, key=lambda each: (tried[each], -each))
        each = ", ".join(f"{error:.3f} at {rate:g}" for rate, error in tried.items())
        note = f"learning_rate='auto' tried short trainings; their errors on validation recordings were {each}"
        return float(chosen), [note]


# ---------------------------------------------------------------------------------------------------------- checks
def _check_loss_weights(values: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise for weights of losses that there will not be, and for what is not a weight."""
    for name, value in values.items():
        if name not in known:
            expected = f"one of {', '.join(map(repr, known))}"
            raise InputError("combine", f"a weight of the loss {name!r}", expected, "correct its name, or leave it out")
        check_number(value, f"combine[{name!r}]", 0.0)


def _check_groups(values: Any, count: int) -> list[Any]:
    """Return one group per recording."""
    expected = f"a list of {count} names, one per recording"
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise InputTypeError("groups", type(values).__name__, expected)
    listed = np.asarray(values).tolist() if hasattr(values, "dtype") else list(values)
    if len(listed) != count:
        raise InputError("groups", f"{len(listed)} names", expected)
    return listed


def _check_validation(values: Any) -> Sequence[Any]:
    """Return recordings for validation if they are given as two or three lists."""
    if not isinstance(values, (tuple, list)) or len(values) not in (2, 3):
        count = f" of {len(values)}" if isinstance(values, (tuple, list)) else ""
        advice = "to hold out a share of the recordings, set validation_fraction"
        raise InputTypeError("validation", f"{type(values).__name__}{count}", "(X, y) or (X, y, targets)", advice)
    return cast("Sequence[Any]", values)
