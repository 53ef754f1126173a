"""What a fit leaves: everything that prediction and storage need, as numbers and text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segcrf._validation import InputError
from segcrf.data import ClassCoder
from segcrf.nn import ChannelPlan, JointModel, SwitchingModel, import_path_of
from segcrf.training.building import Sizes, build_model
from segcrf.training.parameters import CUSTOM, Parameters

__all__ = ["SCORES", "Setting", "Trained"]

# Tensors of scores, where -inf is not damage: it forbids a transition or a duration.
SCORES = tuple(f"model.crf.{name}" for name in ("transitions", "start", "end", "durations.table"))


@dataclass(frozen=True, eq=False)
class Setting:
    """What is decided before training.

    Args:
        parameters: of the Segmenter, as plain values.
        coder: the classes, and how labels are written.
        sizes: of the model.
    """

    parameters: Parameters
    coder: ClassCoder
    sizes: Sizes


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model.

    Args:
        setting: what was decided before training.
        frame_loss: weight of the loss of frames that was chosen.
        learning_rate: learning rate that was chosen.
        weights: state of the model at the best epoch, by name.
        history: one dict per epoch, drawn by :func:`segcrf.plot.history`. ``epoch``, ``loss``, ``crf`` and
            ``regression``, the same with ``val_``, and ``learning_rate``: losses are per valid frame, in nats; those of
            targets are of standardised targets. ``gradient`` is the mean norm of the gradient, ``clipped`` the share of
            steps where it was cut. Of the first batch of the epoch: ``weight_crf`` and ``weight_regression``, the
            change of the total per unit of a loss; ``gradient_crf`` and ``gradient_regression``, the norm of the
            gradient of each loss at the shared features, and ``cosine``, the cosine between these gradients; ``sigma``,
            the mean deviation of the targets; ``bands``, decoded bands per true band. On validation recordings:
            ``val_f1``, ``val_edit``, ``val_accuracy``, ``val_mse``, where it is optimised ``val_boundary``, and the
            ``val_error`` made of those that ``optimize`` names;
            ``val_decode_factor``, by how much decoding weighs the emissions; ``val_decode_by_frame``, 1 where the
            decoding rule takes the most probable class of each frame, 0 for the most probable sequence.
        best_epoch: the epoch with the least ``val_error``.
        notes: warnings and explanations of training, each once.
        table: columns and sampling rate of the table that the recordings were read from, see
            :func:`segcrf.data.columns_to_config`; None if they were given as arrays.
    """

    setting: Setting
    frame_loss: float
    learning_rate: float
    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    best_epoch: int
    notes: list[str]
    table: dict[str, Any] | None = None

    def build_model(self, device: str | torch.device) -> JointModel | SwitchingModel:
        """Build the model with these weights, on a device and in evaluation mode."""
        with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
            model = build_model(self.setting.parameters, self.setting.sizes, self.frame_loss)
        model.load_state_dict(self.weights)
        return model.to(device).eval()

    def to_config(self) -> dict[str, Any]:
        """Return everything but the tensors in a form that JSON can hold."""
        coder, sizes = self.setting.coder, self.setting.sizes
        parameters, encoder = self.setting.parameters, self.setting.parameters.encoder
        prepare = parameters.prepare
        return {
            "parameters": parameters.to_dict() | {"directory": None},  # a path of the machine that fitted
            "encoder": sizes.encoder_name if isinstance(encoder, str) else import_path_of(encoder),
            "classes": coder.classes.tolist(),
            "labels": "name" if coder.named else "index",
            "channels": sizes.num_channels,
            "targets": sizes.num_targets,
            "max_duration": sizes.max_duration,
            "encoder_sizes": dict(sizes.encoder),
            "standardize": "recording" if sizes.per_recording else "dataset",
            "prepare": prepare if prepare is None or isinstance(prepare, str) else import_path_of(prepare),
            "missing": sizes.missing,
            "plan": asdict(sizes.plan),
            "frame_loss": self.frame_loss,
            "learning_rate": self.learning_rate,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "notes": self.notes,
            "table": self.table,
        }

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the state of the model, scales of channels and targets included, by name."""
        return {f"model.{name}": tensor for name, tensor in self.weights.items()}

    @classmethod
    def restore(
        cls, config: dict[str, Any], tensors: dict[str, Tensor], encoder: Any = None, prepare: Any = None
    ) -> Trained:
        """Return what :meth:`to_config` and :meth:`to_tensors` were made of.

        Args:
            config: the one.
            tensors: the other.
            encoder: the module or callable that stands behind an encoder that is not one of this library.
            prepare: the module or callable that stands behind a preparation of the user.

        Raises:
            InputError: there is such an encoder or preparation, and the argument is missing; or there is none.
            KeyError, TypeError: something is missing, or there is something else.
        """
        own = {"encoder": encoder, "prepare": prepare}
        for name, given in own.items():
            _check_given(config, name, given)
        given = {name: each for name, each in own.items() if each is not None}
        config = config | {"parameters": config["parameters"] | given}
        coder = ClassCoder(np.array(config["classes"]), config["labels"] == "name")
        sizes = Sizes(
            num_classes=len(coder.classes),
            num_channels=config["channels"],
            num_targets=config["targets"],
            max_duration=config["max_duration"],
            per_recording=config["standardize"] == "recording",
            encoder_name=config["encoder"],
            encoder=config["encoder_sizes"],
            missing=config["missing"],
            plan=ChannelPlan.from_dict(config["plan"]),
        )
        start = "model."
        return cls(
            Setting(Parameters(**config["parameters"]), coder, sizes),
            config["frame_loss"],
            config["learning_rate"],
            {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)},
            config["history"],
            config["best_epoch"],
            config["notes"],
            config["table"],
        )


def _check_given(config: dict[str, Any], name: str, given: Any) -> None:
    """Raise for a module of the user that a model needs and that is not given, and for one that is given needlessly."""
    own = config["parameters"][name] == CUSTOM
    if own and given is None:
        advice = f"models hold no program: pass its class, or a function that builds it, as {name}="
        raise InputError(name, "None", f"the {name} of this model, {config[name]}", advice)
    if not own and given is not None:
        raise InputError(name, repr(given), f"None: this model has the {name} {config[name]!r}")
