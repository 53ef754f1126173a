"""Contestants of the linear chain at (B, T, C): the drop-in CRF of segcrf and its peers, on the same scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.contest import Call, Contestant, gradient_of, vector
from segcrf import CRF, LinearChain

SIZES = ((16, 1000, 3), (16, 1000, 8), (32, 512, 20), (64, 200, 50), (1, 10000, 5))
GRID = tuple(
    (batch, frames, classes)
    for batch in (1, 16, 128)
    for classes in (2, 5, 20, 100)
    for frames in (100, 1_000, 10_000, 1_000_000)  # innermost, so that a slow contestant skips longer recordings
)
LARGEST = 400_000_000  # bytes of emissions; larger grid cells are not run
# Largest T and B T C^2 of the reference in Python; above, the kernel in float64 is the reference.
SCANNED_FRAMES, SCANNED_PAIRS = 2_000, 40_000_000
ROOM = 6e9  # largest memory of a peer for one call, in bytes
TASKS = ("nll+backward", "decode")


class Task(NamedTuple):
    """The contestants, and a function that computes the reference."""

    contestants: list[Contestant]
    truth: Callable[[], Tensor]


@dataclass
class Problem:
    """Scores and labels of one size, in the forms of the peers."""

    batch: int
    frames: int
    classes: int

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.emissions = torch.randn(self.batch, self.frames, self.classes).requires_grad_()
        self.tags = torch.randint(0, self.classes, (self.batch, self.frames))
        self.crf = CRF(self.classes, batch_first=True)

    @cached_property
    def exact(self) -> LinearChain:
        scores = [p.detach().double().requires_grad_() for p in (self.emissions, *self.shared)]
        small = self.frames <= SCANNED_FRAMES and self.pairs <= SCANNED_PAIRS
        return LinearChain(*scores, backend="torch" if small else "auto")

    @property
    def pairs(self) -> int:
        """Number of pairs of classes over all frames."""
        return self.batch * self.frames * self.classes**2

    def needs(self) -> dict[str, float]:
        """Estimate the bytes that peers keep for a gradient.

        Two peers keep two values per pair; torch-struct keeps all triples of the lowest level of its tree.
        """
        pairs, triples = 8.0 * self.pairs, 2.0 * self.pairs * self.classes
        return {"pytorch-crf": pairs, "TorchCRF": pairs, "torch-struct": triples}

    @property
    def shared(self) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions, start and end."""
        return self.crf.transitions, self.crf.start_transitions, self.crf.end_transitions

    def arrays(self, dtype: Any) -> list[Any]:
        """Return emissions, transitions, start and end as NumPy arrays."""
        return [p.detach().numpy().astype(dtype) for p in (self.emissions, *self.shared)]

    def exact_loss(self) -> Tensor:
        loss = -self.exact.log_prob(self.tags).sum()
        return vector((loss.detach(), *torch.autograd.grad(loss, self.exact.potentials))).detach()

    def exact_score(self) -> Tensor:
        return self.exact.best.score.detach()

    def score_of(self, paths: Any) -> Tensor:
        """Score decoded labels; several paths may be best, but all have the same score."""
        labels = torch.as_tensor(np.asarray(paths), dtype=torch.int64).view(self.batch, self.frames)
        return (self.exact.log_prob(labels) + self.exact.log_partition).detach()


def tasks(batch: int, frames: int, classes: int) -> dict[str, Task]:
    """Return both tasks with all contestants."""
    problem = Problem(batch, frames, classes)
    losses = {
        "segcrf": _ours_loss, "pytorch-crf": _pytorch_crf_loss, "TorchCRF": _torchcrf_loss,
        "torch-struct": _torch_struct_loss, "jax scan": _jax_loss, "dynamax": _dynamax_loss
    }  # fmt: skip
    decoders = {
        "segcrf": _ours_decode, "segcrf, as a tensor": _ours_mode, "pytorch-crf": _pytorch_crf_decode,
        "TorchCRF": _torchcrf_decode, "torch-struct": _torch_struct_decode, "jax scan": _jax_decode,
        "librosa": _librosa_decode, "hmmlearn": _hmmlearn_decode, "torbi": _torbi_decode
    }  # fmt: skip
    no_scores = "takes features, not scores: it cannot be given these emissions"
    # At each step, these peers take a view of all emissions, and the gradient of a view has the size of all emissions.
    powers = {"pytorch-crf": 2.0, "TorchCRF": 2.0}
    loss = [
        Contestant(name, _bind(make, problem), value=vector, power=powers.get(name, 1.0))
        for name, make in losses.items()
    ]
    decode = [Contestant(name, _bind(make, problem), value=problem.score_of) for name, make in decoders.items()]
    for contestant in loss + [c for c in decode if c.name == "torch-struct"]:
        needed = problem.needs().get(contestant.name, 0.0)
        if needed > ROOM:
            contestant.prepare, contestant.reason = None, f"not run: it would keep {needed / 1e9:,.0f} GB"
    for contestants in (loss, decode):
        contestants.append(Contestant("python-crfsuite", reason=no_scores))
    return {"nll+backward": Task(loss, problem.exact_loss), "decode": Task(decode, problem.exact_score)}


def _bind(make: Callable[[Problem], Call], problem: Problem) -> Callable[[], Call]:
    return lambda: make(problem)


# ------------------------------------------------------------------------------------------------------ in PyTorch
def _ours_loss(p: Problem) -> Call:
    return gradient_of(lambda: -p.crf(p.emissions, p.tags), [p.emissions, *p.shared])


def _ours_decode(p: Problem) -> Call:
    return lambda: p.crf.decode(p.emissions)


def _ours_mode(p: Problem) -> Call:
    """Decode to a tensor; the drop-in returns lists as pytorch-crf does, but other peers return arrays."""
    scores = [q.detach() for q in (p.emissions, *p.shared)]
    return lambda: LinearChain(*scores).mode


def _pytorch_crf(p: Problem) -> Any:
    from torchcrf import CRF as Peer  # noqa: N811

    peer = Peer(p.classes, batch_first=True)
    peer.load_state_dict(p.crf.state_dict())
    return peer


def _pytorch_crf_loss(p: Problem) -> Call:
    peer = _pytorch_crf(p)
    leaves = [p.emissions, peer.transitions, peer.start_transitions, peer.end_transitions]
    return gradient_of(lambda: -peer(p.emissions, p.tags), leaves)


def _pytorch_crf_decode(p: Problem) -> Call:
    peer = _pytorch_crf(p)
    return lambda: peer.decode(p.emissions)


def _torchcrf(p: Problem) -> tuple[Any, Tensor]:
    from TorchCRF import CRF as Peer  # noqa: N811

    peer = Peer(p.classes, use_gpu=False)
    peer.trans_matrix.data, peer.start_trans.data, peer.end_trans.data = (s.detach().clone() for s in p.shared)
    return peer, torch.ones(p.batch, p.frames, dtype=torch.bool)


def _torchcrf_loss(p: Problem) -> Call:
    peer, mask = _torchcrf(p)
    leaves = [p.emissions, peer.trans_matrix, peer.start_trans, peer.end_trans]
    return gradient_of(lambda: -peer(p.emissions, p.tags, mask).sum(), leaves)


def _torchcrf_decode(p: Problem) -> Call:
    peer, mask = _torchcrf(p)
    return lambda: peer.viterbi_decode(p.emissions.detach(), mask)


def _edges(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return potentials in the layout of torch-struct, (B, T - 1, to, from)."""
    edges = transitions.T + emissions[:, 1:, :, None]
    first = (start + emissions[:, 0])[:, None, None, :]
    last = torch.zeros_like(edges[:1, :, :, :1])
    last[:, -1] = 1.0
    edges = edges + last * end[:, None]
    return torch.cat([edges[:, :1] + first, edges[:, 1:]], 1)


def _torch_struct_loss(p: Problem) -> Call:
    from torch_struct import LinearChainCRF

    leaves = [p.emissions, *p.shared]
    steps = (p.tags[:, 1:] * p.classes + p.tags[:, :-1])[..., None]

    def loss() -> Tensor:
        edges = _edges(*leaves)
        return LinearChainCRF(edges).partition.sum() - edges.flatten(2).gather(2, steps).sum()

    return gradient_of(loss, leaves)


def _torch_struct_decode(p: Problem) -> Call:
    from torch_struct import LinearChainCRF

    scores = [q.detach() for q in (p.emissions, *p.shared)]

    def decode() -> Tensor:
        best = LinearChainCRF(_edges(*scores)).argmax
        return torch.cat([best[:, :1].sum(2).argmax(-1), best.sum(3).argmax(-1)], 1)

    return decode


# ---------------------------------------------------------------------------------------------------------- in JAX
def _jax_loss(p: Problem) -> Call:
    """Scan over scaled products of vector and matrix, the fastest form in JAX that we know."""
    import jax
    import jax.numpy as jnp

    tags = p.tags.numpy()

    def loss(emissions: Any, transitions: Any, start: Any, end: Any) -> Any:
        tops = emissions.max(-1)
        weights = jnp.exp(emissions - tops[..., None]).swapaxes(0, 1)
        matrix = jnp.exp(transitions)

        def step(vectors: Any, weight: Any) -> tuple[Any, Any]:
            moved = (vectors @ matrix) * weight
            norm = moved.sum(-1, keepdims=True)
            return moved / norm, jnp.log(norm[:, 0])

        last, norms = jax.lax.scan(step, jnp.exp(start) * weights[0], weights[1:])
        log_z = jnp.log((last * jnp.exp(end)).sum(-1)).sum() + norms.sum() + tops.sum()
        score = jnp.take_along_axis(emissions, tags[..., None], -1).sum()
        score += transitions[tags[:, :-1], tags[:, 1:]].sum() + start[tags[:, 0]].sum() + end[tags[:, -1]].sum()
        return log_z - score

    return _jax_call(jax.value_and_grad(loss, (0, 1, 2, 3)), p)


def _dynamax_loss(p: Problem) -> Call:
    """Use the filter of its hidden Markov model, which accepts any positive matrix as transitions."""
    import jax
    import jax.numpy as jnp
    from dynamax.hidden_markov_model.inference import hmm_filter

    tags = p.tags.numpy()

    def loss(emissions: Any, transitions: Any, start: Any, end: Any) -> Any:
        scores = emissions.at[:, -1].add(end)
        run = jax.vmap(lambda s: hmm_filter(jnp.exp(start), jnp.exp(transitions), s).marginal_loglik)
        score = jnp.take_along_axis(scores, tags[..., None], -1).sum()
        return run(scores).sum() - score - transitions[tags[:, :-1], tags[:, 1:]].sum() - start[tags[:, 0]].sum()

    return _jax_call(jax.value_and_grad(loss, (0, 1, 2, 3)), p)


def _jax_decode(p: Problem) -> Call:
    import jax
    import jax.numpy as jnp

    def decode(emissions: Any, transitions: Any, start: Any, end: Any) -> Any:
        scores = emissions.swapaxes(0, 1)

        def forward(best: Any, score: Any) -> tuple[Any, Any]:
            reached = best[:, :, None] + transitions
            return reached.max(1) + score, reached.argmax(1).astype(jnp.uint8)

        def back(label: Any, pointer: Any) -> tuple[Any, Any]:
            before = jnp.take_along_axis(pointer, label[:, None], 1)[:, 0].astype(jnp.int32)
            return before, before

        last, pointers = jax.lax.scan(forward, start + scores[0], scores[1:])
        final = (last + end).argmax(-1).astype(jnp.int32)
        _, labels = jax.lax.scan(back, final, pointers, reverse=True)
        return jnp.concatenate([labels, final[None]]).swapaxes(0, 1)

    return _jax_call(decode, p)


def _jax_call(function: Any, p: Problem) -> Call:
    import jax

    run, inputs = jax.jit(function), [jax.numpy.asarray(a) for a in p.arrays(np.float32)]

    def call() -> Any:
        result = jax.block_until_ready(run(*inputs))
        if not isinstance(result, tuple):
            return np.asarray(result)
        return [np.array(part) for part in (result[0], *result[1])]

    return call


# ------------------------------------------------------------------------------------- decoders of one recording
def _librosa_decode(p: Problem) -> Call:
    """Use its compiled kernel, which takes logarithms; the public function takes only probabilities."""
    from librosa.sequence import _viterbi

    emissions, transitions, start, end = p.arrays(np.float64)
    emissions[:, -1] += end
    return lambda: [_viterbi(scores, transitions, start)[0] for scores in emissions]


def _hmmlearn_decode(p: Problem) -> Call:
    """Use its compiled kernel, which accepts any positive weights; the model class accepts only probabilities."""
    from hmmlearn._hmmc import viterbi

    emissions, transitions, start, end = p.arrays(np.float64)
    emissions[:, -1] += end
    weights, first = np.exp(transitions), np.exp(start)
    return lambda: [viterbi(first, weights, scores)[1] for scores in emissions]


def _torbi_decode(p: Problem) -> Call:
    try:
        import torbi
    except FileNotFoundError as error:  # the package was built for other releases of PyTorch
        raise RuntimeError(str(error)) from error

    emissions, transitions, start, end = (torch.from_numpy(a) for a in p.arrays(np.float32))
    emissions[:, -1] += end
    return lambda: torbi.from_probabilities(
        emissions, transition=transitions, initial=start, log_probs=True, num_threads=1
    )
