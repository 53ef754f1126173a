"""Contestants of the semi-Markov chain at (B, T, K, C): segcrf and its peers."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.speed.chain import Task
from benchmarks.speed.contest import Call, Contestant, gradient_of, vector
from segcrf import SemiMarkov

SIZES = ((2, 300, 30, 5), (4, 1000, 50, 5), (4, 1000, 100, 8), (1, 100_000, 200, 5))
SCANNED = 1_000_000  # largest T * K * C of the reference in Python; above, the kernel in float64 is the reference
FLASH_STEPS = 700_000  # largest B * T * K * C of flash-semicrf; above, its Python loop over T and K takes minutes
OTHER_MODEL = "another model (own parameters, own convention at the edges): timed, not compared"


def tasks(batch: int, frames: int, longest: int, classes: int) -> dict[str, Task]:
    """Return both tasks with all contestants."""
    torch.manual_seed(0)
    emissions = torch.randn(batch, frames, classes).requires_grad_()
    transitions = torch.randn(classes, classes).requires_grad_()
    durations = (0.1 * torch.randn(classes, longest)).requires_grad_()
    leaves = [emissions, transitions, durations]
    labels = SemiMarkov(*(p.detach() for p in leaves)).mode
    backend = "torch" if frames * longest * classes <= SCANNED else "auto"

    def exact_loss() -> Tensor:
        exact = [p.detach().double().requires_grad_() for p in leaves]
        return vector(gradient_of(lambda: -SemiMarkov(*exact, backend=backend).log_prob(labels).sum(), exact)())

    def exact_score() -> Tensor:
        return SemiMarkov(*(p.detach().double() for p in leaves), backend=backend).best.score

    def ours_loss() -> Call:
        return gradient_of(lambda: -SemiMarkov(*leaves).log_prob(labels).sum(), leaves)

    def ours_decode() -> Call:
        return lambda: SemiMarkov(*(p.detach() for p in leaves)).best.score

    # torch-struct runs a chain of K C states. On one core, 0.8 billion triples took one minute in its linear chain, but
    # 0.06 billion (T = 20) took as long in its semi-Markov chain.
    triples = batch * frames / 2 * (longest * classes) ** 3 / 1e9
    too_large = f"not run: its tree sums over triples of K C = {longest * classes} states, {triples:,.0f} billion here"
    flash_loss, flash_decode = _flash(emissions, labels, longest)
    return {
        "nll+backward": Task(
            [Contestant("segcrf", ours_loss, value=vector), flash_loss, Contestant("torch-struct", reason=too_large)],
            exact_loss,
        ),
        "decode": Task(
            [Contestant("segcrf", ours_decode), flash_decode, Contestant("torch-struct", reason=too_large)],
            exact_score,
        ),
    }


def _flash(emissions: Tensor, labels: Tensor, longest: int) -> list[Contestant]:
    """Return both contestants of flash-semicrf, on its CPU path."""
    name, classes = "flash-semicrf", emissions.shape[-1]
    if emissions.numel() * longest > FLASH_STEPS:
        return [Contestant(name, reason="not run: its Python loop over T and K would take minutes") for _ in range(2)]
    lengths = torch.full(labels.shape[:1], labels.shape[1])

    def loss() -> Call:
        from flash_semicrf import SemiMarkovCRFHead

        head = SemiMarkovCRFHead(classes, longest)
        return gradient_of(
            lambda: head.compute_loss(emissions, lengths, labels, use_triton=False, backend="streaming"),
            [emissions, *head.parameters()],
        )

    def decode() -> Call:
        from flash_semicrf import SemiMarkovCRFHead

        head = SemiMarkovCRFHead(classes, longest)
        return lambda: head.decode_with_traceback(emissions.detach(), lengths, use_triton=False)

    return [Contestant(name, loss, unchecked=OTHER_MODEL), Contestant(name, decode, unchecked=OTHER_MODEL)]
