"""Inference: in pieces or at once, alone or in company, the answer is the same."""

import pytest
import torch
from torch import Tensor

from segcrf.inference import infer
from segcrf.nn import JointModel, LinearChainCRF, SwitchingModel, make_encoder

ENCODERS = [
    ("lstm", {"bidirectional": False}),
    ("lstm", {"bidirectional": True, "layers": 2}),
    ("gru", {"bidirectional": True}),
    ("tcn", {"layers": 3}),
    ("tcn", {"layers": 3, "causal": True}),
    ("unet", {"layers": 2}),
    ("unet", {"layers": 2, "causal": True}),
    ("ms-tcn", {"layers": 2}),
    ("attention", {"window": 6}),
    ("conv-lstm", {"stem_layers": 2}),
    ("conv-gru", {"stem_layers": 2, "causal": True}),
]


def build(name: str, options: dict[str, int]) -> JointModel:
    torch.manual_seed(0)
    model = JointModel(make_encoder(name, 2, hidden=6, **options), LinearChainCRF(3), num_targets=2)
    model.class_head.weight.data *= 20.0
    return model.double().eval()


def signals() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 2, generator=generator, dtype=torch.float64) for n in (90, 3, 41, 40, 1, 7)]


def answers(model: JointModel, chunk: int) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    x = signals()
    found: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
    for part in infer(model, x, chunk=chunk):
        assert part.predictions is not None
        for row, i in enumerate(part.recordings):
            n = len(x[i])
            assert int(part.dist.lengths[row]) == n
            posterior = part.dist.marginals.labels[row, :n]
            mode = part.dist.mode[row, :n]
            found[i] = (part.dist.emissions[row, :n], part.predictions[row, :n], posterior, mode)
    assert sorted(found) == list(range(len(x)))
    return [found[i] for i in sorted(found)]


@pytest.mark.parametrize(("name", "options"), ENCODERS)
def test_pieces_leave_no_seam(name: str, options: dict[str, int]) -> None:
    model = build(name, options)
    whole = answers(model, chunk=10_000)
    assert len(whole[0][3].unique()) > 1
    for chunk in (1, 8, 40, 89):
        for ours, theirs in zip(answers(model, chunk), whole, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_a_switching_model_has_no_seam_either() -> None:
    torch.manual_seed(0)
    encoder = make_encoder("lstm", 2, hidden=6, bidirectional=False)
    model = SwitchingModel(encoder, LinearChainCRF(3), 2, posterior="filter").double().eval()
    x = signals()
    found = {}
    for chunk in (8, 10_000):
        for part in infer(model, x, chunk=chunk):
            assert part.predictions is None and part.switching is not None
            mean = part.switching.predict(posterior="filter").mean
            for row, i in enumerate(part.recordings):
                found[chunk, i] = mean[row, : len(x[i])]
    for i, signal in enumerate(x):
        torch.testing.assert_close(found[8, i], found[10_000, i], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found[8, i], model(signal[None]).predictions[0], rtol=1e-9, atol=1e-9)


def test_a_long_recording_is_never_encoded_as_a_whole() -> None:
    model = build("lstm", {"bidirectional": True})
    seen: list[int] = []
    model.class_head.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[0] * args[0].shape[1]))
    answers(model, chunk=16)
    assert max(seen) == 16


def test_no_gradient_is_recorded() -> None:
    for part in infer(build("lstm", {}), signals()):
        assert not part.dist.emissions.requires_grad
