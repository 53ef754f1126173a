"""The parameters of a :class:`segcrf.Segmenter`: one table of defaults, checks and help.

The Segmenter validates by this table; its constructor and docstring agree with it (a test compares them); the command
line makes its options and their help from it. Nothing here needs Lightning.
"""

# ruff: noqa: RUF009 - the rows of the table are dataclass fields
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segcrf._validation import (
    InputError,
    InputTypeError,
    check_choice,
    check_number,
    check_positive,
    check_share,
    check_whole,
    frames_per_second,
)
from segcrf.losses import FORMS, REGRESSIONS, Combiner
from segcrf.nn import ENCODERS, MISSING, DecodingRule
from segcrf.structures import POSTERIORS
from segcrf.training.rules import DECODINGS, OPTIMIZED, check_decoding

__all__ = ["CUSTOM", "PARAMETERS", "Parameter", "Parameters", "check_parameters", "to_plain"]

STRUCTURES = ("linear-chain", "semi-markov")
#: Steps of the short trainings of the first round, by the name of a budget.
BUDGETS = {"quick": 32, "default": 96, "thorough": 256}
STANDARDIZATIONS = ("dataset", "recording")
COMBINERS = ("sum", "running-mean", "uncertainty")
SWITCHING = ("mean", *FORMS)
# These losses are above zero, as a combiner that divides by them requires.
ERRORS = ("mse", "smooth_l1")
# A model folder stores this in place of a combiner, encoder or preparation without a name: these are programs, and
# programs are never stored.
CUSTOM = "custom"

Rule = Callable[[Any, str], object]


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Args:
        default: value of a Segmenter that is not given another.
        help: one line for documentation and command line.
        rule: raises for a value that cannot be used; it gets the value and the parameter's name.
        special: values that are accepted without the rule, such as None or ``"auto"``.
        choices: the names that are accepted, where the parameter is a name.
        kind: type of the value, as the command line reads it.
        command_line: whether ``segcrf fit`` offers it.
        name: of the parameter.
    """

    default: Any
    help: str
    rule: Rule
    special: tuple[str | None, ...] = ()
    choices: tuple[str, ...] = ()
    kind: type = str
    command_line: bool = True
    name: str = ""

    def check(self, value: Any) -> None:
        """Raise unless the parameter may have this value.

        Raises:
            InputError: the value is out of range, or an unknown name.
            InputTypeError: the value is of another kind.

        Example:
            >>> PARAMETERS["layers"].check(None)
            >>> PARAMETERS["layers"].check(0)
            Traceback (most recent call last):
            segcrf._validation.InputError: layers: got 0, expected an integer of 1 or more, or None
        """
        if (value is None or isinstance(value, str)) and value in self.special:
            return
        try:
            self.rule(value, self.name)
        except (InputError, InputTypeError) as error:
            others = [repr(each) for each in self.special if repr(each) not in error.expected]
            error.expected += "".join(f", or {each}" for each in others)
            raise


# --------------------------------------------------------------------------------------------------- kinds of rows
def _row(default: Any, help: str, rule: Rule, **more: Any) -> Any:  # noqa: A002 - as argparse names it
    return field(default=default, metadata={"parameter": Parameter(default, help, rule, **more)})


def _name(default: Any, names: Sequence[str], help: str, **more: Any) -> Any:  # noqa: A002
    special = more.get("special", ())
    known = (*(each for each in special if each is not None), *names)
    return _row(default, help, lambda value, name: check_choice(value, name, known), choices=known, **more)


def _flag(default: bool, help: str) -> Any:  # noqa: A002
    return _row(default, help, lambda value, name: check_choice(value, name, (True, False)), kind=bool)


def _whole(default: Any, lowest: int, help: str, **more: Any) -> Any:  # noqa: A002
    return _row(default, help, lambda value, name: check_whole(value, name, lowest), kind=int, **more)


def _number(default: Any, help: str, **more: Any) -> Any:  # noqa: A002
    return _row(default, help, lambda value, name: check_number(value, name, 0.0), kind=float, **more)


def _share(default: float, help: str) -> Any:  # noqa: A002
    return _row(default, help, check_share, kind=float)


def _check_combine(value: Any, name: str) -> None:
    if isinstance(value, str):
        check_choice(value, name, ("auto", *COMBINERS, CUSTOM))
    elif not isinstance(value, Mapping) and not callable(value):
        expected = f"one of {', '.join(map(repr, COMBINERS))}, a dict of weights by name of the loss, or a callable"
        raise InputTypeError(name, type(value).__name__, expected, "a callable makes a scalar of the named losses")


def _check_encoder(value: Any, name: str) -> None:
    if isinstance(value, str) and value != CUSTOM:
        check_choice(value, name, ("auto", *ENCODERS))
    elif not callable(value):
        if value == CUSTOM:
            got, advice = "'custom', which stands for a module", "set_params(encoder=...) with it to fit again"
            raise InputError(name, got, "the module itself, or a callable that builds it", advice)
        expected = f"one of {', '.join(map(repr, ENCODERS))}, an nn.Module, or a callable from the channels to a module"
        raise InputTypeError(name, type(value).__name__, expected)


def _check_prepare(value: Any, name: str) -> None:
    if value == CUSTOM:
        got, advice = "'custom', which stands for a module", "set_params(prepare=...) with it to fit again"
        raise InputError(name, got, "the module itself, or a callable that builds it", advice)
    if isinstance(value, str):
        check_choice(value, name, ("auto",))
    elif not callable(value):
        expected = "'auto', an nn.Module, or a callable from the channels to a module"
        raise InputTypeError(name, type(value).__name__, expected)


def _check_device(value: object, name: str) -> None:
    """Raise for a device that this machine does not have."""
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    try:
        device = torch.device(value) if isinstance(value, str | torch.device) else None
    except RuntimeError:
        device = None
    if device is None or (device.index or 0) >= counts.get(device.type, 0):
        here = [f"{kind}:{i}" if kind == "cuda" else kind for kind, count in counts.items() for i in range(count)]
        raise InputError(name, repr(value), f"a device that this machine has: {', '.join(map(repr, here))}")


def _check_directory(value: Any, name: str) -> None:
    """Raise for what is not a folder, and for a folder that cannot be made or written to."""
    if not isinstance(value, str | os.PathLike):
        raise InputTypeError(name, repr(value), "the path of a folder")
    path = Path(value).absolute()  # pyright: ignore[reportUnknownArgumentType]
    nearest = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    got = repr(str(value))
    if not nearest.is_dir():
        raise InputError(name, got, "a folder", f"{nearest} is a file: choose another folder, or move it")
    if not os.access(nearest, os.W_OK | os.X_OK):
        advice = f"{nearest} is not writable: choose another folder, or change its permissions"
        raise InputError(name, got, "a folder that can be written to", advice)


def _check_sampling_rate(value: Any, _: str) -> None:
    frames_per_second(value)


def _check_later(*_: Any) -> None:
    """Accept everything: the value is checked together with the data."""


# ------------------------------------------------------------------------------------------------------- the table
@dataclass(frozen=True)
class Parameters:
    """All parameters of a Segmenter by name; :data:`PARAMETERS` describes each of them."""

    structure: str = _name("linear-chain", STRUCTURES, "structured layer", special=("auto",))
    encoder: str | nn.Module | Callable[[int], nn.Module] = _row(
        "lstm", "encoder of the signal", _check_encoder, choices=("auto", *ENCODERS)
    )
    hidden: int = _whole(64, 1, "features per frame and direction")
    layers: int | None = _whole(None, 1, "layers of the encoder", special=(None,))
    bidirectional: bool = _flag(True, "whether the class of a frame may depend on later frames")
    dropout: float = _share(0.3, "probability that a feature is dropped for a whole window")
    noise: float = _number(
        0.1, "deviation of the noise added to the standardised signal in training", command_line=False
    )
    standardize: str = _name(
        "auto", STANDARDIZATIONS, "standardise channels by the mean and deviation of", special=("auto",)
    )
    prepare: str | nn.Module | Callable[[int], nn.Module] | None = _row(
        "auto", "what is made of the standardised channels", _check_prepare, special=(None,), choices=("auto",),
        command_line=False,
    )  # fmt: skip
    missing: str = _name(
        "auto", (*MISSING, "flag"), "what replaces missing values (NaN) of the signal", special=("auto",)
    )
    frame_loss: float | str = _number(
        "auto", "initial weight of a cross-entropy of single frames, which fades", special=("auto",)
    )
    regression: str = _name("auto", REGRESSIONS, "loss of the targets", special=("auto",))
    combine: str | Mapping[str, float] | Combiner = _row(
        "auto", "combination of the losses of labels and targets", _check_combine, choices=("auto", *COMBINERS)
    )
    switching: str | None = _name(None, SWITCHING, "regression per class, trained by this form", special=(None,))
    posterior: str | None = _name(
        None, POSTERIORS, "class probability that mixes the regressions of a switching model", special=(None,)
    )
    decoding: str | DecodingRule | Mapping[str, Any] = _row(
        "auto", "how labels are read off the probabilities",
        check_decoding, choices=tuple(DECODINGS),
    )  # fmt: skip
    max_delay: int | None = _whole(None, 0, "frames after which a label is decided, for live use", special=(None,))
    sampling_rate: float | None = _row(None, "frames per second", _check_sampling_rate, command_line=False)
    classes: Sequence[str] | None = _row(None, "names of the classes, in order", _check_later, command_line=False)
    budget: str = _name("default", tuple(BUDGETS), "how long short trainings compare encoders and structures")
    max_epochs: int = _whole(30, 1, "largest number of epochs")
    batch_size: int = _whole(16, 1, "windows per step")
    window: int = _whole(256, 2, "frames of a training window")
    balance: float | None = _row(
        None, "largest number of windows of the commonest class alone, per other window",
        check_positive, special=(None,), kind=float,
    )  # fmt: skip
    learning_rate: float | str | None = _number(None, "largest learning rate", special=(None, "auto"))
    weight_decay: float = _number(1e-2, "decoupled weight decay, of matrices only", command_line=False)
    patience: int = _whole(15, 1, "epochs without improvement after which training ends")
    clip: float = _number(1.0, "largest norm of the gradient", command_line=False)
    validation_fraction: float = _share(0.2, "share of the recordings held out to choose the best epoch")
    optimize: str = _name("bands", tuple(OPTIMIZED), "score of validation recordings that chooses among models")
    seed: int = _whole(0, 0, "seed of everything that is random")
    device: str | torch.device = _row("cpu", "cpu, cuda, cuda:1 or another device", _check_device)
    directory: str | os.PathLike[str] | None = _row(
        None, "folder of the checkpoint and of the best model so far", _check_directory, special=(None,),
        command_line=False,
    )  # fmt: skip
    progress: bool = _flag(True, "whether to show a progress bar")

    @property
    def chosen_regression(self) -> str:
        """The loss of the targets, after ``"auto"`` is replaced."""
        if self.regression != "auto":
            return self.regression
        return "gaussian" if self.switching in FORMS else "mse"

    @property
    def chosen_combiner(self) -> str:
        """The name of the combiner, after ``"auto"`` is replaced; ``CUSTOM`` for a dict or a callable."""
        if not isinstance(self.combine, str):
            return CUSTOM
        if self.combine != "auto":
            return self.combine
        return "running-mean" if self.chosen_regression in ERRORS else "sum"

    def to_dict(self) -> dict[str, Any]:
        """Return copies of all parameters in a form that JSON can hold."""
        return {each.name: to_plain(getattr(self, each.name)) for each in fields(self)}

    def to_builtin(self) -> Parameters:
        """Return the same parameters as Python's own numbers and text, which PyTorch and checkpoints require."""
        return replace(Parameters(**self.to_dict()), combine=self.combine, encoder=self.encoder, prepare=self.prepare)


#: Every parameter by name, in the order of the constructor.
PARAMETERS: dict[str, Parameter] = {
    each.name: replace(each.metadata["parameter"], name=each.name) for each in fields(Parameters)
}


def to_plain(value: Any) -> Any:
    """Return a parameter in a form that JSON can hold.

    Example:
        >>> to_plain({"regression": np.float32(0.5)}), to_plain(torch.device("cpu")), to_plain(print)
        ({'regression': 0.5}, 'cpu', 'custom')
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, DecodingRule):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(name): to_plain(each) for name, each in value.items()}
    if callable(value):
        return CUSTOM
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, torch.device):
        return str(value)
    return np.asarray(value).tolist()


# ---------------------------------------------------------------------------------------------------------- checks
def check_parameters(parameters: Parameters) -> None:
    """Raise unless a Segmenter can be fitted with these parameters.

    Args:
        parameters: as they were given.

    Raises:
        InputError: a value is out of range, or two values exclude each other; ``argument`` is the parameter's name.
        InputTypeError: a value is of another kind.

    Example:
        >>> check_parameters(Parameters(structure="tree"))
        Traceback (most recent call last):
        segcrf._validation.InputError: structure: got 'tree', expected one of 'auto', 'linear-chain', 'semi-markov'
    """
    for name, parameter in PARAMETERS.items():
        parameter.check(getattr(parameters, name))
    _check_losses(parameters)
    _check_delay(parameters)
    if parameters.switching is not None:
        _check_switching(parameters)
    elif parameters.posterior is not None:
        advice = "one regression for all classes mixes nothing: give switching='mean', or leave posterior out"
        raise InputError("posterior", f"{parameters.posterior!r} with switching=None", "None", advice)


def _check_losses(parameters: Parameters) -> None:
    """Raise for a combiner that cannot combine the loss of the targets."""
    fitting = {"running-mean": ERRORS, "uncertainty": ("mse",)}.get(parameters.chosen_combiner, REGRESSIONS)
    regression = parameters.chosen_regression
    if regression not in fitting:
        raise InputError(
            "combine",
            f"{parameters.combine!r} with regression={regression!r}",
            f"regression to be one of {', '.join(map(repr, fitting))}, with losses above zero",
            "or give combine='sum', which adds up log-likelihoods",
        )


def _check_delay(parameters: Parameters) -> None:
    """Raise for a largest delay that other parameters exclude."""
    delay = parameters.max_delay
    if delay is None:
        return
    own = not isinstance(parameters.encoder, str)
    for name, needed, wrong in (
        ("bidirectional", False, parameters.bidirectional and not own),
        ("standardize", "dataset", parameters.standardize == "recording"),
        ("missing", "hold", parameters.missing == "interpolate"),
        ("decoding", "frame", delay == 0 and parameters.decoding == "sequence"),
    ):
        if wrong:
            got = f"{delay} with {name}={getattr(parameters, name)!r}"
            advice = "what comes later is unknown when a frame is decided"
            raise InputError("max_delay", got, f"{name}={needed!r}", advice)


def _check_switching(parameters: Parameters) -> None:
    """Raise for parameters that a regression per class excludes."""
    switching, regression = parameters.switching, parameters.regression
    if parameters.posterior is None:
        expected = f"one of {', '.join(map(repr, POSTERIORS))}"
        advice = "give 'filter' if the targets lie in the future of the signal, else 'smooth'"
        raise InputError("posterior", f"None with switching={switching!r}", expected, advice)
    if parameters.posterior == "filter" and parameters.bidirectional:
        raise InputError(
            "posterior",
            "'filter' with bidirectional=True",
            "bidirectional=False",
            "features of a bidirectional encoder depend on the future, which the filter must not know: give "
            "bidirectional=False, or posterior='smooth' if nothing is forecast",
        )
    allowed = ("gaussian",) if switching in FORMS else tuple(each for each in REGRESSIONS if each != "beta_nll")
    if parameters.chosen_regression not in allowed:
        expected = f"'auto' or one of {', '.join(map(repr, allowed))}"
        raise InputError("regression", f"{regression!r} with switching={switching!r}", expected, "leave regression out")
