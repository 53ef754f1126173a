"""Lightning module: one training step, its diagnostics, validation and the optimiser."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from segcrf._validation import InputError
from segcrf.data import Batch
from segcrf.losses import Combiner, FadingWeights, Losses, SwitchingObjective
from segcrf.nn import DecodingRule, SwitchingModel
from segcrf.training import diagnostics
from segcrf.training.diagnostics import Watch
from segcrf.training.optimizer import parameter_groups, warm_up_then_cosine
from segcrf.training.recipe import Model, Objective, Output, Recipe
from segcrf.training.validation import ValidationScores

__all__ = ["Task"]


class Task(pl.LightningModule):
    """Model, objective and optimiser as Lightning needs them: one scalar loss, automatic optimisation.

    Args:
        model: a joint or a switching model.
        objective: its losses.
        combine: turns the losses into the scalar that is minimised.
        recipe: how to train.

    Attributes:
        watch: collects the notes of the run.
    """

    def __init__(self, model: Model, objective: Objective, combine: Combiner, recipe: Recipe) -> None:
        super().__init__()
        self.model, self.objective, self.combine, self.recipe = model, objective, combine, recipe
        self.watch = Watch(model.crf.num_classes)  # pyright: ignore[reportArgumentType]
        self.norms: list[Tensor] = []

    # ----------------------------------------------------------------------------------------------- training
    def on_train_epoch_start(self) -> None:
        if isinstance(self.combine, FadingWeights):
            self.combine.at(self.current_epoch / self.recipe.max_epochs)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        signal = batch.signal + self.recipe.noise * torch.randn_like(batch.signal)
        output = self._output(batch, signal, index)
        losses, total = self._losses(batch, output, "")
        if not total.isfinite():
            raise self._not_finite(batch, output, losses, total, index)
        self.watch.check_losses({name: float(loss.detach()) for name, loss in losses.items()})
        if index == 0:
            self._diagnose(batch, output, losses)
        return total

    def _output(self, batch: Batch, signal: Tensor, index: int) -> Output:
        """Run the model, and name the parameter if it fails because one is not finite."""
        try:
            return self.model.from_prepared(signal, batch.lengths)
        except ValueError as error:
            broken = [name for name, p in self.model.named_parameters() if not bool(p.isfinite().all())]
            if not broken:
                raise
            raise InputError(
                f"the weights of {broken[0]}",
                f"values that are not finite in epoch {self.current_epoch}, batch {index}, which begins with "
                f"{batch.names[0]}",
                "finite numbers",
                "lower learning_rate, or lower clip",
            ) from error

    def _losses(self, batch: Batch, output: Output, prefix: str) -> tuple[Losses, Tensor]:
        """Compute and log the named losses and their combination."""
        losses = self.objective(output, batch.labels, batch.targets)
        total = self.combine(losses)
        rows = {prefix + name: loss.detach() for name, loss in (losses | {"loss": total}).items()}
        self.log_dict(rows, on_step=False, on_epoch=True, batch_size=int(batch.lengths.sum()))
        return losses, total

    def _not_finite(self, batch: Batch, output: Output, losses: Losses, total: Tensor, index: int) -> InputError:
        """Return the error for a loss that is not finite: which loss it is, and the first recording with it."""
        wrong = [name for name, loss in losses.items() if not loss.isfinite()] or ["the combined loss"]
        finite = output.dist.log_prob(batch.labels).detach().isfinite()
        if batch.targets is not None and output.predictions is not None:
            square = torch.where(batch.targets.isnan(), 0.0, output.predictions.detach() - batch.targets).square()
            finite = finite & square.flatten(1).sum(1).isfinite()
        culprits = [name for name, good in zip(batch.names, finite.tolist(), strict=True) if not good]
        where = f"first in {culprits[0]}" if culprits else f"the batch begins with {batch.names[0]}"
        got = f"{float(total.detach())} in epoch {self.current_epoch}, batch {index} (found in {wrong[0]}; {where})"
        return InputError("the training loss", got, "a finite number", "lower learning_rate, or lower clip")

    def _diagnose(self, batch: Batch, output: Output, losses: Losses) -> None:
        """Log the diagnostics of an epoch's first batch: no pass through the encoder, and one decoding."""
        row = diagnostics.effective_weights(self._combine_unobserved, losses)
        if output.features.requires_grad:
            row |= diagnostics.feature_gradients(losses, output.features)
        if self.global_step == 0 and "crf" in losses:
            self.watch.check_scale(float(losses["crf"].detach()) * row["weight_crf"])
        row["bands"] = diagnostics.decoded_band_ratio(output.dist, batch.labels)
        log_sigma = self.objective.log_sigma
        if isinstance(self.objective, SwitchingObjective) and isinstance(self.model, SwitchingModel):
            log_sigma = self.model.log_sigma
        if log_sigma is not None:
            row["sigma"] = float(log_sigma.detach().exp().mean())
        self.log_dict(row, on_step=False, on_epoch=True, batch_size=1)

    def _combine_unobserved(self, losses: Losses) -> Tensor:
        """Return the combined loss without an update of the combiner, which has observed this batch already."""
        if not isinstance(self.combine, nn.Module):
            return self.combine(losses)
        self.combine.eval()
        try:
            return self.combine(losses)
        finally:
            self.combine.train()

    # ------------------------------------------------------------------------------------------------ clipping
    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip as the trainer would, and record the norm."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.norms.append(nn.utils.clip_grad_norm_(parameters, gradient_clip_val or math.inf).detach())

    def clipping(self) -> dict[str, float]:
        """Return the mean norm of the gradient since the last call, and the share of steps where it was cut."""
        norms = torch.stack(self.norms).cpu()
        self.norms.clear()
        limit = self.recipe.clip or math.inf
        return {"gradient": float(norms.mean()), "clipped": float((norms > limit).float().mean())}

    # ---------------------------------------------------------------------------------------------- validation
    def on_validation_epoch_start(self) -> None:
        self.validation = ValidationScores(self.recipe.rules, self.recipe.optimize)

    def validation_step(self, batch: Batch, _: int) -> None:
        output = self.model.from_prepared(batch.signal, batch.lengths)
        self._losses(batch, output, "val_")
        self.validation.add(batch, output)

    def on_validation_epoch_end(self) -> None:
        scores = self.validation.scores()
        chosen = scores["decode_factor"], bool(scores["decode_by_frame"])
        self.model.set_decoding_rule(DecodingRule(*chosen, self.recipe.rules[0].max_delay))
        self.log_dict({f"val_{name}": value for name, value in scores.items()})

    # ----------------------------------------------------------------------------------------------- optimiser
    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        learned = nn.ModuleList(m for m in (self.objective, self.combine) if isinstance(m, nn.Module))
        groups = parameter_groups(self.model, learned, recipe.learning_rate, recipe.weight_decay)
        optimiser = torch.optim.AdamW([group for group in groups if group["params"]])
        potentials = [*self.model.crf.parameters(), *learned.parameters()]
        self.watch.check_decay(diagnostics.decay_on_potentials(optimiser.param_groups, potentials))
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_up_then_cosine(step / steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
