"""Whole recordings outside Python: a model equals its .onnx and its .pt2 file at sizes that were never traced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segcrf import LinearChain, LinearChainCRF, SemiMarkov, SemiMarkovCRF
from segcrf.inference import export_model, export_step
from segcrf.inference.filter_operators import lagged
from segcrf.nn import DecodingRule, JointModel, LSTMEncoder, SwitchingModel, TCNEncoder
from segcrf.testing import rejects
from tests.inference.models import MODELS, Model, joint, random_model, recordings, with_rule

SIZES = [(1, 2), (1, 60), (3, 57), (4, 150)]
FAST = 3  # models whose exports are always tested
CLASSES = ["rest", "walk", "läuft"]
NAMED = [pytest.param(name, marks=[pytest.mark.slow] if i >= FAST else []) for i, name in enumerate(MODELS)]


def answers(model: Model, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """What a model answers, asked as a user asks it."""
    with torch.no_grad():
        output = model(x if model.preparation is not None else x.float(), lengths)
        dist, decoded = output.dist, model.decode(output.dist)
        delay = model.decoding_rule.max_delay
        posteriors = (
            decoded.dist.double().marginals.labels if delay is None else posteriors_by_then(decoded.dist, delay)
        )
        mask = dist.frame_mask
        labels = decoded.labels if delay is None else posteriors.argmax(-1).masked_fill(~mask, -100)
        changed = labels != torch.nn.functional.pad(labels[:, :-1], (1, 0), value=-100)
        starts = changed & mask if model.decoding_rule.by_frame else decoded.starts
        known = {
            "labels": labels,
            "starts": starts,
            "posteriors": model.calibration.traced_probabilities(posteriors).to(dist.dtype),
        }
        if output.predictions is None:
            return known
        in_unit = model.preparation.to_unit_of_targets if model.preparation is not None else Tensor.double
        return known | {"targets": in_unit(output.predictions).masked_fill(~dist.frame_mask[..., None], torch.nan)}


def posteriors_by_then(dist: Any, delay: int) -> Tensor:
    """The posterior of each frame in the recording that is cut a few frames later."""
    if isinstance(dist, SemiMarkov):  # tests/inference/test_onnx_functions.py compares it with enumeration
        return lagged(dist, delay).masked_fill(~dist.frame_mask[..., None], 0.0)
    found = torch.zeros(dist.emissions.shape, dtype=torch.float64)
    emissions, transitions, start, end = (each.double() for each in dist.potentials)
    for b, length in enumerate(dist.lengths.tolist()):
        for t in range(length):
            stop = min(t + delay + 1, length)
            steps = transitions if transitions.dim() == 2 else transitions[b : b + 1, : stop - 1]
            final = end if t + delay >= length else None
            cut = LinearChain(emissions[b : b + 1, :stop], steps, start, final)
            found[b, t] = cut.marginals.labels[0, t]
    return found


def ask_onnx(path: Path) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'segcrf[onnx]'")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]

    def ask(x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        found = session.run(None, {"x": x.numpy(), "lengths": lengths.numpy()})
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(names, found, strict=True)}

    return ask, session.get_modelmeta().custom_metadata_map


def ask_torch(path: Path) -> Any:
    texts = {"classes": "", "sampling_rate": "", "decoding": ""}
    program = torch.export.load(path, extra_files=texts).module()
    names = ("labels", "starts", "posteriors", "targets")
    return lambda x, lengths: dict(zip(names, program(x, lengths), strict=False)), texts


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own exporter
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("name", NAMED)
def test_a_file_answers_as_its_model(name: str, suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnxscript", reason="pip install 'segcrf[onnx]'")
    model = random_model(name)
    path = export_model(model, tmp_path / f"model{suffix}", sampling_rate=50.0)
    if suffix == ".onnx":
        onnx: Any = pytest.importorskip("onnx")
        onnx.checker.check_model(str(path), full_check=True)
    ask, texts = (ask_onnx if suffix == ".onnx" else ask_torch)(path)
    rule = model.decoding_rule
    expected = {"factor": rule.factor, "by_frame": rule.by_frame, "max_delay": rule.max_delay}
    assert json.loads(texts["decoding"]) == expected
    assert (json.loads(texts["classes"]), json.loads(texts["sampling_rate"])) == (None, 50.0)
    short = suffix == ".onnx" or "every step" not in name
    for batch, frames in SIZES if short else SIZES[1:]:
        x, lengths = recordings(batch, frames)
        got, wanted = ask(x, lengths), answers(model, x, lengths)
        assert got.keys() == wanted.keys()
        for key in ("labels", "starts"):
            assert torch.equal(got[key], wanted[key]), (key, batch, frames)
        # The encoder is in float32, and onnxruntime rounds its sigmoid and tanh otherwise.
        torch.testing.assert_close(got["posteriors"], wanted["posteriors"], rtol=0, atol=3e-6)
        if "targets" in got:
            torch.testing.assert_close(got["targets"], wanted["targets"], rtol=0, atol=1e-5, equal_nan=True)


_RUN = """
import sys, torch, segcrf.inference
x, lengths, expected = torch.load(sys.argv[2])
assert torch.equal(torch.export.load(sys.argv[1]).module()(x, lengths)[0], expected)
"""


@pytest.mark.slow
def test_an_exported_program_runs_in_another_process(tmp_path: Path) -> None:
    model = random_model("lstm, chain, sequence")
    path = export_model(model, tmp_path / "model.pt2")
    x, lengths = recordings(4, 99)
    torch.save((x, lengths, answers(model, x, lengths)["labels"]), tmp_path / "case.pt")
    subprocess.run([sys.executable, "-c", _RUN, str(path), str(tmp_path / "case.pt")], check=True)


@pytest.mark.filterwarnings("ignore")
def test_a_file_replaces_an_older_one_and_leaves_the_model(tmp_path: Path) -> None:
    model = joint(LSTMEncoder(2, 4), SemiMarkovCRF(3, 4)).train()
    path = tmp_path / "model.pt2"
    path.write_text("older")
    export_model(model, path, classes=CLASSES)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert isinstance(model.encoder.get_submodule("layers.0.ahead"), nn.LSTM)
    assert os.listdir(tmp_path) == ["model.pt2"]
    _, texts = ask_torch(path)
    assert json.loads(texts["classes"]) == CLASSES


@pytest.mark.filterwarnings("ignore")
def test_a_recording_without_any_labelling_is_unlabelled(tmp_path: Path) -> None:
    model = JointModel(TCNEncoder(2, 4, layers=1), SemiMarkovCRF(2, 3, min_duration=3)).eval()
    for by_frame in (False, True):
        path = export_model(with_rule(model, DecodingRule(1.0, by_frame)), tmp_path / "model.pt2")
        x, lengths = recordings(2, 8)[0], torch.tensor([8, 2])
        found = ask_torch(path)[0](x, lengths)
        assert (found["labels"][1] == -100).all() and not found["starts"][1].any()
        assert not found["posteriors"][1].any() and (found["labels"][0] >= 0).all()


# ------------------------------------------------------------------------------------------------------ bad input
def small() -> JointModel:
    return JointModel(TCNEncoder(2, 4, layers=1), LinearChainCRF(3))


@pytest.mark.parametrize("path", ["model", "model.pt", "model.ONNX.txt"])
def test_another_ending_is_rejected(path: str, tmp_path: Path) -> None:
    with rejects("path", got=path, expected=r"\.onnx"):
        export_model(small(), tmp_path / path)


def test_a_place_that_cannot_be_written_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.onnx").mkdir()
    with rejects("path", got="a folder"):
        export_model(small(), tmp_path / "folder.onnx")
    with rejects("path", expected="a folder that exists", advice="make"):
        export_model(small(), tmp_path / "no" / "model.onnx")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with rejects("path", expected="writable"):
        export_model(small(), tmp_path / "model.onnx")


def test_a_failed_export_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pt2"
    path.write_text("older")

    def fail(program: Any, draft: str, **_: Any) -> None:
        Path(draft).write_text("half of it")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch.export, "save", fail)
    with pytest.raises(OSError, match="the disk is full"):
        export_model(small(), path)
    assert os.listdir(tmp_path) == ["model.pt2"] and path.read_text() == "older"


def test_names_must_fit_the_classes(tmp_path: Path) -> None:
    with rejects("classes", got="2 names", expected="3, one for each class"):
        export_model(small(), tmp_path / "model.pt2", classes=["a", "b"])
    with rejects("sampling_rate"):
        export_model(small(), tmp_path / "model.pt2", sampling_rate=0.0)


def test_something_else_than_a_model_is_rejected(tmp_path: Path) -> None:
    layer: Any = LinearChainCRF(3)
    with pytest.raises(TypeError, match="LinearChainCRF, expected a JointModel or a SwitchingModel"):
        export_model(layer, tmp_path / "model.onnx")


def test_a_rule_that_no_file_can_follow_is_rejected(tmp_path: Path) -> None:
    model = with_rule(small().eval(), DecodingRule(max_delay=5))
    with rejects("model", got="max_delay=5", expected="by_frame=True", advice="by_frame"):
        export_model(model, tmp_path / "model.onnx")


def test_a_survival_that_diverges_is_reported_before_the_trace(tmp_path: Path) -> None:
    class Growing(nn.Module):
        num_classes = 2

        def forward(self, emissions: Tensor, lengths: Tensor | None = None) -> SemiMarkov:
            zeros = torch.zeros(2, 2)
            return SemiMarkov(emissions, zeros, zeros, tail=zeros[0], lengths=lengths)

    model = SwitchingModel(TCNEncoder(2, 4, layers=1), Growing(), 1, posterior="filter").eval()
    with rejects("tail", expected="the survival of a band"):
        export_model(model, tmp_path / "model.pt2")


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_packages_the_way_to_them_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else object())
    with pytest.raises(ImportError, match=rf"{package}; pip install 'segcrf\[onnx\]'"):
        export_model(small(), tmp_path / "model.onnx")


# ------------------------------------------------------------------------------------------------------ the example
_ALONE = """
import sys
for name in ("torch", "segcrf"):
    sys.modules[name] = None  # an import of it raises
import numpy as np
from pathlib import Path
folder, x = Path(sys.argv[1]), 100 + 9 * np.random.default_rng(0).normal(size=(17, 1000, 2))
exec(sys.stdin.read())
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_example_decodes_without_torch(tmp_path: Path) -> None:
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="pip install 'segcrf[onnx]'")
    model = random_model("lstm, chain, sequence")
    for export, name in ((export_model, "model.onnx"), (export_step, "step.onnx")):
        export(model, tmp_path / name, classes=CLASSES, sampling_rate=100.0)
    page = Path(__file__).parents[2] / "docs" / "examples" / "exporting.py"
    _, cells = page.read_text(encoding="utf-8").split("# Decode with NumPy and onnxruntime", 1)
    command = [sys.executable, "-c", _ALONE, str(tmp_path)]
    result = subprocess.run(command, check=False, input=cells, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "0.00 to" in result.stdout and any(name in result.stdout for name in CLASSES)
