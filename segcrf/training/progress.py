"""Progress: the bar of a fit, and silence of Lightning."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from segcrf.training.task import Task

__all__ = ["ProgressBar", "quiet_lightning"]


class ProgressBar(Callback):
    """Shows one bar for the fit, with the losses of both tasks, and writes each note above it once."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        from tqdm.auto import tqdm

        self.notes_written = 0
        assert isinstance(pl_module, Task)
        title = " ".join(["fit", pl_module.recipe.trial]).strip()
        self.bar = tqdm(total=trainer.max_epochs, initial=trainer.current_epoch, desc=title, unit="epoch", leave=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = ("crf", "regression", "val_crf", "val_regression", "val_f1")
        metrics = trainer.callback_metrics
        shown = {name: f"{float(metrics[name]):.3f}" for name in names if name in metrics}
        self.bar.set_postfix(shown, refresh=False)  # pyright: ignore[reportUnknownMemberType]
        self.bar.update()
        assert isinstance(pl_module, Task)
        notes = pl_module.watch.notes
        for note in notes[self.notes_written :]:
            self.bar.write(note, file=sys.stderr)
        self.notes_written = len(notes)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.close()


@contextmanager
def quiet_lightning() -> Generator[None, None, None]:
    """Suppress Lightning's greetings and hints, and restore the handler of the interrupt key."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning")]
    levels = [logger.level for logger in loggers]
    on_interrupt = signal.getsignal(signal.SIGINT)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    except SystemExit as error:  # Lightning turns an interrupt into an exit, and then ignores further interrupts
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
