"""Selection: the learning rate that is best on validation recordings after short trainings."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from segcrf._validation import InputError
from segcrf.data import Recording
from segcrf.losses import Combiner
from segcrf.training.diagnostics import TrainingWarning
from segcrf.training.loop import train, training_windows
from segcrf.training.recipe import Model, Objective, Recipe

__all__ = ["TRIAL_STEPS", "find_learning_rate"]

# Half a decade apart: the best learning rates of recorded data sets lie up to a decade apart.
LEARNING_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TRIAL_STEPS = 128


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
    trial = _shortened(recipe, steps, len(training_windows(recordings[0], recipe)))
    errors: dict[float, float] = {}
    failure: ValueError | None = None
    for learning_rate in learning_rates:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TrainingWarning)
                history = train(*begin(), replace(trial, learning_rate=learning_rate), recordings).history
            errors[learning_rate] = history[-1]["val_error"]
        except ValueError as error:  # not finite, and a larger learning rate will hardly be better
            failure, errors[learning_rate] = error, math.inf
    if failure is not None and not any(map(math.isfinite, errors.values())):
        raise failure
    return errors


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
