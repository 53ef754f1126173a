"""Training of the joint model, on Lightning: the only module that needs it, so import it where you fit."""

from __future__ import annotations

import logging
import math
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segcrf.data import Batch, RandomWindows, Recording, Windows, collate, grid
from segcrf.losses import Combiner, FadingWeights, JointObjective, Losses, SwitchingObjective
from segcrf.metrics import edit_score, frame_accuracy, segment_f1
from segcrf.nn import JointModel, ModelOutput, SwitchingModel, SwitchingModelOutput, decoding
from segcrf.training import diagnostics
from segcrf.training.diagnostics import TrainingWarning, Watch

__all__ = ["Recipe", "check_resumable", "find_rate", "parameter_groups", "train"]

Array = npt.NDArray[np.int64]

Model = JointModel | SwitchingModel
Output = ModelOutput | SwitchingModelOutput
Objective = JointObjective | SwitchingObjective

CHECKPOINT = "last"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; the fields are those of :class:`segcrf.Segmenter`."""

    max_epochs: int
    batch_size: int
    window: int
    learning_rate: float
    weight_decay: float
    patience: int
    clip: float
    noise: float
    seed: int
    device: str
    directory: str | os.PathLike[str] | None
    progress: bool
    fingerprint: dict[str, Any]
    """What a checkpoint must share with the fit that resumes from it."""
    trial: str = ""
    """Which of several trainings this is: in its bar, and in the name of its checkpoint."""
    balance: float | None = None
    max_batches: int | None = None
    """Batches per epoch at most; None: all."""
    validate_every: int = 1
    """Epochs from one validation to the next."""


@dataclass(frozen=True)
class Result:
    """What training leaves: the weights of the best epoch, its number, one row per epoch, and what was to be said."""

    weights: dict[str, Tensor]
    best_epoch: int
    history: list[dict[str, float]]
    notes: list[str]


# A pass over few recordings is few steps: an epoch has at least so many, so that `max_epochs` and `patience` mean the
# same for ten recordings as for ten thousand.
MIN_BATCHES = 16
# Validation windows are longer than training windows: nearer to the whole recordings that the model will be given.
VALIDATION_WINDOWS = 4
# Potentials and deviations are few numbers of order one to ten that every frame pulls at: they may move faster than
# weights, and log-deviations must, or the loss weighs the two tasks by a deviation that the model left long ago.
CRF_RATE = 3.0
SIGMA_RATE = 10.0
WARM_UP = 0.05
# Learning rates to choose from, half a decade apart: recorded data sets that we know lie a decade apart.
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
TRIAL_STEPS = 128
# By how much decoding may weigh the signal beyond what the likelihood found best.
DECODE_FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def parameter_groups(
    model: Model, objective: nn.Module, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Sorts parameters by how they should be optimised, for AdamW.

    Matrices of encoder and heads decay. Biases and norms do not; nor do the potentials of the structured layer, whose
    size is a statement about the data, nor log-deviations, of the objective or of a switching model. These two learn
    faster.

    Args:
        model: the joint or switching model.
        objective: a module whose parameters are log-deviations: an objective, or a list of it and a combiner.
        learning_rate: of the network.
        weight_decay: decoupled, of the matrices.

    >>> from segcrf.crf import LinearChainCRF
    >>> from segcrf.encoders import LSTMEncoder
    >>> groups = parameter_groups(JointModel(LSTMEncoder(3), LinearChainCRF(5)), JointObjective(), 1e-2, 0.1)
    >>> [(group["weight_decay"], round(group["lr"], 3)) for group in groups]
    [(0.1, 0.01), (0.0, 0.01), (0.0, 0.03), (0.0, 0.1)]
    """
    deviations = [*objective.parameters(), *(p for name, p in model.named_parameters() if name == "log_sigma")]
    apart = {id(p) for p in (*model.crf.parameters(), *deviations)}
    network = [p for p in model.parameters() if id(p) not in apart]
    return [
        {"params": [p for p in network if p.dim() > 1], "weight_decay": weight_decay, "lr": learning_rate},
        {"params": [p for p in network if p.dim() <= 1], "weight_decay": 0.0, "lr": learning_rate},
        {"params": list(model.crf.parameters()), "weight_decay": 0.0, "lr": CRF_RATE * learning_rate},
        {"params": deviations, "weight_decay": 0.0, "lr": SIGMA_RATE * learning_rate},
    ]


class _Tally:
    """Collects what is predicted for validation windows, and scores it as a user would.

    On recordings of somebody new the likelihood gets worse, as the model grows sure of itself, long before its bands
    do: to stop there gave half the F1 on gestures of unseen people. So bands and errors choose the epoch; and how to
    decode: the factor by which the signal is weighed, and whether by the whole sequence or frame by frame, see
    :class:`segcrf.nn.Decoding`.
    """

    def __init__(self) -> None:
        choices = [(factor, by_frame) for factor in DECODE_FACTORS for by_frame in (False, True)]
        self.predicted: dict[tuple[float, bool], list[Array]] = {choice: [] for choice in choices}
        self.true: list[Array] = []
        self.square, self.known = 0.0, 0

    def add(self, batch: Batch, output: Output) -> None:
        lengths = batch.lengths.tolist()
        self.true += [row[:length] for row, length in zip(batch.labels.cpu().numpy(), lengths, strict=True)]
        for (factor, by_frame), predicted in self.predicted.items():
            decoded = decoding(output.dist, factor, by_frame).labels.cpu().numpy()
            predicted += [row[:length] for row, length in zip(decoded, lengths, strict=True)]
        if batch.targets is not None and output.predictions is not None:
            error = (output.predictions - batch.targets)[~batch.targets.isnan()]
            self.square, self.known = self.square + float(error.square().sum()), self.known + error.numel()

    def scores(self) -> dict[str, float]:
        """Scores in percent and the decoding with which they are best, the mean squared error of standardised targets,
        and what of all this is to be minimised."""
        scores = min(self._each(), key=lambda row: row["error"])
        if self.known:
            scores["mse"] = self.square / self.known
            scores["error"] += min(scores["mse"], 1.0)
        return scores

    def _each(self) -> Generator[dict[str, float], None, None]:
        """Scores of each decoding; of those that agree on every frame, only the first."""
        seen: set[bytes] = set()
        for (factor, by_frame), predicted in self.predicted.items():
            labels = np.concatenate(predicted).tobytes()
            if labels not in seen:
                yield {"decode_factor": factor, "decode_by_frame": float(by_frame), **self._bands(predicted)}
            seen.add(labels)

    def _bands(self, predicted: list[Array]) -> dict[str, float]:
        scores = {
            "accuracy": frame_accuracy(self.true, predicted),
            "edit": edit_score(self.true, predicted),
            "f1": segment_f1(self.true, predicted),
        }
        return {**scores, "error": 1.0 - sum(scores.values()) / 300.0}


class _Task(pl.LightningModule):
    """Model, objective and optimiser as Lightning wants them: one scalar loss, automatic optimisation."""

    def __init__(self, model: Model, objective: Objective, combine: Combiner, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.objective, self.combine, self.recipe = model, objective, combine, recipe
        self.watch = Watch(model.crf.num_classes)  # pyright: ignore[reportArgumentType]
        self.norms: list[Tensor] = []

    def _losses(self, batch: Batch, output: Output, prefix: str) -> tuple[Losses, Tensor]:
        losses = self.objective(output, batch.labels, batch.targets)
        total = self.combine(losses)
        rows = {prefix + name: loss.detach() for name, loss in (losses | {"loss": total}).items()}
        self.log_dict(rows, on_step=False, on_epoch=True, batch_size=int(batch.lengths.sum()))
        return losses, total

    def on_train_epoch_start(self) -> None:
        if isinstance(self.combine, FadingWeights):
            self.combine.at(self.current_epoch / self.recipe.max_epochs)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        signal = batch.signal + self.recipe.noise * torch.randn_like(batch.signal)
        output = self._output(batch, signal, index)
        losses, total = self._losses(batch, output, "")
        if not total.isfinite():
            raise self._not_finite(batch, output, losses, total, index)
        self.watch.losses({name: float(loss.detach()) for name, loss in losses.items()})
        if index == 0:
            self._examine(batch, output, losses)
        return total

    def _output(self, batch: Batch, signal: Tensor, index: int) -> Output:
        try:
            return self.model(signal, batch.lengths)
        except ValueError as error:
            broken = [name for name, p in self.model.named_parameters() if not bool(p.isfinite().all())]
            if not broken:
                raise
            raise ValueError(
                f"the weights of {broken[0]} are no longer finite in epoch {self.current_epoch}, batch {index}, which "
                f"begins with {batch.names[0]}; lower learning_rate, or lower clip"
            ) from error

    def _not_finite(self, batch: Batch, output: Output, losses: Losses, total: Tensor, index: int) -> ValueError:
        wrong = [name for name, loss in losses.items() if not loss.isfinite()] or ["what combines them"]
        each = output.dist.log_prob(batch.labels).detach().isfinite()
        if batch.targets is not None and output.predictions is not None:
            square = torch.where(batch.targets.isnan(), 0.0, output.predictions.detach() - batch.targets).square()
            each = each & square.flatten(1).sum(1).isfinite()
        culprits = [name for name, good in zip(batch.names, each.tolist(), strict=True) if not good]
        where = f"first in {culprits[0]}" if culprits else f"the batch begins with {batch.names[0]}"
        return ValueError(
            f"the training loss became {float(total.detach())} in epoch {self.current_epoch}, batch {index} (found in "
            f"{wrong[0]}; {where}), expected a finite number; lower learning_rate, or lower clip"
        )

    def _examine(self, batch: Batch, output: Output, losses: Losses) -> None:
        """What the first batch of an epoch tells: no pass through the encoder, and one decoding."""
        told = diagnostics.effective_weights(self._peek, losses)
        if output.features.requires_grad:
            told |= diagnostics.feature_gradients(losses, output.features)
        if self.global_step == 0 and "crf" in losses:
            self.watch.scale(float(losses["crf"].detach()) * told["weight_crf"])
        told["bands"] = diagnostics.band_ratio(output.dist, batch.labels)
        log_sigma = self.objective.log_sigma
        if isinstance(self.objective, SwitchingObjective) and isinstance(self.model, SwitchingModel):
            log_sigma = self.model.log_sigma
        if log_sigma is not None:
            told["sigma"] = float(log_sigma.detach().exp().mean())
        self.log_dict(told, on_step=False, on_epoch=True, batch_size=1)

    def _peek(self, losses: Losses) -> Tensor:
        """The combined loss, without a combiner's taking note of it: it has seen this batch."""
        if not isinstance(self.combine, nn.Module):
            return self.combine(losses)
        self.combine.eval()
        try:
            return self.combine(losses)
        finally:
            self.combine.train()

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clips as the trainer would, and remembers by how much."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.norms.append(nn.utils.clip_grad_norm_(parameters, gradient_clip_val or math.inf).detach())

    def clipping(self) -> dict[str, float]:
        """Mean norm of the gradient since it was last asked, and the share of steps where it was cut."""
        norms = torch.stack(self.norms).cpu()
        self.norms.clear()
        limit = self.recipe.clip or math.inf
        return {"gradient": float(norms.mean()), "clipped": float((norms > limit).float().mean())}

    def on_validation_epoch_start(self) -> None:
        self.tally = _Tally()

    def validation_step(self, batch: Batch, _: int) -> None:
        output = self.model(batch.signal, batch.lengths)
        self._losses(batch, output, "val_")
        self.tally.add(batch, output)

    def on_validation_epoch_end(self) -> None:
        scores = self.tally.scores()
        self.model.decode_factor.fill_(scores["decode_factor"])
        self.model.decode_by_frame.fill_(scores["decode_by_frame"])
        self.log_dict({f"val_{name}": value for name, value in scores.items()})

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        learned = nn.ModuleList(m for m in (self.objective, self.combine) if isinstance(m, nn.Module))
        groups = parameter_groups(self.model, learned, recipe.learning_rate, recipe.weight_decay)
        optimiser = torch.optim.AdamW([group for group in groups if group["params"]])
        kept = [*self.model.crf.parameters(), *learned.parameters()]
        self.watch.decay(diagnostics.decay_on_potentials(optimiser.param_groups, kept))
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _warm_up_then_cosine(step / steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _warm_up_then_cosine(progress: float) -> float:
    """Share of the learning rate after this share of the steps."""
    warm = min((progress + 1e-3) / WARM_UP, 1.0)
    return warm * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


class _Record(Callback):
    """Keeps the history and the best weights, in memory and in the checkpoint."""

    def __init__(self, recipe: Recipe, on_best: Callable[[Result], None] | None) -> None:
        self.recipe, self.on_best = recipe, on_best
        self.history: list[dict[str, float]] = []
        self.notes: list[str] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0

    def result(self) -> Result:
        return Result(self.best, self.best_epoch, self.history, self.notes)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, _Task)
        pl_module.watch.notes = self.notes

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Dropout and noise depend on seed and epoch alone, so that a resumed fit goes on exactly as an unbroken one.
        torch.manual_seed(  # pyright: ignore[reportUnknownMemberType]
            self.recipe.seed * 1_000_003 + trainer.current_epoch
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        assert isinstance(pl_module, _Task)
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
        """Whether the last epoch is better than all before; without validation it always is."""
        keys = [(row.get("val_error", -row["epoch"]), row.get("val_loss", 0.0)) for row in self.history]
        return len(keys) == 1 or keys[-1] < min(keys[:-1])

    def state_dict(self) -> dict[str, Any]:
        kept = {"history": self.history, "notes": self.notes, "best": self.best, "best_epoch": self.best_epoch}
        return {**kept, "fingerprint": self.recipe.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history, self.best = state_dict["history"], state_dict["best"]
        self.notes[:] = state_dict["notes"]  # the list that the watch writes to
        self.best_epoch = state_dict["best_epoch"]

    def read(self, checkpoint: Path) -> bool:
        """Takes over what a checkpoint holds, if it is of this fit; returns whether that fit was finished."""
        try:
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"][self.state_key]
            theirs: dict[str, Any] = state["fingerprint"]
        except (RuntimeError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{checkpoint}: expected a checkpoint of Segmenter.fit, found something else ({type(error).__name__}); "
                "remove it, or fit with resume=False"
            ) from error
        ours = self.recipe.fingerprint
        differs = [name for name, value in ours.items() if theirs.get(name) != value]
        if differs:
            was, is_now = (", ".join(f"{name}={of.get(name)!r}" for name in differs) for of in (theirs, ours))
            raise ValueError(
                f"{checkpoint} is of a fit with {was}, got {is_now}; resume with the same data and parameters, or fit "
                "with resume=False"
            )
        self.load_state_dict(state)
        return self._is_finished()

    def _is_finished(self) -> bool:
        waited = len(self.history) - 1 - self.best_epoch
        return len(self.history) >= self.recipe.max_epochs or waited >= self.recipe.patience


class _Checkpoint(Callback):
    """Writes the state of the fit after each epoch, so that a kill at any time leaves the last one whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        draft = self.path.with_suffix(".draft")
        trainer.save_checkpoint(draft)
        os.replace(draft, self.path)


class _Bar(Callback):
    """One bar for the fit, with the losses of both tasks."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        from tqdm.auto import tqdm

        self.told = 0
        assert isinstance(pl_module, _Task)
        title = " ".join(["fit", pl_module.recipe.trial]).strip()
        self.bar = tqdm(total=trainer.max_epochs, initial=trainer.current_epoch, desc=title, unit="epoch", leave=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = ("crf", "regression", "val_crf", "val_regression", "val_f1")
        metrics = trainer.callback_metrics
        shown = {name: f"{float(metrics[name]):.3f}" for name in names if name in metrics}
        self.bar.set_postfix(shown, refresh=False)  # pyright: ignore[reportUnknownMemberType]
        self.bar.update()
        assert isinstance(pl_module, _Task)
        notes = pl_module.watch.notes
        for note in notes[self.told :]:
            self.bar.write(note, file=sys.stderr)
        self.told = len(notes)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.close()


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
    """Fits a model and its objective.

    Args:
        model: a joint or a switching model, changed in place; afterwards it holds the last epoch's weights, not the
            best ones.
        objective: changed likewise.
        combine: turns the losses into the scalar that is minimised.
        recipe: how to train.
        recordings: standardised recordings to learn from, and those that choose the best epoch; where there are none of
            the latter, the last epoch is the best.
        resume: go on from the checkpoint in ``recipe.directory``, if there is one.
        on_best: called with the result so far after each epoch that is better than all before.

    Raises:
        ValueError: a loss or weight is no longer finite, or the checkpoint is of another fit.
    """
    learn, validate = recordings
    record, checkpoint = _Record(recipe, on_best), _checkpoint(recipe)
    sampler = _sampler(learn, recipe)
    windows = grid(validate, VALIDATION_WINDOWS * recipe.window)
    batches = [windows[i : i + recipe.batch_size] for i in range(0, len(windows), recipe.batch_size)]
    begun = checkpoint if resume and checkpoint is not None and checkpoint.exists() else None
    if begun is not None and record.read(begun):
        return record.result()
    with _quiet(), torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
        _trainer(recipe, _callbacks(recipe, record, checkpoint)).fit(
            _Task(model, objective, combine, recipe),
            _loader(learn, sampler),
            _loader(validate, batches) if batches else None,
            ckpt_path=begun,
            weights_only=True,
        )
    return record.result()


def check_resumable(recipe: Recipe) -> None:
    """Refuses a checkpoint that :func:`train` with ``resume=True`` could not go on from; none at all is fine.

    Args:
        recipe: how to train.

    Raises:
        ValueError: the checkpoint is of a fit of other data or with other parameters, or is no such checkpoint.
    """
    checkpoint = _checkpoint(recipe)
    if checkpoint is not None and checkpoint.exists():
        _Record(recipe, None).read(checkpoint)


def _checkpoint(recipe: Recipe) -> Path | None:
    """Where the state of a fit is kept."""
    name = f"{CHECKPOINT}-{recipe.trial}" if recipe.trial else CHECKPOINT
    return None if recipe.directory is None else Path(recipe.directory) / f"{name}.ckpt"


def find_rate(
    begin: Callable[[], tuple[Model, Objective, Combiner]],
    recipe: Recipe,
    recordings: tuple[list[Recording], list[Recording]],
    *,
    rates: Sequence[float] | None = None,
    steps: int | None = None,
) -> dict[float, float]:
    """Tries learning rates in short trainings, each with its warm-up and its fall to zero.

    Why not a range test, one training whose rate grows until the loss explodes? It sees the loss of an untrained model
    under a rate that was in force for a single step, and its suggestion moves with range, seed and smoothing. And
    losses divided by their running means hardly move. A short training is judged by what is wanted in the end, the
    bands and numbers of validation recordings.

    Args:
        begin: makes model, objective and combiner anew, the same ones each time.
        recipe: how to train later; of its length and learning rate nothing is used.
        recordings: those to learn from, and those to choose by.
        rates: to try; None: 0.001, 0.003, 0.01 and 0.03.
        steps: of each trial; None: 128.

    Returns:
        Error of validation by rate, infinite where training broke off: what :func:`train` chooses an epoch by.

    Raises:
        ValueError: there is nothing to choose by; or all trials broke off.

    Source:
        The range test is Smith's, *Cyclical learning rates for training neural networks*, 2017. Short trainings that
        forgo the fall of the rate prefer rates that are too small: Wu et al., *Understanding short-horizon bias in
        stochastic meta-optimization*, 2018.
    """
    if not recordings[1]:
        raise ValueError(
            "learning_rate='auto' chooses by validation recordings, got none; give some, or a validation_fraction "
            "above 0, or a learning rate"
        )
    rates, steps = rates or RATES, steps or TRIAL_STEPS
    batches = len(_sampler(recordings[0], recipe))
    epochs = math.ceil(steps / batches)
    short = replace(
        recipe,
        max_epochs=epochs,
        max_batches=math.ceil(steps / epochs),
        validate_every=epochs,
        patience=epochs,
        directory=None,
        progress=False,
    )
    errors: dict[float, float] = {}
    broken: ValueError | None = None
    for rate in rates:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", TrainingWarning)
                history = train(*begin(), replace(short, learning_rate=rate), recordings).history
            errors[rate] = history[-1]["val_error"]
        except ValueError as error:  # not finite: the next larger rate will hardly be
            broken, errors[rate] = error, math.inf
    if broken is not None and not any(map(math.isfinite, errors.values())):
        raise broken
    return errors


def _sampler(recordings: list[Recording], recipe: Recipe) -> RandomWindows:
    options: dict[str, Any] = {"min_batches": MIN_BATCHES, "balance": recipe.balance, "seed": recipe.seed}
    return RandomWindows(recordings, recipe.window, recipe.batch_size, **options)


def _callbacks(recipe: Recipe, record: _Record, checkpoint: Path | None) -> list[Callback]:
    callbacks: list[Callback] = [record]
    if recipe.progress:
        callbacks.append(_Bar())
    if checkpoint is not None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        callbacks.append(_Checkpoint(checkpoint))
    return callbacks


def _loader(recordings: list[Recording], batches: Any) -> DataLoader[list[Recording]]:
    # A generator of its own: an iterator would otherwise draw from the global one, at other times when resumed.
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


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Keeps Lightning's greetings and hints to itself, and gives the interrupt key back to its owner."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning")]
    levels = [logger.level for logger in loggers]
    on_interrupt = signal.getsignal(signal.SIGINT)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    except SystemExit as error:  # Lightning turns an interrupt into an exit, and ignores interrupts from then on
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
