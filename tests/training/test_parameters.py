"""Parameters: one table, which the constructor and the docstring agree with, and what it rejects."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from segmenters import SMALL, examples, recordings

from segcrf import InputTypeError, Segmenter
from segcrf.testing.errors import rejects
from segcrf.training import PARAMETERS, Parameters, check_parameters, loop

pytestmark = pytest.mark.usefixtures("short_epochs")


# ------------------------------------------------------------------------------------------------------- the table
def test_the_constructor_has_the_parameters_and_defaults_of_the_table() -> None:
    signature = list(inspect.signature(Segmenter).parameters.values())
    assert [each.name for each in signature] == list(PARAMETERS)
    assert {each.name: each.default for each in signature} == {name: row.default for name, row in PARAMETERS.items()}
    assert all(each.kind is each.KEYWORD_ONLY for each in signature)
    assert Segmenter().get_params() == vars(Parameters())
    check_parameters(Parameters())


def test_the_docstring_describes_each_parameter_as_the_table_does() -> None:
    text = inspect.getdoc(Segmenter) or ""
    arguments = text[text.index("Args:") : text.index("Attributes:")]
    described = {
        name: " ".join(doc.split()) for name, doc in re.findall(r"\n {4}(\w+): ((?:.|\n {8}|\n\n)+)", arguments)
    }
    assert list(described) == list(PARAMETERS)
    for name, row in PARAMETERS.items():
        assert described[name].startswith(row.help), f"{name}: {described[name]!r} does not begin with {row.help!r}"
        assert len(row.help) < 80 and "\n" not in row.help


def test_names_that_a_parameter_accepts_are_listed() -> None:
    for name, row in PARAMETERS.items():
        for choice in row.choices:
            row.check(choice)
        for special in row.special:
            row.check(special)
        assert row.name == name
    assert PARAMETERS["regression"].choices[0] == "auto"


# -------------------------------------------------------------------------------------------------- what it rejects
@pytest.mark.parametrize(
    ("options", "argument", "got", "expected"),
    [
        ({"encoder": "mlp"}, "encoder", "'mlp'", "one of 'auto', 'lstm', 'gru', 'tcn'"),
        ({"structure": "tree"}, "structure", "'tree'", "one of 'auto', 'linear-chain'"),
        ({"regression": None}, "regression", "None", "one of 'auto', "),
        ({"hidden": 0}, "hidden", "0", "an integer of 1 or more"),
        ({"hidden": "64"}, "hidden", "'64'", "an integer of 1 or more"),
        ({"layers": 0}, "layers", "0", "an integer of 1 or more, or None"),
        ({"window": 1}, "window", "1", "an integer of 2 or more"),
        ({"bidirectional": "no"}, "bidirectional", "'no'", "one of True, False"),
        ({"progress": "no"}, "progress", "'no'", "one of True, False"),
        ({"dropout": 1.0}, "dropout", "1.0", "a share from 0 to below 1"),
        ({"balance": 0.0}, "balance", "0.0", "above 0, or None"),
        ({"learning_rate": -1.0}, "learning_rate", "-1.0", "0 or more, or None, or 'auto'"),
        ({"frame_loss": "much"}, "frame_loss", "'much'", "0 or more, or 'auto'"),
        ({"sampling_rate": 0.0}, "sampling_rate", "0.0", "above 0"),
        ({"sampling_rate": "fast"}, "sampling_rate", "'fast'", "frames per second"),
        ({"combine": "mean"}, "combine", "'mean'", "one of 'auto', 'sum'"),
        ({"combine": "running-mean", "regression": "gaussian"}, "combine", "'running-mean' with", "'mse', 'smooth_l1'"),
        ({"combine": "uncertainty", "regression": "student_t"}, "combine", "regression='student_t'", "one of 'mse'"),
        ({"combine": {"loss": 2.0}}, "combine", "the loss 'loss'", "one of 'crf', 'regression'"),
        ({"combine": {"crf": "much"}}, r"combine\['crf'\]", "'much'", "a finite number"),
        ({"switching": "sum"}, "switching", "'sum'", "one of 'mean', 'likelihood', 'predictive'"),
        ({"switching": "mean"}, "posterior", "None with switching='mean'", "one of 'filter', 'smooth'"),
        ({"posterior": "smooth"}, "posterior", "'smooth' with switching=None", "None"),
        ({"switching": "mean", "posterior": "filter"}, "posterior", "'filter' with bidirectional", "False"),
        ({"switching": "likelihood", "posterior": "smooth", "regression": "mse"}, "regression", "'mse' with", "'auto'"),
        ({"classes": ["a", "a", "b"]}, "classes", "repeated names", ""),
        ({"classes": ["a", "b"]}, "y", "2", "0 to 1"),
        ({"classes": []}, "classes", "an empty list", "names"),
        ({"classes": ["a", "b", ""]}, "classes", "'' in", "marks a frame without a label"),
        ({"device": "gpu"}, "device", "'gpu'", "a device that this machine has: 'cpu'"),
        ({"device": None}, "device", "None", "a device"),
        ({"device": "cpu:1"}, "device", "'cpu:1'", "a device"),
        ({"device": f"cuda:{torch.cuda.device_count()}"}, "device", "'cuda:[0-9]+'", "a device"),
    ],
)
def test_bad_parameters_are_rejected(options: dict[str, Any], argument: str, got: str, expected: str) -> None:
    with rejects(f"^{argument}$", got=got, expected=expected):
        Segmenter(**SMALL | options).fit(**examples())


@pytest.mark.parametrize(
    ("options", "argument", "got"),
    [
        ({"combine": 3}, "combine", "int"),
        ({"directory": 3}, "directory", "3"),
        ({"classes": "abc"}, "classes", "'abc'"),
    ],
)
def test_parameters_of_another_kind_are_rejected(options: dict[str, Any], argument: str, got: str) -> None:
    with rejects(argument, got=got, kind=InputTypeError):
        Segmenter(**SMALL | options).fit(**examples())


def test_a_mixture_without_parts_is_rejected() -> None:
    X, labels, _ = recordings(3)
    with rejects("switching", got="'mean' without targets", advice="targets="):
        Segmenter(**SMALL, switching="mean", posterior="smooth").fit(X, labels)
    with rejects("combine", got="the loss 'regression'", expected="one of 'crf'"):
        Segmenter(**SMALL, combine={"regression": 2.0}).fit(X, labels)
    fitted = Segmenter(**SMALL | {"max_epochs": 1}).fit(**examples(3))
    with rejects("posterior", got="'smooth'", advice="one regression for all classes"):
        fitted.predict_targets(X, posterior="smooth")


def test_a_directory_that_cannot_be_written_to_is_rejected_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(loop, "train", train)
    (tmp_path / "file").write_text("text")
    (tmp_path / "full" / "best").mkdir(parents=True)
    (tmp_path / "full" / "best" / "thesis.tex").write_text("text")
    data = examples()
    for directory in (tmp_path / "file", str(tmp_path / "file" / "new")):
        with rejects("directory", got=re.escape(str(directory)), advice="file is a file: choose another"):
            Segmenter(**SMALL, directory=directory).fit(**data)
    with pytest.raises(ValueError, match=r"other things in it \(thesis.tex\)"):
        Segmenter(**SMALL, directory=tmp_path / "full").fit(**data)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # for root may write anywhere
    with rejects("directory", got="new'", advice="is not writable: choose another folder"):
        Segmenter(**SMALL, directory=tmp_path / "deep" / "new").fit(**data)
    with rejects("device", got="'gpu'"):
        Segmenter.load(tmp_path / "nowhere", device="gpu")
    with pytest.raises(AssertionError, match="trained"):
        Segmenter(**SMALL).fit(**data)
