"""A program that calls one structure with hostile inputs: ``python hostile.py STRUCTURE WAY CALLS``.

It prints how many calls ended how, and exits with 1 when a call gave a number for an input that has no answer. A crash
shows as a negative exit status, which the test that runs this looks for.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segcrf import LinearChain, SemiMarkov

BATCH, FRAMES, CLASSES, LONGEST = 4, 50, 3, 6
WRONG_LENGTHS = (FRAMES + 1, 60, 500, 10**6, 2**40, 0, -3, -(2**40))
WRONG_LABELS = (CLASSES, 99, 10**9, -1, -99, -(2**40))
Potentials = dict[str, Tensor]


def potentials_of(structure: str) -> Potentials:
    scores: Potentials = {"emissions": torch.randn(BATCH, FRAMES, CLASSES)}
    if structure == "chain_varying":
        scores["transitions"] = torch.randn(BATCH, FRAMES - 1, CLASSES, CLASSES)
    else:
        scores["transitions"] = torch.randn(CLASSES, CLASSES)
    if structure == "semimarkov":
        scores |= {"durations": torch.randn(CLASSES, LONGEST), "tail": -torch.rand(CLASSES)}
    scores |= {"start": torch.randn(CLASSES), "end": torch.randn(CLASSES)}
    if structure == "semimarkov":
        scores |= {"first": scores["durations"], "last": scores["durations"]}
    return scores


def broken_lengths(rng: random.Random) -> Tensor:
    lengths = torch.randint(1, FRAMES + 1, (BATCH,))
    lengths[rng.randrange(BATCH)] = rng.choice(WRONG_LENGTHS)
    return lengths


def broken_labels(rng: random.Random, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Labels with a wrong one, and the recording (B,) that has it."""
    labels = torch.randint(0, CLASSES, (BATCH, FRAMES))
    row = rng.randrange(BATCH)
    labels[row, rng.randrange(int(lengths[row]))] = rng.choice(WRONG_LABELS)
    return labels, torch.arange(BATCH) == row


def resized(values: Tensor, rng: random.Random) -> Tensor:
    """Values of another shape, type or device."""
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda v: v[..., :-1],
        lambda v: torch.cat([v, v], -1),
        lambda v: v[None],
        lambda v: v.flatten()[:1],
        lambda v: v.new_empty(0),
        lambda v: v.to("meta"),
        lambda v: v.to(torch.int32 if v.is_floating_point() else torch.float32),
        lambda v: v.to(torch.complex64),
        lambda v: v.to_sparse(),
    ]
    return rng.choice(changes)(values)


def check(answer: Any, rows: Tensor | None) -> str:
    """How a call ended that should have no answer: only -inf for the ``rows`` (B,) at fault will do."""
    total = answer if isinstance(answer, Tensor) else answer[0]
    if rows is not None and total.shape == rows.shape and bool((total[rows] == -torch.inf).all()):
        return "-inf"
    raise SystemExit(f"a number for an input without an answer: {total}")


def raw_call(structure: str, rng: random.Random) -> str:
    """Call an operator itself with one input broken."""
    scores, lengths, rows = potentials_of(structure), torch.randint(1, FRAMES + 1, (BATCH,)), None
    labels = torch.randint(0, CLASSES, (BATCH, FRAMES))
    name = rng.choice(["log_partition", "sum_product", "log_prob", "max_product"])
    broken = rng.choice(["lengths", "labels", "shape"] if name == "log_prob" else ["lengths", "shape"])
    if broken == "lengths":
        lengths = broken_lengths(rng)
        rows = (lengths < 1) | (lengths > FRAMES)
    elif broken == "labels":
        labels, rows = broken_labels(rng, lengths)
    else:
        which = rng.choice([*scores, "lengths", *(["labels"] if name == "log_prob" else [])])
        if which == "lengths":
            lengths = resized(lengths, rng)
        elif which == "labels":
            labels = resized(labels, rng)
        else:
            scores[which] = resized(scores[which], rng)
    tail = {"log_prob": (labels, lengths, True), "sum_product": (lengths, True)}.get(name, (lengths,))
    operator = getattr(torch.ops.segcrf, f"{structure}_{name}")
    return check(operator(*scores.values(), *tail), rows)


def build(structure: str, scores: Potentials, lengths: Tensor, **options: Any) -> LinearChain | SemiMarkov:
    given = {name: values for name, values in scores.items() if name not in ("first", "last")}
    kind = SemiMarkov if structure == "semimarkov" else LinearChain
    return kind(**given, lengths=lengths, **options)


def public_call(structure: str, rng: random.Random) -> str:
    """Call the public class without validation, or change what it was made of afterwards."""
    scores, lengths = potentials_of(structure), torch.randint(1, FRAMES + 1, (BATCH,))
    validated = rng.choice([True, False, None])
    broken = rng.choice(["lengths", "labels", "label shape", "replace", "emissions"])
    if broken == "lengths":
        return check(build(structure, scores, broken_lengths(rng), validate_args=validated).log_partition, None)
    dist = build(structure, scores, lengths, validate_args=validated)
    if broken == "labels":
        labels, rows = broken_labels(rng, lengths)
        return check(dist.log_prob(labels), rows)
    if broken == "label shape":
        shape = rng.choice([(BATCH, FRAMES - 1), (BATCH - 1, FRAMES), (FRAMES,), (BATCH, 1)])
        return check(dist.log_prob(torch.zeros(shape, dtype=torch.int64)), None)
    if broken == "replace":
        return check(dist.replace(lengths=broken_lengths(rng), validate_args=validated).mode, None)
    return check(dist.replace(emissions=torch.randn(BATCH, FRAMES, 30), validate_args=validated).log_partition, None)


def compiled_calls(structure: str, rng: random.Random) -> Callable[[], str]:
    """Compile a loss, a partition and a decoding once; each call then has wrong lengths or labels."""
    scores = potentials_of(structure)

    def partition(emissions: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        return build(structure, scores | {"emissions": emissions}, lengths).log_partition

    def likelihood(emissions: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        return build(structure, scores | {"emissions": emissions}, lengths).log_prob(labels)

    def score(emissions: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        return build(structure, scores | {"emissions": emissions}, lengths).best.score

    graphs = [torch.compile(each, backend="aot_eager", fullgraph=True) for each in (partition, likelihood, score)]

    def call() -> str:
        graph = rng.choice(graphs)
        emissions, lengths = torch.randn(BATCH, FRAMES, CLASSES), torch.randint(1, FRAMES + 1, (BATCH,))
        labels = torch.randint(0, CLASSES, (BATCH, FRAMES))
        if graph is graphs[1] and rng.random() < 0.5:
            labels, rows = broken_labels(rng, lengths)
            return check(graph(emissions, lengths, labels), rows)
        lengths = broken_lengths(rng)
        return check(graph(emissions, lengths, labels), (lengths < 1) | (lengths > FRAMES))

    return call


def main(structure: str, way: str, calls: int) -> None:
    torch.manual_seed(0)
    rng = random.Random(0)
    compiled = compiled_calls(structure, rng) if way == "compiled" else None
    ended: Counter[str] = Counter()
    for _ in range(calls):
        try:
            ended[compiled() if compiled else {"raw": raw_call, "public": public_call}[way](structure, rng)] += 1
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            if not str(error):
                raise
            ended[type(error).__name__] += 1
    print(structure, way, dict(ended))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
