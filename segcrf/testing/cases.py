"""Hypothesis strategies: small cases of every kind that has broken a CRF somewhere.

Shapes are drawn by Hypothesis; numbers come from a drawn seed, so that cases are cheap and shrink by shape and kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
from torch import Tensor

from segcrf.testing.oracle import Enumeration, chain, semi_markov

__all__ = ["Case", "chain_case", "chains", "enumerated", "enumerated_until", "semi_markov_case", "semi_markovs"]

#: An enumeration of more outcomes than this is too slow to be drawn often.
MAX_OUTCOMES = 20_000

#: Far apart, equal, and around the span of 150 nats at which the kernels leave scaled probabilities.
EXTREMES = (-1e4, -701.0, -200.0, -151.0, -149.0, -1.0, 0.0, 0.0, 1.0, 149.0, 151.0, 200.0, 701.0, 1e4)

KINDS = ("normal", "ties", "wide", "extreme")


@dataclass(frozen=True, eq=False)
class Case:
    """Arguments of a structure: ``potentials`` by name, emissions (B, T, C) first, and ``lengths`` (B,)."""

    potentials: dict[str, Tensor]
    lengths: Tensor
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def emissions(self) -> Tensor:
        return self.potentials["emissions"]

    @property
    def num_classes(self) -> int:
        return self.emissions.shape[-1]

    @property
    def valid(self) -> Tensor:
        """(B, T): True on frames of a recording, False on padding."""
        return torch.arange(self.emissions.shape[1]) < self.lengths[:, None]

    def having(self, **potentials: Tensor) -> Case:
        """The same case with some potentials replaced."""
        return replace(self, potentials=self.potentials | potentials)

    def only(self, recording: int) -> Case:
        """One recording by itself, without its padding."""
        length = int(self.lengths[recording])
        one = slice(recording, recording + 1)
        alone = {name: values[one, : length - t].clone() for name, t, values in self._batched()}
        return replace(self.having(**alone), lengths=self.lengths[one].clone())

    def padded(self, extra: int, filler: float) -> Case:
        """The same recordings with ``extra`` more frames of padding, and ``filler`` on every frame of padding."""
        longer: dict[str, Tensor] = {}
        for name, t, values in self._batched():
            inside = _wide(self.valid[:, t:], values)
            more = values.new_full((len(values), extra, *values.shape[2:]), filler)
            longer[name] = torch.cat([torch.where(inside, values, filler), more], 1)
        return self.having(**longer)

    def _batched(self) -> list[tuple[str, int, Tensor]]:
        """Potentials with an entry per frame, or (1) per step from frame to frame."""
        return [(n, values.dim() - 3, values) for n, values in self.potentials.items() if values.dim() > 2]

    def differentiable(self) -> Case:
        """The same case with potentials that require gradients; padding of zero, as gradcheck perturbs it."""
        potentials = self.padded(0, 0.0).potentials
        return replace(self, potentials={k: v.detach().clone().requires_grad_() for k, v in potentials.items()})


def _wide(inside: Tensor, values: Tensor) -> Tensor:
    return inside.view(*inside.shape, *[1] * (values.dim() - 2))


@st.composite
def chains(
    draw: st.DrawFn,
    kinds: Sequence[str] = KINDS,
    max_classes: int = 5,
    max_frames: int = 7,
    varying: bool = False,
) -> Case:
    """A linear chain: ragged lengths, forbidden scores, garbage in the padding; every recording has a labelling."""
    num_classes = draw(st.integers(1, max_classes))
    longest = max(t for t in range(1, max_frames + 1) if num_classes**t <= MAX_OUTCOMES)
    lengths = draw(st.lists(st.integers(1, longest), min_size=1, max_size=6))  # from 4 on kernels go side by side
    padded = max(lengths) + draw(st.integers(0, 2))
    kind = draw(st.sampled_from(kinds))
    forbidden = draw(st.sampled_from([0.0, 0.3, 0.6]))
    return chain_case(draw(st.integers(0, 2**32 - 1)), lengths, padded, num_classes, kind, forbidden, varying)


def chain_case(
    seed: int,
    lengths: Sequence[int],
    num_frames: int,
    num_classes: int,
    kind: str = "normal",
    forbidden: float = 0.0,
    varying: bool = False,
) -> Case:
    """One such case, made of a seed; ``varying``: with transitions of every step."""
    rng = np.random.default_rng(seed)
    square = (num_classes, num_classes)
    sizes = {
        "emissions": (len(lengths), num_frames, num_classes),
        "transitions": (len(lengths), num_frames - 1, *square) if varying else square,
        "start": (num_classes,),
        "end": (num_classes,),
    }
    potentials = {name: _scores(rng, size, kind) for name, size in sizes.items()}
    banned = {name: rng.random(size) < forbidden for name, size in sizes.items()}
    for recording, length in enumerate(lengths):
        _permit_one_path(rng, banned, recording, length)
    for name, values in potentials.items():
        values[banned[name]] = -np.inf
    for recording, length in enumerate(lengths):
        for name in ("emissions", "transitions") if varying else ("emissions",):
            padding = potentials[name][recording, length - (name == "transitions") :]
            padding[...] = rng.choice([np.nan, np.inf, -np.inf, 1e300, 0.0, 3.0], padding.shape)
    return Case({name: torch.from_numpy(values) for name, values in potentials.items()}, torch.tensor(lengths))


def _scores(rng: np.random.Generator, size: tuple[int, ...], kind: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if kind == "ties":
        return rng.integers(-1, 2, size).astype(np.float64)
    if kind == "extreme":
        return rng.choice(EXTREMES, size)
    return rng.normal(0.0, 1.0 if kind == "normal" else 50.0, size)


def _permit_one_path(
    rng: np.random.Generator, banned: dict[str, np.ndarray[Any, Any]], recording: int, length: int
) -> None:
    path = rng.integers(banned["start"].shape[0], size=length)
    banned["start"][path[0]] = banned["end"][path[-1]] = False
    steps = (path[:-1], path[1:])
    banned["transitions"][steps if banned["transitions"].ndim == 2 else (recording, np.arange(length - 1), *steps)] = (
        False
    )
    banned["emissions"][recording, np.arange(length), path] = False


# ------------------------------------------------------------------------------------------------------ semi-Markov
@st.composite
def semi_markovs(draw: st.DrawFn, kinds: Sequence[str] = KINDS, max_classes: int = 3, max_frames: int = 6) -> Case:
    """A semi-Markov chain: tails or none, minimum durations, censored or not, bands that may touch or not."""
    num_classes = draw(st.integers(1, max_classes))
    lengths = draw(st.lists(st.integers(1, max_frames), min_size=1, max_size=3))
    padded = max(lengths) + draw(st.integers(0, 2))
    options = {"censored": draw(st.booleans()), "self_transitions": draw(st.booleans())}
    return semi_markov_case(
        draw(st.integers(0, 2**32 - 1)), lengths, padded, num_classes, draw(st.sampled_from([1, 2, 3, 5])),
        draw(st.sampled_from(kinds)), draw(st.sampled_from([0.0, 0.3])), **options
    )  # fmt: skip


def semi_markov_case(
    seed: int,
    lengths: Sequence[int],
    num_frames: int,
    num_classes: int,
    max_duration: int,
    kind: str = "normal",
    forbidden: float = 0.0,
    **options: bool,
) -> Case:
    """One such case, made of a seed; the first of those that follow it in which every recording has a segmentation."""
    while True:
        case = _any_semi_markov_case(seed, lengths, num_frames, num_classes, max_duration, kind, forbidden, options)
        if all(truth.feasible for truth in enumerated(case)):
            return case
        seed += 1


def _any_semi_markov_case(
    seed: int,
    lengths: Sequence[int],
    num_frames: int,
    num_classes: int,
    max_duration: int,
    kind: str,
    forbidden: float,
    options: dict[str, bool],
) -> Case:
    case = chain_case(seed, lengths, num_frames, num_classes, kind, forbidden / 2)
    rng = np.random.default_rng(seed + 1)
    durations = _scores(rng, (num_classes, max_duration), kind)
    durations[rng.random(durations.shape) < forbidden] = -np.inf
    tail = -rng.exponential(0.5, num_classes) - 0.01
    if not options["censored"]:
        tail = tail + 0.4  # a tail may reward long bands, where nothing is summed to infinity
    tail[rng.random(num_classes) < 0.4] = -np.inf
    potentials = {name: case.potentials[name] for name in ("emissions", "transitions")}
    potentials |= {"durations": torch.from_numpy(durations), "tail": torch.from_numpy(tail)}
    potentials |= {name: case.potentials[name] for name in ("start", "end")}
    return Case(potentials, case.lengths, dict(options))


def enumerated(case: Case) -> list[Enumeration]:
    """The oracle's answer to a case: one enumeration per recording."""
    enumerate_one = semi_markov if "durations" in case.potentials else chain
    alone = (case.only(b) for b in range(len(case.lengths)))
    return [
        enumerate_one(*((v[0] if v.dim() > 2 else v).detach().numpy() for v in one.potentials.values()), **one.options)
        for one in alone
    ]


def enumerated_until(case: Case, recording: int, frame: int) -> Enumeration:
    """The oracle's answer to a recording that is known up to ``frame``, and goes on."""
    one = case.only(recording)
    steps = one.potentials["transitions"]
    known = one.having(
        emissions=one.emissions[:, : frame + 1],
        transitions=steps[:, :frame] if steps.dim() == 4 else steps,
        end=torch.zeros_like(one.potentials["end"]),
    )
    known = replace(known, lengths=torch.tensor([frame + 1]))
    if "durations" in case.potentials:
        known = replace(known, options=known.options | {"goes_on": True})
    return enumerated(known)[0]
