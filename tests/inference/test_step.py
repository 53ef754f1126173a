"""A causal model frame by frame, outside Python: whatever the pieces, its file answers as the model does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segcrf import LinearChainCRF, SemiMarkovCRF
from segcrf.inference import export_step
from segcrf.nn import DecodingRule, Encoder, GRUEncoder, JointModel, LSTMEncoder, TCNEncoder
from segcrf.testing import rejects
from tests.inference.models import AnnouncedLayer, Model, differenced, joint, recordings, switching, with_rule

MODELS: dict[str, Any] = {
    "lstm, chain": lambda: joint(LSTMEncoder(2, 4, layers=2), LinearChainCRF(3), 1),
    "tcn, semi-Markov": lambda: switching(TCNEncoder(2, 4, layers=3, causal=True), SemiMarkovCRF(3, 4), "filter"),
    "gru, censored": lambda: joint(GRUEncoder(2, 4), SemiMarkovCRF(3, 4, censored=True)),
    "lstm, differences": lambda: differenced(LSTMEncoder(7, 4), LinearChainCRF(3), centred=False),
    "tcn, nothing prepared": lambda: JointModel(TCNEncoder(2, 4, layers=1, causal=True), LinearChainCRF(1)),
}
PIECES = [(0, 1), (1, 2), (2, 13), (13, 14), (14, 60)]


def random_model(name: str, factor: float) -> Model:
    torch.manual_seed(len(name))
    model = MODELS[name]().eval()
    for parameter in [model.crf.start, model.crf.transitions, *model.class_head.parameters()]:
        nn.init.normal_(parameter)
    return with_rule(model, DecodingRule(factor))


def stepping(path: Path) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    """A function from frames and state to answers by name and the next state; what the file says of the state, and of
    all else."""
    if path.suffix == ".pt2":
        texts = {"state": "", "classes": "", "sampling_rate": "", "decoding": ""}
        program = torch.export.load(path, extra_files=texts).module()
        run = lambda x, state: [each.numpy() for each in program(x, tuple(map(torch.from_numpy, state.values())))]  # noqa: E731
        names = None
    else:
        runtime = pytest.importorskip("onnxruntime", reason="pip install 'segcrf[onnx]'")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        texts = session.get_modelmeta().custom_metadata_map
        run = lambda x, state: session.run(None, {"x": x.numpy()} | state)  # noqa: E731
        names = [each.name for each in session.get_outputs()]
    known = {name: json.loads(text) for name, text in texts.items()}
    state = [each["name"] for each in known["state"]]

    def step(x: Tensor, before: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        outputs = run(x, before)
        answers, after = outputs[: -len(state)], outputs[-len(state) :]
        order = ["emissions", "posteriors", "labels", "targets"][: len(answers)]
        assert names is None or names == order + [f"next_{name}" for name in state]
        return dict(zip(order, answers, strict=True)), dict(zip(state, after, strict=True))

    return step, known["state"], known


def begun(state: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """The state before the first frame, as the file gives it."""
    feeds: dict[str, Any] = {}
    for each in state:
        value = np.array(each["initial"], dtype=np.float64)
        value = np.where(np.isnan(value), -np.inf, value).astype(each["type"])
        feeds[each["name"]] = np.broadcast_to(value, (count, *each["shape"])).copy()
    return feeds


def answers_at_once(model: Model, x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        output = model(x if model.preparation is not None else x.float())
        filtered = model.decode(output.dist).dist.filtered
        posteriors = model.calibration.traced_probabilities(filtered)
        known = {"emissions": output.dist.emissions, "posteriors": posteriors, "labels": filtered.argmax(-1)}
        if output.predictions is None:
            return known
        assert model.preparation is not None
        return known | {"targets": model.preparation.to_unit_of_targets(output.predictions)}


@pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own exporter
@pytest.mark.parametrize(
    ("name", "factor", "suffix"),
    [
        ("lstm, chain", 2.0, ".onnx"),
        ("lstm, chain", 2.0, ".pt2"),
        pytest.param("tcn, semi-Markov", 1.0, ".onnx", marks=pytest.mark.slow),
        ("tcn, semi-Markov", 1.0, ".pt2"),
        ("lstm, differences", 1.0, ".pt2"),
        pytest.param("lstm, differences", 1.0, ".onnx", marks=pytest.mark.slow),
        pytest.param("gru, censored", 0.5, ".onnx", marks=pytest.mark.slow),
        pytest.param("gru, censored", 0.5, ".pt2", marks=pytest.mark.slow),
        pytest.param("tcn, nothing prepared", 1.0, ".onnx", marks=pytest.mark.slow),
        pytest.param("tcn, nothing prepared", 1.0, ".pt2", marks=pytest.mark.slow),
    ],
)
def test_pieces_answer_as_the_whole(name: str, factor: float, suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnxscript", reason="pip install 'segcrf[onnx]'")
    model = random_model(name, factor)
    classes = [f"class {c}" for c in range(model.class_head.out_features)]
    step, state, texts = stepping(export_step(model, tmp_path / f"step{suffix}", classes=classes, sampling_rate=9.0))
    assert texts["classes"] == classes and texts["sampling_rate"] == 9.0
    assert texts["decoding"] == {"factor": factor, "by_frame": True, "max_delay": 0}
    x = recordings(3, 60)[0].clamp(max=200.0)
    held, found = begun(state, 3), []
    for first, stop in PIECES:
        answers, held = step(x[:, first:stop], held)
        found.append(answers)
    expected = answers_at_once(model, x)
    assert found[0].keys() == expected.keys()
    for key, wanted in expected.items():
        got = torch.from_numpy(np.concatenate([each[key] for each in found], 1))
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    "encoder", [LSTMEncoder(2, 4, bidirectional=True), TCNEncoder(2, 4, layers=1)], ids=["both ways", "centred"]
)
def test_an_encoder_that_sees_later_frames_is_rejected(encoder: Encoder, tmp_path: Path) -> None:
    with rejects("model", got="causal=False", advice="bidirectional=False"):
        export_step(joint(encoder, LinearChainCRF(3)), tmp_path / "step.pt2")


def test_statistics_of_whole_recordings_are_rejected(tmp_path: Path) -> None:
    with rejects("model", got="per_recording=True", advice="standardize='dataset'"):
        export_step(joint(LSTMEncoder(2, 4), LinearChainCRF(3), per_recording=True), tmp_path / "step.pt2")


def test_targets_that_are_mixed_by_later_frames_are_rejected(tmp_path: Path) -> None:
    with rejects("model", got="posterior='smooth'", expected="posterior='filter'"):
        export_step(switching(LSTMEncoder(2, 4), LinearChainCRF(3), "smooth"), tmp_path / "step.pt2")


def test_transitions_of_every_step_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="transitions of every step, expected transitions that all steps share"):
        export_step(joint(LSTMEncoder(2, 4), AnnouncedLayer()), tmp_path / "step.pt2")


def test_an_encoder_without_a_flat_state_is_rejected(tmp_path: Path) -> None:
    class Doubling(Encoder):
        in_features, out_features, causal = 2, 2, True

        def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
            return 2 * x

        def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
            return 2 * x, None

        def chunks(self, x: Tensor, size: int) -> Any:
            return torch.split(2 * x, size, dim=1)

    with pytest.raises(TypeError, match="class Doubling, expected an LSTMEncoder, a GRUEncoder or a TCNEncoder"):
        export_step(joint(Doubling(), LinearChainCRF(3)), tmp_path / "step.pt2")
