"""Answers of a structure, and how they are compared with those of an enumeration."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import Tensor

from segcrf import LinearChain, Segments, SemiMarkov, Structure
from segcrf.testing.cases import Case, enumerated

__all__ = [
    "BACKENDS",
    "StructureUnderTest",
    "answers",
    "close",
    "drawn",
    "make",
    "on_every_backend",
    "outcome",
    "segments_of",
    "step_gradient",
    "tolerance",
]

BACKENDS = ("torch", "numba")
on_every_backend = pytest.mark.parametrize("backend", BACKENDS)


class StructureUnderTest:
    """What a test class of a structure supplies."""

    #: Hypothesis strategy of feasible :class:`~segcrf.testing.cases.Case`.
    cases: st.SearchStrategy[Case]

    def example(self) -> Case:
        """Return a small ragged case with forbidden scores, for tests with one case and many evaluations."""
        raise NotImplementedError

    def make(self, case: Case, backend: str, **options: Any) -> Structure:
        """Return the structure under test."""
        raise NotImplementedError


def answers(dist: Structure, labels: Tensor | None = None) -> dict[str, Tensor]:
    """Every answer that is a number; ``labels`` (default: the mode) are those to be scored."""
    marginals = dist.marginals
    return {
        "log_partition": dist.log_partition,
        "log_prob": dist.log_prob(dist.mode if labels is None else labels),
        "labels": marginals.labels,
        "transitions": marginals.transitions,
        "starts": marginals.starts,
        "best_score": dist.best.score,
        "entropy": dist.entropy(),
        "expected_bands": dist.expected_bands,
        "expected_frames": dist.expected_frames,
        "log_count": dist.log_count,
        "divergence": torch.distributions.kl_divergence(dist, dist.uniform()),
    }


def step_gradient(case: Case) -> Tensor:
    """Gradient of the transitions, summed over steps where each has its own; zero where one frame has no step."""
    got = case.potentials["transitions"].grad
    if got is None:
        return torch.zeros(())
    return got.sum((0, 1)) if got.dim() == 4 else got


def segments_of(dist: Structure) -> Segments:
    """The bands of the best labelling, without padding."""
    best = dist.best
    rows = [(a[:n], s[:n]) for a, s, n in zip(best.labels, best.starts, dist.lengths.tolist(), strict=True)]
    return Segments.from_labels([labels for labels, _ in rows], [starts for _, starts in rows])


def outcome(case: Case, recording: int, labels: Tensor, starts: Tensor) -> tuple[Any, Any]:
    """Labels and starts of one recording, without padding, for the oracle."""
    length = int(case.lengths[recording])
    return labels[:length].numpy(), starts[:length].numpy()


def tolerance(case: Case) -> float:
    """1e-9 for scores of the order of one; float64 loses digits with the size of the total score."""
    finite = [values[values.isfinite() & (values.abs() < 1e6)] for values in case.potentials.values()]
    largest = max((float(values.abs().max()) for values in finite if values.numel()), default=0.0)
    return 1e-9 * (1.0 + largest / 10)


def close(got: Any, expected: Any, case: Case, name: str = "") -> None:
    """Assert equality of anything array-like, in float64, to the digits that the size of the scores leaves."""
    values = (got.detach() if torch.is_tensor(got) else np.asarray(got, np.float64) for got in (got, expected))
    got, expected = torch.broadcast_tensors(*(torch.as_tensor(value).double() for value in values))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=tolerance(case), msg=lambda text: f"{name}: {text}")


def make(case: Case, **options: Any) -> Structure:
    """Return the structure of a case: semi-Markov if it has durations."""
    kind = SemiMarkov if "durations" in case.potentials else LinearChain
    return kind(**case.potentials, lengths=case.lengths, **case.options, **options)


def drawn(case: Case, seed: int) -> list[tuple[Any, Any]]:
    """Draw one possible outcome of each recording: labels and starts."""
    rng = np.random.default_rng(seed)
    picked = []
    for truth in enumerated(case):
        n = rng.choice(np.flatnonzero(truth.scores > -np.inf))
        picked.append((truth.labels[n], truth.starts[n]))
    return picked
