"""Selection: what is best on validation recordings after short trainings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from segcrf._validation import InputError
from segcrf.data import Recording
from segcrf.losses import Combiner
from segcrf.training.diagnostics import TrainingWarning
from segcrf.training.loop import train, training_windows
from segcrf.training.recipe import Model, Objective, Recipe

__all__ = ["LEVEL", "TRIAL_STEPS", "find_learning_rate", "race"]

# Half a decade apart: the best learning rates of recorded data sets lie up to a decade apart.
LEARNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TRIAL_STEPS = 128
# Differences of the validation error (1 - the mean of accuracy, edit score and F1@50) that two seeds of one model have.
LEVEL = 0.01


def find_learning_rate(
    begin: Callable[[], tuple[Model, Objective, Combiner]],
    recipe: Recipe,
    recordings: tuple[list[Recording], list[Recording]],
    *,
    learning_rates: Sequence[float] | None = None,
    steps: int | None = None,
) -> dict[float, float]:
    """Try learning rates in short trainings, each with its warm-up and its fall to zero.

    Why not a range test, one training with a learning rate that grows until the loss explodes? It observes the loss of
    an untrained model under a learning rate that lasted for a single step, and its suggestion moves with range, seed
    and smoothing. And losses divided by their running means hardly move. A short training is judged by the final
    measure: bands and targets of validation recordings.

    Args:
        begin: returns a new model, objective and combiner, equal ones at each call.
        recipe: how to train later; its length and its learning rate are not used.
        recordings: those for training, and those for validation.
        learning_rates: candidates; None: 0.001, 0.003, 0.01 and 0.03.
        steps: steps of each trial; None: 128.

    Returns:
        Validation error by learning rate, infinite where training failed. The same error chooses the best epoch in
        :func:`train`.

    Raises:
        InputError: there are no validation recordings; or all trials failed.

    Source:
        The range test is Smith's, *Cyclical learning rates for training neural networks*, 2017. Short trainings without
        the fall of the learning rate prefer learning rates that are too small: Wu et al., *Understanding short-horizon
        bias in stochastic meta-optimization*, 2018.
    """
    _check_choosable(recordings[1])
    learning_rates, steps = learning_rates or LEARNING_RATES, steps or TRIAL_STEPS
    errors: dict[float, float] = {}
    failure: ValueError | None = None
    for learning_rate in learning_rates:
        try:
            errors[learning_rate] = _try(begin, replace(recipe, learning_rate=learning_rate), recordings, steps)
        except ValueError as error:  # not finite, and a larger learning rate will hardly be better
            failure, errors[learning_rate] = error, math.inf
    if failure is not None and not any(map(math.isfinite, errors.values())):
        raise failure
    return errors


Entrant = TypeVar("Entrant", bound=Hashable)


def race(
    entrants: Mapping[Entrant, Callable[[], tuple[Model, Objective, Combiner]]],
    recipe: Recipe,
    recordings: tuple[list[Recording], list[Recording]],
    *,
    steps: int,
    level: float = LEVEL,
) -> tuple[Entrant, list[dict[Entrant, float]]]:
    """Compare models by short trainings: the better half goes on to trainings twice as long, until one is left.

    Args:
        entrants: for each name what returns a new model, objective and combiner. Where validation errors are level, the
            first one wins: put small models first.
        recipe: how to train later; its length is not used.
        recordings: those for training, and those for validation, which must be some.
        steps: steps of each training of the first round.
        level: difference of validation errors that counts as none, when two are left.

    Returns:
        The winner, and the validation errors of each round, infinite where training failed.

    Raises:
        InputError: all trainings failed.

    Source:
        Successive halving: Jamieson and Talwalkar, *Non-stochastic best arm identification and hyperparameter
        optimization*, AISTATS 2016.
    """
    left, rounds = list(entrants), list[dict[Entrant, float]]()
    while len(left) > 1:
        errors: dict[Entrant, float] = {}
        failure: ValueError | None = None
        for name in left:
            try:
                errors[name] = _try(entrants[name], recipe, recordings, steps)
            except ValueError as error:
                failure, errors[name] = error, math.inf
        if failure is not None and not any(map(math.isfinite, errors.values())):
            raise failure
        rounds.append(errors)
        best = sorted(left, key=errors.__getitem__)[: (len(left) + 1) // 2]  # stable: level ones keep their order
        if len(left) == 2:
            best = [next(name for name in left if errors[name] <= min(errors.values()) + level)]
        left, steps = [name for name in left if name in best], 2 * steps
    return left[0], rounds


def _try(
    begin: Callable[[], tuple[Model, Objective, Combiner]],
    recipe: Recipe,
    recordings: tuple[list[Recording], list[Recording]],
    steps: int,
) -> float:
    """Return the validation error after a short training."""
    trial = _shortened(recipe, steps, len(training_windows(recordings[0], recipe)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        return train(*begin(), trial, recordings).history[-1]["val_error"]


def _shortened(recipe: Recipe, steps: int, batches_per_epoch: int) -> Recipe:
    """Return the recipe of a trial: about so many steps in whole epochs, one validation at the end, no files."""
    epochs = math.ceil(steps / batches_per_epoch)
    return replace(
        recipe,
        max_epochs=epochs,
        max_batches=math.ceil(steps / epochs),
        validate_every=epochs,
        patience=epochs,
        directory=None,
        progress=False,
    )


def _check_choosable(validation: Sequence[Recording]) -> None:
    """Raise unless there are recordings to choose by."""
    if not validation:
        raise InputError(
            "learning_rate",
            "'auto' without validation recordings",
            "validation recordings to choose by",
            "give some, or a validation_fraction above 0, or a learning rate",
        )
