"""Resuming: the checkpoint of an interrupted fit, and whether a fit can continue from it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from segcrf._validation import InputError
from segcrf.data import write_atomically
from segcrf.training.recipe import Recipe, Result
from segcrf.training.task import Task

__all__ = ["Record", "SaveCheckpoint", "check_resumable", "checkpoint_path"]

NAME = "last"


def checkpoint_path(recipe: Recipe) -> Path | None:
    """Return the file for the state of a fit, or None for a recipe without a directory."""
    name = f"{NAME}-{recipe.trial}" if recipe.trial else NAME
    return None if recipe.directory is None else Path(recipe.directory) / f"{name}.ckpt"


def check_resumable(recipe: Recipe) -> None:
    """Raise for a checkpoint from which :func:`segcrf.training.train` with ``resume=True`` could not resume.

    Args:
        recipe: how to train. A missing checkpoint is accepted: training then begins.

    Raises:
        InputError: the checkpoint is of a fit of other data or with other parameters, or is not such a checkpoint.
    """
    path = checkpoint_path(recipe)
    if path is not None and path.exists():
        Record(recipe).restore(path)


class Record(Callback):
    """Keeps the history and the best weights, in memory and in the checkpoint.

    Args:
        recipe: how to train.
        on_best: called with the result so far after each epoch that is better than all before.
    """

    def __init__(self, recipe: Recipe, on_best: Callable[[Result], None] | None = None) -> None:
        self.recipe, self.on_best = recipe, on_best
        self.history: list[dict[str, float]] = []
        self.notes: list[str] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    def result(self) -> Result:
        """Return the result so far."""
        return Result(self.best, self.best_epoch, self.history, self.notes)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        pl_module.watch.notes = self.notes

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Dropout and noise depend on seed and epoch alone, so that a resumed fit equals an uninterrupted one exactly.
        torch.manual_seed(  # pyright: ignore[reportUnknownMemberType]
            self.recipe.seed * 1_000_003 + trainer.current_epoch
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        assert isinstance(pl_module, Task)
        metrics |= pl_module.clipping() | {"learning_rate": trainer.optimizers[0].param_groups[0]["lr"]}
        self.history.append({"epoch": trainer.current_epoch, **metrics})
        if not self._is_best():
            trainer.should_stop = self._is_finished()
            return
        self.best_epoch = trainer.current_epoch
        self.best = {name: value.detach().cpu().clone() for name, value in pl_module.model.state_dict().items()}
        if self.on_best is not None:
            self.on_best(self.result())

    def _is_best(self) -> bool:
        """Return whether the last epoch is better than all before; without validation it always is."""
        keys = [(row.get("val_error", -row["epoch"]), row.get("val_loss", 0.0)) for row in self.history]
        return len(keys) == 1 or keys[-1] < min(keys[:-1])

    def state_dict(self) -> dict[str, Any]:
        kept = {"history": self.history, "notes": self.notes, "best": self.best, "best_epoch": self.best_epoch}
        return {**kept, "fingerprint": self.recipe.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self.best = state_dict["history"], state_dict["best"]
        self.notes[:] = state_dict["notes"]  # in place: the watch writes to this list
        self.best_epoch = state_dict["best_epoch"]

    def restore(self, checkpoint: Path) -> bool:
        """Load the state from a checkpoint of the same fit, and return whether that fit was finished.

        Raises:
            InputError: the file is no checkpoint, or is of a fit with another fingerprint.
        """
        state = _check_fingerprint(checkpoint, self.state_key, self.recipe.fingerprint)
        self.load_state_dict(state)
        return self._is_finished()

    def _is_finished(self) -> bool:
        waited = len(self.history) - 1 - self.best_epoch
        return len(self.history) >= self.recipe.max_epochs or waited >= self.recipe.patience


class SaveCheckpoint(Callback):
    """Writes the state of the fit after each epoch; a kill at any time leaves a whole checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        with write_atomically(self.path) as temporary:
            trainer.save_checkpoint(temporary)


def _check_fingerprint(checkpoint: Path, key: str, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a record after checking that the checkpoint is of a fit with this fingerprint."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"][key]
        theirs: dict[str, Any] = state["fingerprint"]
    except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputError(
            "checkpoint",
            f"{checkpoint}, which is something else ({type(error).__name__})",
            "a checkpoint of Segmenter.fit",
            "remove it, or fit with resume=False",
        ) from error
    differs = [name for name, value in fingerprint.items() if theirs.get(name) != value]
    if differs:
        was, here = (", ".join(f"{name}={of.get(name)!r}" for name in differs) for of in (theirs, fingerprint))
        advice = "resume with the same data and parameters, or fit with resume=False"
        raise InputError("checkpoint", f"{checkpoint} of a fit with {was}", here, advice)
    return state
