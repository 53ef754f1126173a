"""Compare the speed of queries other than the likelihood with other libraries: ``python -m benchmarks.queries``.

As in ``benchmarks.speed``, each library has one thread, each result is checked against float64 before its time is
printed, and rounds are interleaved.

* ``marginals``: posterior of each label, against torch-struct. Its potentials are arranged before the clock starts.
* ``topk``: the five best labellings, against torch-struct.
* ``posterior``: the same posterior, against the compiled forward-backward of hmmlearn, in logarithms and scaled.
* ``varying``: likelihood and gradient with separate transitions per step, against torch-struct and the reference scan.
"""

from __future__ import annotations

import argparse
import resource
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import record
from benchmarks.speed.__main__ import ROUNDS, print_rows
from benchmarks.speed.contest import Call, Contestant, compete, gradient_of, vector
from segcrf import LinearChain

Task = tuple[list[Contestant], Tensor]
SIZES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "marginals": ((8, 500, 5), (16, 1000, 8)),
    "topk": ((8, 500, 5),),
    "posterior": ((1, 10_000, 5), (1, 100_000, 5), (16, 1000, 20)),
    "varying": ((8, 500, 5), (16, 1000, 8), (1, 10_000, 5)),
}
BEST = 5
REFERENCE = 4000  # maximum frames for the reference scan, which is a Python loop over frames


def ready(name: str, call: Call, value: Callable[[Any], Tensor] = torch.as_tensor) -> Contestant:
    """Return a contestant without preparation."""
    return Contestant(name, lambda: call, value=value)


def potentials(size: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Return emissions of a batch and log-probabilities of an HMM, since hmmlearn needs probabilities."""
    batch, frames, classes = size
    torch.manual_seed(0)
    emissions = torch.randn(batch, frames, classes, dtype=torch.float64)
    transitions = torch.randn(classes, classes, dtype=torch.float64).log_softmax(-1)
    start = torch.randn(classes, dtype=torch.float64).log_softmax(-1)
    return emissions.to(dtype), transitions.to(dtype), start.to(dtype)


def exact(size: tuple[int, int, int]) -> LinearChain:
    """Return the structure in float64, with the kernel instead of the reference scan for long recordings."""
    backend = "torch" if size[1] <= REFERENCE else "numba"
    return LinearChain(*potentials(size, torch.float64), backend=backend)


def marginals(size: tuple[int, int, int]) -> Task:
    """Compare the posterior of each label with torch-struct."""
    scores = potentials(size)
    ours = ready("segcrf", lambda: LinearChain(*scores).marginals.labels)
    peer = _torch_struct(scores, lambda struct: struct.marginals, _labels_of_edges)
    return [ours, peer], exact(size).marginals.labels


def topk(size: tuple[int, int, int]) -> Task:
    """Compare the search for the best labellings and their scores."""
    scores = potentials(size)
    edges = _edges(scores)
    ours = ready("segcrf", lambda: LinearChain(*scores).topk(BEST), value=lambda best: best.score)
    peer = _torch_struct(scores, lambda struct: struct.topk(BEST), lambda found: (found * edges).flatten(2).sum(-1))
    return [ours, peer], exact(size).topk(BEST).score


def posterior(size: tuple[int, int, int]) -> Task:
    """Compare the posterior of each label with hmmlearn, which gets its own types and layout."""
    scores = potentials(size)
    ours = ready("segcrf", lambda: LinearChain(*scores).marginals.labels)
    return [ours, *_hmmlearn(size, scores)], exact(size).marginals.labels


def varying(size: tuple[int, int, int]) -> Task:
    """Compare negative log-likelihood and gradient with separate transitions per step."""
    batch, frames, classes = size
    torch.manual_seed(0)
    emissions = torch.randn(batch, frames, classes, dtype=torch.float64)
    transitions = torch.randn(batch, frames - 1, classes, classes, dtype=torch.float64)
    labels = torch.randint(classes, (batch, frames))

    def nll(dtype: torch.dtype, backend: str) -> Call:
        leaves = [p.to(dtype).requires_grad_() for p in (emissions, transitions)]
        return gradient_of(lambda: -LinearChain(*leaves, backend=backend).log_prob(labels).sum(), leaves)

    short = frames <= REFERENCE
    truth = vector(nll(torch.float64, "torch" if short else "numba")())
    scan = "reference scan"
    rows = [
        ready("segcrf", nll(torch.float32, "auto"), vector),
        ready(scan, nll(torch.float32, "torch"), vector)
        if short
        else Contestant(scan, reason="not run: a Python loop over frames"),
    ]
    try:
        import torch_struct
    except ImportError:
        return [*rows, Contestant("torch-struct", reason="not installed")], truth
    leaves = [p.float().requires_grad_() for p in (emissions, transitions)]

    def peer() -> Tensor:
        edges = _edges((*leaves, torch.zeros(classes)))
        parts = torch_struct.LinearChainCRF.struct.to_parts(labels, classes).type_as(edges)
        return -torch_struct.LinearChainCRF(edges).log_prob(parts).sum()

    return [*rows, ready("torch-struct", gradient_of(peer, leaves), vector)], truth


def _edges(scores: tuple[Tensor, ...]) -> Tensor:
    """Return potentials of torch-struct, (B, T - 1, to, from): each step includes the emissions of its second frame."""
    emissions, transitions, start = scores
    steps = transitions.transpose(-1, -2).expand(emissions.shape[0], emissions.shape[1] - 1, -1, -1)
    edges = steps + emissions[:, 1:, :, None]
    opening = (start + emissions[:, 0])[:, None, None, :]
    return torch.cat([edges[:, :1] + opening, edges[:, 1:]], 1)


def _labels_of_edges(edges: Tensor) -> Tensor:
    return torch.cat([edges[:, :1].sum(2), edges.sum(3)], 1)


def _torch_struct(scores: tuple[Tensor, ...], ask: Callable[[Any], Tensor], value: Callable[..., Tensor]) -> Contestant:
    try:
        import torch_struct
    except ImportError:
        return Contestant("torch-struct", reason="not installed")
    edges = _edges(scores)
    call, check = lambda: ask(torch_struct.LinearChainCRF(edges)), lambda found: value(found).detach()
    return ready("torch-struct", call, check)


def _hmmlearn(size: tuple[int, int, int], scores: tuple[Tensor, ...]) -> Iterator[Contestant]:
    """Yield hmmlearn's forward-backward, with our emissions as log-likelihoods of frames."""
    batch, frames, classes = size
    emissions, transitions, start = (p.double().numpy() for p in scores)
    try:
        from hmmlearn.base import BaseHMM
    except ImportError:
        yield Contestant("hmmlearn", reason="not installed")
        return

    class Given(BaseHMM):
        def _check(self) -> None:
            """Skip the check, since there are no emission parameters."""

        def _compute_log_likelihood(self, x: Any) -> Any:
            return x

        def _compute_likelihood(self, x: Any) -> Any:
            return np.exp(x)

    flat, lengths = emissions.reshape(-1, classes), [frames] * batch
    for implementation in ("log", "scaling"):
        peer = Given(n_components=classes, implementation=implementation)
        peer.startprob_, peer.transmat_ = np.exp(start), np.exp(transitions)
        yield ready(
            f"hmmlearn {implementation}",
            lambda peer=peer: peer.score_samples(flat, lengths)[1],
            value=lambda found: torch.as_tensor(found).view(batch, frames, classes),
        )


TASKS: dict[str, Callable[[tuple[int, int, int]], Task]] = {
    "marginals": marginals,
    "topk": topk,
    "posterior": posterior,
    "varying": varying,
}


def main() -> None:
    """Parse the command line, measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="measure the first size of each task, write nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="torch_struct|hmmlearn")  # about their own dependencies
    results: list[dict[str, Any]] = []
    for task, tasks_of in TASKS.items():
        for size in SIZES[task][: 1 if arguments.quick else None]:
            contestants, truth = tasks_of(size)
            rows = compete(contestants, truth.detach, arguments.rounds)
            results.append({**dict(zip("BTC", size, strict=True)), "task": task, "contestants": rows})
            print_rows(size, results[-1])
    if arguments.quick:
        return
    result: dict[str, Any] = {"threads": 1, "best": BEST, "results": results}
    result["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result |= record.environment(("segcrf", "torch", "numba", "numpy", "torch-struct", "hmmlearn"))
    print(f"written to {record.write('queries', result)}")


if __name__ == "__main__":
    main()
