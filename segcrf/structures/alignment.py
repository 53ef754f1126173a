"""Knowledge of the labels that is less than the labels: what is known restricts the structure.

The likelihood of any knowledge is one difference: the log partition of the labellings that agree with it, less that of
all. So each function here builds a restriction, and a loss is minus what comes back.

=======================================  ===========================================================================
what is known                            how to say it
=======================================  ===========================================================================
some frames have no label                ``dist.log_prob(labels)`` with -100 there
a frame has one of several classes       :func:`allowed_classes`, then ``dist.restrict(allowed).log_share(dist)``
how probable each class is, per frame    :func:`evidence`, or :func:`segcrf.losses.soft_cross_entropy`
boundaries, but for a few frames         :func:`boundary_tolerance`
one labelled frame in each band          :func:`timestamps`
the order of the bands, not their times  :func:`transcript`
=======================================  ===========================================================================

The last three need to count bands, which labels alone do not: a switch somewhere in a window is one switch, not a
flicker. They run over an expanded state space, the places in the list of bands, from left to right, and are exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.structures.base import Structure
from segcrf.structures.checks import check_feasible, check_labels, check_weights

__all__ = ["Alignment", "allowed_classes", "boundary_tolerance", "evidence", "timestamps", "transcript"]


def allowed_classes(sets: Sequence[Sequence[Collection[int]]], num_classes: int) -> Tensor:
    """A restriction (B, T, C) of sets of classes, one per frame, for ``dist.restrict``.

    Args:
        sets: per recording, per frame, the classes that may stand there; empty: any. T is the longest.
        num_classes: C.

    Raises:
        ValueError: a class outside 0..C - 1.

    Example:
        >>> allowed_classes([[{0}, {0, 1}, ()]], 3).int()
        tensor([[[1, 0, 0],
                 [1, 1, 0],
                 [1, 1, 1]]], dtype=torch.int32)
    """
    allowed = torch.ones(len(sets), max(map(len, sets), default=0), num_classes, dtype=torch.bool)
    for recording, frames in enumerate(sets):
        for frame, classes in enumerate(frames):
            _check_classes_at(classes, num_classes, recording, frame)
            if classes:
                allowed[recording, frame] = False
                allowed[recording, frame, list(classes)] = True
    return allowed


def evidence(dist: Structure, weights: Tensor) -> Tensor:
    """Log of the expected product of weights, ``log sum_y p(y) prod_t weights[t, y_t]``, (B,).

    Virtual evidence: ``weights[t, c]`` is the probability that an annotator, or a second sensor, would say what it said
    if the class were c, up to a factor per frame. Weights of 0 and 1 are a restriction; all equal, an unlabelled frame.
    It is the likelihood of noisy observations, not a target: a model that is sure of the heaviest class scores best.
    Where the soft labels are themselves the answer, use :func:`segcrf.losses.soft_cross_entropy`.

    Args:
        dist: over B recordings.
        weights: (B, T, C), 0 or more; beyond a recording's length not read.

    Raises:
        ValueError: another shape, a negative weight or NaN; or no labelling with a positive weight.

    Source: Pearl, *Probabilistic Reasoning in Intelligent Systems*, 1988, section 2.2.2.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 2, 2), torch.zeros(2, 2))
        >>> evidence(fair, torch.tensor([[[1.0, 0.0], [0.4, 0.2]]])).exp()      # 1/2 of 1, 1/2 of 0.4 and 0.2
        tensor([0.1500])
    """
    check_weights(weights, tuple(dist.emissions.shape), dist.lengths)
    beyond = torch.arange(weights.shape[1], device=weights.device) >= dist.lengths[:, None]
    wide = dist.double()
    scores = torch.where(beyond[..., None], 0.0, weights.double().log())
    return wide.having(wide.emissions + scores, *wide.potentials[1:]).log_share(wide).to(dist.dtype)


class Alignment:
    """A structure over recordings of which the bands are known, in order, but not exactly when.

    Made by :func:`transcript`, :func:`timestamps` and :func:`boundary_tolerance`. Every band lasts one frame at least.

    Attributes:
        orders: per recording, the classes (M,) of its bands.
        log_prob: log-probability (B,) of what is known, differentiable: minus it is a loss.
        mode: the most probable labels (B, T) that agree with it, -100 beyond lengths: a forced alignment.
        marginals: probability (B, T, C) of each class at each frame, given what is known; zero beyond lengths.
    """

    def __init__(self, dist: Structure, orders: Sequence[Tensor], windows: Sequence[Tensor | None]) -> None:
        self.orders = list(orders)
        self._dist = dist
        wide = dist.double()
        rows = enumerate(zip(orders, windows, strict=True))
        self._placed = [_places(wide, recording, order, window) for recording, (order, window) in rows]
        self._whole = wide

    @property
    def log_prob(self) -> Tensor:
        total = torch.cat([placed.log_partition for placed in self._placed])
        self._refuse(total)
        return (total - self._whole.log_partition).to(self._dist.dtype)

    @property
    def mode(self) -> Tensor:
        found = self._dist.lengths.new_full(self._dist.emissions.shape[:2], UNLABELLED)
        best = [placed.argmax() for placed in self._placed]
        self._refuse(torch.cat([each.score for each in best]))
        for row, order, each in zip(found, self.orders, best, strict=True):
            row[: each.labels.shape[1]] = order[each.labels[0]]
        return found

    @property
    def marginals(self) -> Tensor:
        self._refuse(torch.cat([placed.log_partition for placed in self._placed]))
        num_frames, num_classes = self._dist.emissions.shape[1:]
        rows: list[Tensor] = []
        for order, placed in zip(self.orders, self._placed, strict=True):
            classes = torch.nn.functional.one_hot(order, num_classes).double()
            row = placed.marginals.labels[0] @ classes
            rows.append(torch.nn.functional.pad(row, (0, 0, 0, num_frames - len(row))))
        return torch.stack(rows).to(self._dist.dtype)

    def _refuse(self, total: Tensor) -> None:
        check_feasible(
            total,
            self._dist.lengths,
            lambda: (
                "its bands, in the order given, do not fit; look for more bands than frames, forbidden (-inf) "
                "transitions between them, durations too short or too long, and forbidden classes"
            ),
        )


def transcript(dist: Structure, orders: Sequence[Sequence[int]]) -> Alignment:
    """What is known is the order of the bands, not their times.

    Args:
        dist: over B recordings.
        orders: per recording, the classes of its bands, first to last. In a linear chain, whose bands are maximal, no
            two neighbours are the same.

    Raises:
        ValueError: a recording without bands, an unknown class, or neighbours of one class in a linear chain.

    Source: the lattice of Graves et al., "Connectionist Temporal Classification", 2006, without its blank; for video,
        Huang, Fei-Fei and Niebles, "Connectionist Temporal Modeling for Weakly Supervised Action Labeling", 2016.

    Example:
        >>> from segcrf import LinearChain
        >>> dist = LinearChain(torch.tensor([[[1.0, 0.0], [0.2, 0.0], [0.0, 0.3]]]), torch.zeros(2, 2))
        >>> transcript(dist, [[0, 1]]).mode
        tensor([[0, 0, 1]])
        >>> transcript(dist, [[1, 0]]).mode
        tensor([[1, 0, 0]])
    """
    touching = "durations" in dist.fields
    checked = _check_orders(orders, len(dist.lengths), dist.num_classes, touching)
    places = [torch.as_tensor(order, device=dist.lengths.device) for order in checked]
    return Alignment(dist, places, [None] * len(places))


def timestamps(dist: Structure, labels: Tensor) -> Alignment:
    """What is known is one frame of each band: between two of them lies one switch, somewhere.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 but for the known frames. Several in a row of one class mark one band.

    Raises:
        ValueError: a recording without any known frame, or an unknown class.

    Source: Li, Abu Farha and Gall, "Temporal Action Segmentation from Timestamp Supervision", 2021; there a heuristic
        places the switches, here their places are summed over.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
        >>> timestamps(fair, torch.tensor([[0, -100, -100, 1]])).log_prob.exp()     # 3 of 16 labellings
        tensor([0.1875])
    """
    orders: list[Tensor] = []
    windows: list[Tensor | None] = []
    for recording, row in enumerate(_rows(dist, labels)):
        known = (row != UNLABELLED).nonzero()[:, 0]
        _check_any_known(len(known), recording)
        marked = row[known]
        begins = torch.ones_like(marked, dtype=torch.bool)
        begins[1:] = marked[1:] != marked[:-1]
        first, last = known[begins], known[torch.cat([begins[1:], begins[:1]])]
        # A band lies after the last mark of the one before, and ends before the first mark of the next.
        after = torch.cat([first.new_zeros(1), last[:-1] + 1])
        before = torch.cat([first[1:], first.new_full((1,), len(row))])
        orders.append(marked[begins])
        windows.append(_window(after, before, len(row)))
    return Alignment(dist, orders, windows)


def boundary_tolerance(dist: Structure, labels: Tensor, frames: int) -> Alignment:
    """What is known is every boundary, but only to within ``frames``: annotators are late, or early.

    Each switch lies at most ``frames`` frames from where ``labels`` put it; the bands and their order are certain.

    Args:
        dist: over B recordings.
        labels: (B, T) complete labels.
        frames: how far a boundary may lie from its place, 0 or more.

    Raises:
        ValueError: an unlabelled frame, an unknown class, or a negative number of frames.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 6, 2), torch.zeros(2, 2))
        >>> boundary_tolerance(fair, torch.tensor([[0, 0, 0, 1, 1, 1]]), 1).log_prob.exp() * 2**6
        tensor([3.])
    """
    _validation.whole(frames, "frames", 0)
    orders: list[Tensor] = []
    windows: list[Tensor | None] = []
    for recording, row in enumerate(_rows(dist, labels)):
        _check_complete(row, recording)
        begins = torch.ones_like(row, dtype=torch.bool)
        begins[1:] = row[1:] != row[:-1]
        start = begins.nonzero()[:, 0]
        end = torch.cat([start[1:], start.new_full((1,), len(row))])
        orders.append(row[start])
        windows.append(_window(start - frames, end + frames, len(row)))
    return Alignment(dist, orders, windows)


def _rows(dist: Structure, labels: Tensor) -> list[Tensor]:
    """The labels (T_b,) of each recording, checked."""
    event = (dist.emissions.shape[0], dist.emissions.shape[1])
    checked = check_labels(labels, event, dist.num_classes, dist.lengths)
    return [row[:length] for row, length in zip(checked, dist.lengths.tolist(), strict=True)]


def _window(after: Tensor, before: Tensor, num_frames: int) -> Tensor:
    """(T, M): True where place m may stand, the frames [after, before)."""
    frames = torch.arange(num_frames, device=after.device)[:, None]
    return (frames >= after) & (frames < before)


def _places(dist: Structure, recording: int, order: Tensor, window: Tensor | None) -> Structure:
    """The structure of one recording over the M places in its list of bands, from left to right."""
    length = int(dist.lengths[recording])
    place = torch.arange(len(order), device=order.device)
    # A chain stays in a place by its self-transition; a segment lasts by its duration.
    stays = 0 if "durations" in dist.fields else 1
    forward = (place == place[:, None] + 1) | ((place == place[:, None]) & bool(stays))
    emissions = dist.emissions[recording : recording + 1, :length][..., order]
    steps = dist.potentials[1]
    steps = steps if steps.dim() == 2 else steps[recording : recording + 1, : length - 1]
    potentials = {
        "emissions": emissions if window is None else emissions.masked_fill(~window, -torch.inf),
        "transitions": steps[..., order, :][..., order].masked_fill(~forward, -torch.inf),
    }
    for name, table in zip(dist.fields[2:], dist.potentials[2:], strict=True):
        potentials[name] = table[order]
    potentials["start"] = potentials["start"].masked_fill(place > 0, -torch.inf)
    potentials["end"] = potentials["end"].masked_fill(place < len(order) - 1, -torch.inf)
    lengths = dist.lengths[recording : recording + 1]
    return dist.having(*(potentials[name] for name in dist.fields), lengths=lengths, validate_args=False)


def _check_classes_at(values: Iterable[int], num_classes: int, recording: int, frame: int) -> None:
    """Refuse a class outside 0..C - 1 in a set of classes of a frame."""
    odd = [label for label in values if not 0 <= label < num_classes]
    if odd:
        raise ValueError(
            f"recording {recording}, frame {frame}: got class {odd[0]}, expected 0 to {num_classes - 1}; an empty set "
            "allows any class"
        )


def _check_orders(
    values: Sequence[Sequence[int]], num_recordings: int, num_classes: int, touching: bool
) -> list[list[int]]:
    """Return the classes of bands in order, per recording, after checking them."""
    _validation.same_number(len(values), num_recordings, "orders", "emissions")
    checked: list[list[int]] = []
    for recording, order in enumerate(values):
        classes = [int(label) for label in order]
        if not classes:
            raise ValueError(f"recording {recording}: the order of its bands is empty, expected one band at least")
        for place, label in enumerate(classes):
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"recording {recording}, band {place}: got class {label}, expected 0 to {num_classes - 1}; "
                    "renumber the classes"
                )
            if place and not touching and label == classes[place - 1]:
                raise ValueError(
                    f"recording {recording}, bands {place - 1} and {place} are both of class {label}: bands of a "
                    "linear chain are maximal runs; list them as one"
                )
        checked.append(classes)
    return checked


def _check_any_known(count: int, recording: int) -> None:
    """Refuse a recording without a labelled frame."""
    if not count:
        raise ValueError(
            f"recording {recording} has no labelled frame, expected one in each band; leave the recording out"
        )


def _check_complete(row: Tensor, recording: int) -> None:
    """Refuse an unlabelled frame among the labels (T,) of a recording."""
    missing = (row == UNLABELLED).nonzero()
    if len(missing):
        raise ValueError(
            f"recording {recording}, frame {int(missing[0, 0])}: got {UNLABELLED}, expected complete labels, of which "
            "only the boundaries are uncertain; use timestamps for labels of single frames"
        )
