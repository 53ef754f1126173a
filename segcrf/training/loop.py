"""Training loop: fits a model and its objective on windows of recordings, by means of Lightning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from segcrf.data import RandomWindows, Recording, Windows, collate, grid
from segcrf.losses import Combiner
from segcrf.training.progress import ProgressBar, quiet_lightning
from segcrf.training.recipe import Model, Objective, Recipe, Result
from segcrf.training.resuming import Record, SaveCheckpoint, checkpoint_path
from segcrf.training.task import Task

__all__ = ["MIN_BATCHES", "VALIDATION_WINDOWS", "train", "training_windows"]

# A pass over few recordings is few steps: an epoch has at least so many, so that `max_epochs` and `patience` mean the
# same for ten recordings as for ten thousand.
MIN_BATCHES = 16
# Validation windows are longer than training windows: nearer to the whole recordings that the model will be given.
VALIDATION_WINDOWS = 4


def train(
    model: Model,
    objective: Objective,
    combine: Combiner,
    recipe: Recipe,
    recordings: tuple[list[Recording], list[Recording]],
    *,
    resume: bool = False,
    on_best: Callable[[Result], None] | None = None,
) -> Result:
    """Fit a model and its objective.

    Args:
        model: a joint or a switching model, changed in place; afterwards it holds the last epoch's weights, not the
            best ones.
        objective: changed likewise.
        combine: turns the losses into the scalar that is minimised.
        recipe: how to train.
        recordings: standardised recordings for training, and those for validation, which choose the best epoch; without
            the latter, the last epoch is the best.
        resume: continue from the checkpoint in ``recipe.directory``, if there is one.
        on_best: called with the result so far after each epoch that is better than all before.

    Returns:
        Best weights, best epoch, history and notes.

    Raises:
        InputError: a loss or weight is not finite, or the checkpoint is of another fit.
    """
    learn, validate = recordings
    record, checkpoint = Record(recipe, on_best), checkpoint_path(recipe)
    sampler = training_windows(learn, recipe)
    windows = grid(validate, VALIDATION_WINDOWS * recipe.window)
    batches = [windows[i : i + recipe.batch_size] for i in range(0, len(windows), recipe.batch_size)]
    begun = checkpoint if resume and checkpoint is not None and checkpoint.exists() else None
    if begun is not None and record.restore(begun):
        return record.result()
    with quiet_lightning(), torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        _trainer(recipe, _callbacks(recipe, record, checkpoint)).fit(
            Task(model, objective, combine, recipe),
            _loader(learn, sampler),
            _loader(validate, batches) if batches else None,
            ckpt_path=begun,
            weights_only=True,
        )
    return record.result()


def training_windows(recordings: list[Recording], recipe: Recipe) -> RandomWindows:
    """Return the sampler of training windows, in batches."""
    options: dict[str, Any] = {"min_batches": MIN_BATCHES, "balance": recipe.balance, "seed": recipe.seed}
    return RandomWindows(recordings, recipe.window, recipe.batch_size, **options)


def _callbacks(recipe: Recipe, record: Record, checkpoint: Path | None) -> list[Callback]:
    callbacks: list[Callback] = [record]
    if recipe.progress:
        callbacks.append(ProgressBar())
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        callbacks.append(SaveCheckpoint(checkpoint))
    return callbacks


def _loader(recordings: list[Recording], batches: Any) -> DataLoader[list[Recording]]:
    # A generator of its own: an iterator would draw from the global one, and a resumed fit would draw at other times.
    return DataLoader(
        Windows(recordings), batch_size=None, sampler=batches, collate_fn=collate, generator=torch.Generator()
    )


def _trainer(recipe: Recipe, callbacks: list[Callback]) -> pl.Trainer:
    device = torch.device(recipe.device)
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=recipe.max_epochs,
        limit_train_batches=recipe.max_batches,
        check_val_every_n_epoch=recipe.validate_every,
        gradient_clip_val=recipe.clip or None,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        inference_mode=False,
    )
