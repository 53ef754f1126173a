"""Models outside Python: torch.export and ONNX, run at other sizes than they were traced at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segcrf import LinearChain, LinearChainCRF, SemiMarkov, SemiMarkovCRF
from segcrf.inference import export_onnx
from segcrf.inference.export import _FUNCTIONS, _function
from segcrf.nn import (
    ConstrainedTransitions,
    GRUEncoder,
    InputDependentTransitions,
    JointModel,
    LSTMEncoder,
    PottsTransitions,
    TCNEncoder,
    cycle,
)
from segcrf.testing.cases import Case, chain_case, semi_markov_case

SIZES = [(1, 1), (1, 60), (3, 57), (5, 300)]


def layers() -> dict[str, nn.Module]:
    """Layers with scores as large as their emissions."""
    torch.manual_seed(0)
    constrained = ConstrainedTransitions(PottsTransitions(3), forbidden=[(0, 2)])
    made: dict[str, nn.Module] = {
        "chain": LinearChainCRF(3),
        "constrained": LinearChainCRF(3, transitions=constrained, emission_scale=True),
        "semi-markov": SemiMarkovCRF(3, 6),
        "semi-markov with limits": SemiMarkovCRF(3, 4, min_duration=1, tail="none", transitions=cycle(3)),
        "censored": SemiMarkovCRF(3, 4, censored=True, self_transitions=True),
    }
    for layer in made.values():
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    return made


def recordings(batch: int, frames: int, channels: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(frames)
    lengths = torch.randint(1, frames + 1, (batch,), generator=generator)
    lengths[0] = frames
    return 2 * torch.randn(batch, frames, channels, generator=generator), lengths


# -------------------------------------------------------------------------------------------------- torch.export
class Decoder(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        output = self.model(x, lengths)
        return getattr(output, "dist", output).mode


@contextmanager
def recurrent_layers_as_loops() -> Iterator[None]:
    """PyTorch traces an LSTM or GRU at a fixed T, unless its loop is kept."""
    patches = pytest.importorskip("torch.export._patches", reason="this torch cannot export an LSTM for any T")
    with patches.register_lstm_while_loop_decomposition(), patches.register_gru_while_loop_decomposition():
        yield


def exported(model: nn.Module, channels: int, path: Path) -> Path:
    batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames")
    program = torch.export.export(
        Decoder(model).eval(), recordings(3, 40, channels), dynamic_shapes=({0: batch, 1: frames}, {0: batch})
    )
    torch.export.save(program, path)
    return path


@pytest.mark.parametrize("name", layers())
def test_an_exported_decoder_runs_at_other_sizes(name: str, tmp_path: Path) -> None:
    model = JointModel(TCNEncoder(2, hidden=4), layers()[name]).eval()
    program = torch.export.load(exported(model, 2, tmp_path / "model.pt2")).module()
    for batch, frames in SIZES:
        x, lengths = recordings(batch, frames, 2)
        assert torch.equal(program(x, lengths), model(x, lengths).dist.mode), (batch, frames)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch warns of how it traces its own recurrent layers
@pytest.mark.parametrize("encoder", [LSTMEncoder, GRUEncoder])
def test_an_exported_recurrent_network_decodes_at_other_sizes(encoder: Any, tmp_path: Path) -> None:
    model = JointModel(encoder(2, hidden=4), layers()["chain"]).eval()
    with recurrent_layers_as_loops():
        program = torch.export.load(exported(model, 2, tmp_path / "model.pt2")).module()
    for batch, frames in SIZES[2:]:
        x, lengths = recordings(batch, frames, 2)
        assert torch.equal(program(x, lengths), model(x, lengths).dist.mode), (batch, frames)


_RUN = """
import sys, torch, segcrf
x, lengths, expected = torch.load(sys.argv[2])
assert torch.equal(torch.export.load(sys.argv[1]).module()(x, lengths), expected)
"""


@pytest.mark.slow
def test_an_exported_decoder_runs_in_another_process(tmp_path: Path) -> None:
    model = JointModel(TCNEncoder(2, hidden=4), layers()["chain"]).eval()
    path = exported(model, 2, tmp_path / "model.pt2")
    x, lengths = recordings(4, 99, 2)
    torch.save((x, lengths, model(x, lengths).dist.mode), tmp_path / "case.pt")
    subprocess.run([sys.executable, "-c", _RUN, str(path), str(tmp_path / "case.pt")], check=True)


# ---------------------------------------------------------------------------------------------------------- ONNX
def session(file: Any) -> Any:
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'segcrf[onnx]'")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def onnx() -> Any:
    pytest.importorskip("onnxscript", reason="pip install 'segcrf[onnx]'")
    return pytest.importorskip("onnx", reason="pip install 'segcrf[onnx]'")


def decode(path: Path, x: Tensor, lengths: Tensor) -> Tensor:
    (labels,) = session(str(path)).run(["labels"], {"x": x.numpy(), "lengths": lengths.numpy()})
    return torch.from_numpy(labels)


@pytest.mark.parametrize("name", layers())
def test_an_onnx_file_decodes_at_other_sizes(name: str, tmp_path: Path) -> None:
    onnx()
    layer = layers()[name]
    x, lengths = recordings(2, 9, 3)
    path = export_onnx(layer, tmp_path / "model.onnx", x, lengths)
    for batch, frames in SIZES:
        x, lengths = recordings(batch, frames, 3)
        assert torch.equal(decode(path, x, lengths), layer(x, lengths).mode), (batch, frames)


@pytest.mark.parametrize(
    "encoder",
    [LSTMEncoder, pytest.param(TCNEncoder, marks=pytest.mark.slow), pytest.param(GRUEncoder, marks=pytest.mark.slow)],
)
def test_an_encoder_goes_with_it(encoder: Any, tmp_path: Path) -> None:
    onnx()
    model = JointModel(encoder(2, hidden=4), layers()["chain"], num_targets=1).train()
    path = export_onnx(model, tmp_path / "model.onnx", recordings(2, 9, 2)[0])
    assert model.training, "the model is left as it was"
    model.eval()
    for batch, frames in SIZES[1:]:
        x, lengths = recordings(batch, frames, 2)
        assert torch.equal(decode(path, x, lengths), model(x, lengths).dist.mode), (batch, frames)


class Announced(nn.Module):
    """A layer with transitions that depend on the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.crf = LinearChainCRF(3, transitions=InputDependentTransitions(3, 3))

    def forward(self, x: Tensor, lengths: Tensor) -> LinearChain:
        return self.crf(x, lengths, context=x)


def test_transitions_of_every_step_go_with_it(tmp_path: Path) -> None:
    onnx()
    model = Announced()
    path = export_onnx(model, tmp_path / "model.onnx", recordings(2, 9, 3)[0])
    for batch, frames in SIZES[1:]:
        x, lengths = recordings(batch, frames, 3)
        assert torch.equal(decode(path, x, lengths), model(x, lengths).mode), (batch, frames)


def run_function(name: str, potentials: list[Tensor], lengths: Tensor) -> list[Tensor]:
    """An ONNX function by itself, in onnxruntime."""
    package = onnx()
    helper, function = package.helper, _function(name)
    double, whole = package.TensorProto.DOUBLE, package.TensorProto.INT64
    inputs = dict(zip(function.input, [*potentials, lengths], strict=True))
    kinds, info = (double, whole, package.TensorProto.BOOL), helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(name, list(function.input), list(function.output), domain=function.domain)],
        "one call",
        [info(k, whole if k == "lengths" else double, list(v.shape)) for k, v in inputs.items()],
        [info(k, kind, axes) for k, kind, axes in zip(function.output, kinds, ("B", "BT", "BT"), strict=True)],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(function.domain, 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=imports, ir_version=10)
    package.checker.check_model(model, full_check=True)
    outputs = session(model.SerializeToString()).run(None, {k: v.numpy() for k, v in inputs.items()})
    return [torch.from_numpy(np.asarray(output)) for output in outputs]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_onnx_functions_equal_the_kernels(name: str, seed: int) -> None:
    kind, forbidden = ("normal", "ties", "extreme")[seed % 3], 0.3 * (seed > 2)
    lengths = [6, 1, 4, 3]
    if name == "semimarkov_max_product":
        kind = kind.replace("ties", "wide")  # of equal segmentations the kernel may take another
        options = {"censored": seed % 2 == 0, "self_transitions": seed % 4 == 1}
        case = semi_markov_case(seed, lengths, 7, 3, 3, kind, forbidden, **options)
        dist: Any = SemiMarkov(**case.potentials, lengths=case.lengths, **case.options)
    else:
        case = chain_case(seed, lengths, 7, 3, kind, forbidden, varying="varying" in name)
        dist = LinearChain(**case.potentials, lengths=case.lengths)
    got = run_function(name, list(dist.potentials), case.lengths)
    expected = getattr(torch.ops.segcrf, name)(*dist.potentials, case.lengths)
    for ours, kernel in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, kernel, rtol=1e-12, atol=0)


def test_a_recording_without_any_labelling_is_unlabelled() -> None:
    case: Case = chain_case(0, [4, 4], 4, 2)
    emissions = case.emissions.clone()
    emissions[1, 2] = -torch.inf
    case = case.having(emissions=emissions)
    _, labels, starts = run_function("chain_max_product", list(case.potentials.values()), case.lengths)
    assert (labels[1] == -100).all() and not starts[1].any() and (labels[0] >= 0).all()


def test_without_the_packages_the_way_to_them_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'segcrf\[onnx\]'"):
        export_onnx(LinearChainCRF(3), tmp_path / "model.onnx", torch.zeros(2, 5, 3))
