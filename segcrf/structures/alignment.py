"""Alignment and other partial knowledge of the labels: knowledge restricts the structure.

The likelihood of any knowledge is one difference: the log partition of the labellings that agree with it, less that of
all labellings. So each function here builds a restriction, and a loss is minus its ``log_share``.

=======================================  ===========================================================================
known                                    function
=======================================  ===========================================================================
some frames have no label                ``dist.log_prob(labels)`` with -100 there
a frame has one of several classes       :func:`allowed_classes`, then ``dist.restrict(allowed).log_share(dist)``
how probable each class is, per frame    :func:`evidence`, or :func:`segcrf.losses.soft_cross_entropy`
boundaries, but for a few frames         :func:`boundary_tolerance`
one labelled frame in each band          :func:`timestamps`
the order of the bands, not their times  :func:`transcript`
how long the bands of a class last       :func:`~segcrf.structures.minimum_duration`
=======================================  ===========================================================================

Alignments count bands, which labels alone do not do: a switch somewhere in a window is one switch, not a flicker.
They run over an expanded state space, the places in the list of bands, from left to right, and are exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from segcrf._validation import UNLABELLED, InputError, check_same_number, check_whole
from segcrf.kernels import frame_mask
from segcrf.segments import Segments
from segcrf.structures.base import Structure
from segcrf.structures.checks import check_feasible, check_labels, check_weights
from segcrf.structures.distribution import Best, LabelDistribution, Marginals
from segcrf.structures.semi_markov import SemiMarkov

__all__ = ["Alignment", "allowed_classes", "boundary_tolerance", "evidence", "timestamps", "transcript"]


def allowed_classes(sets: Sequence[Sequence[Collection[int]]], num_classes: int) -> Tensor:
    """Return a restriction (B, T, C) for ``dist.restrict`` from sets of classes, one per frame.

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
    """Return the log of the expected product of weights, ``log sum_y p(y) prod_t weights[t, y_t]``, (B,).

    Virtual evidence: ``weights[t, c]`` is the probability of the observation of an annotator, or of a second sensor, if
    the class is c, up to a factor per frame. Weights of 0 and 1 are a restriction; equal weights are an unlabelled
    frame. It is the likelihood of noisy observations, not a target: a model that is sure of the heaviest class scores
    best. If the soft labels are themselves the target, use :func:`segcrf.losses.soft_cross_entropy`.

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
    check_weights(weights, "weights", tuple(dist.emissions.shape), dist.lengths)
    within = frame_mask(dist.lengths, weights.shape[1])
    wide = dist.double()
    scores = torch.where(within[..., None], weights.double().log(), 0.0)
    return wide.replace(emissions=wide.emissions + scores).log_share(wide).to(dist.dtype)


class Alignment(LabelDistribution):
    """The distribution of the labels given the order of the bands, without their exact times.

    :func:`transcript`, :func:`timestamps` and :func:`boundary_tolerance` make it. Every band lasts at least one frame.

    Attributes:
        orders: per recording, the classes (M,) of its bands.
        places: per recording, the structure of its T frames over the M places in its order, (1, T, M), float64.
        lengths: (B,), as in the structure that was restricted.
    """

    def __init__(self, dist: Structure, orders: Sequence[Tensor], windows: Sequence[Tensor | None]) -> None:
        super().__init__(dist.batch_shape, dist.event_shape, validate_args=False)
        self.orders = list(orders)
        self.lengths, self.num_classes, self._dtype = dist.lengths, dist.num_classes, dist.dtype
        self._whole = dist.double()
        rows = enumerate(zip(orders, windows, strict=True))
        self.places = [_places(self._whole, recording, order, window) for recording, (order, window) in rows]

    def __repr__(self) -> str:
        recordings, frames, classes = self._whole.emissions.shape
        bands = [len(order) for order in self.orders]
        return f"Alignment(B={recordings}, T={frames}, C={classes}, bands={bands})"

    @property
    def log_share(self) -> Tensor:
        """Log-probability (B,) of what is known, differentiable: minus it is a loss."""
        return (self._log_z - self._whole.log_z).to(self._dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability (B,) of labels (B, T), -100 = unknown, given what is known; -inf if they differ.

        Raises:
            TypeError, ValueError: as :meth:`Structure.log_prob`, except for forbidden labels.
        """
        event = (self._batch_shape[0], self._event_shape[0])
        checked = check_labels(value, event, self.num_classes, self.lengths)
        agreeing: list[Tensor] = []
        for order, placed, row in zip(self.orders, self.places, checked, strict=True):
            known = row[: placed.emissions.shape[1], None]
            scores = placed.emissions.masked_fill(((known != order) & (known != UNLABELLED))[None], -torch.inf)
            agreeing.append(placed.replace(emissions=scores).log_z)
        return (torch.cat(agreeing) - self._log_z).to(self._dtype)

    @property
    def mode(self) -> Tensor:
        """The most probable labels (B, T) that agree with what is known, -100 beyond lengths: a forced alignment."""
        return self.best.labels

    @property
    def best(self) -> Best:
        """The most probable labelling that agrees with what is known, with its score and the starts of its bands."""
        return self.from_places([placed.best for placed in self.places])

    def from_places(self, paths: Sequence[Best]) -> Best:
        """Return labellings of the places, one per recording, as labellings of the classes.

        Args:
            paths: labellings (1, T) of :attr:`places`.

        Raises:
            InputError: a score is -inf, so the bands of that recording do not fit.
        """
        score = torch.cat([path.score for path in paths])
        self._check_feasible(score)
        labels = self.lengths.new_full((*self._batch_shape, *self._event_shape), UNLABELLED)
        starts = torch.zeros_like(labels, dtype=torch.bool)
        for row, begins, order, path in zip(labels, starts, self.orders, paths, strict=True):
            frames = path.labels.shape[1]
            row[:frames], begins[:frames] = order[path.labels[0]], path.starts[0]
        return Best(score.to(self._dtype), labels, starts)

    def band_probability(self, bands: Segments) -> Tensor:
        """Return the probability (N,) that each band, as a whole, is a band, given what is known.

        Args:
            bands: of this batch, as for :meth:`Structure.band_probability`.

        Raises:
            ValueError: a band lies beyond the recordings, or has no such class.
        """
        recording, start, end, label = self.band_columns(bands)
        self._check_feasible(self._log_z)
        total = torch.zeros(len(label), dtype=torch.float64, device=label.device)
        for number, (order, placed) in enumerate(zip(self.orders, self.places, strict=True)):
            own = (recording == number).nonzero()[:, 0]
            which, place = (label[own][:, None] == order).nonzero(as_tuple=True)
            if len(which):
                row = own[which]
                columns = torch.zeros_like(row), start[row], end[row], place
                each = placed._band_log_prob(*columns).exp()  # pyright: ignore[reportPrivateUsage]
                total.index_add_(0, row, each.to(total.dtype))
        return total.clamp(max=1.0).to(self._dtype)

    @property
    def marginals(self) -> Marginals:
        """Posterior probabilities of labels, transitions and band starts, given what is known."""
        self._check_feasible(self._log_z)
        found: list[Marginals] = []
        for order, placed in zip(self.orders, self.places, strict=True):
            classes = torch.nn.functional.one_hot(order, self.num_classes).double()
            labels, transitions, starts = placed.marginals
            padding = (0, 0, 0, self._event_shape[0] - labels.shape[1])
            labels, starts = (torch.nn.functional.pad(each[0] @ classes, padding) for each in (labels, starts))
            found.append(Marginals(labels, classes.T @ transitions[0] @ classes, starts))
        return Marginals(*(torch.stack(each).to(self._dtype) for each in zip(*found, strict=True)))

    @property
    def _log_z(self) -> Tensor:
        total = torch.cat([placed.log_z for placed in self.places])
        self._check_feasible(total)
        return total

    def _check_feasible(self, total: Tensor) -> None:
        check_feasible(
            total,
            self.lengths,
            lambda: (
                "its bands, in the order given, do not fit; look for more bands than frames, forbidden (-inf) "
                "transitions between them, durations too short or too long, and forbidden classes"
            ),
        )


def transcript(dist: Structure, orders: Sequence[Sequence[int]]) -> Alignment:
    """Return the distribution given the order of the bands, without their times.

    Args:
        dist: over B recordings.
        orders: per recording, the classes of its bands, first to last. No two neighbours are the same, unless ``dist``
            is semi-Markov and lets bands of this class touch.

    Raises:
        ValueError: a recording without bands, an unknown class, or neighbours of one class that may not touch.

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
    checked = _check_orders(orders, len(dist.lengths), _touching(dist))
    places = [torch.as_tensor(order, device=dist.lengths.device) for order in checked]
    return Alignment(dist, places, [None] * len(places))


def timestamps(dist: Structure, labels: Tensor) -> Alignment:
    """Return the distribution given one frame of each band: one switch lies somewhere between two of them.

    Args:
        dist: over B recordings.
        labels: (B, T), -100 except at the known frames. Several in a row of one class mark one band.

    Raises:
        ValueError: a recording without any known frame, or an unknown class.

    Source: Li, Abu Farha and Gall, "Temporal Action Segmentation from Timestamp Supervision", 2021. That paper places
        the switches by a heuristic; here their places are summed over.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 4, 2), torch.zeros(2, 2))
        >>> timestamps(fair, torch.tensor([[0, -100, -100, 1]])).log_share.exp()     # 3 of 16 labellings
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
        # A band lies after the last mark of the previous band, and ends before the first mark of the next.
        after = torch.cat([first.new_zeros(1), last[:-1] + 1])
        before = torch.cat([first[1:], first.new_full((1,), len(row))])
        orders.append(marked[begins])
        windows.append(_window(after, before, len(row)))
    return Alignment(dist, orders, windows)


def boundary_tolerance(dist: Structure, labels: Tensor, frames: int) -> Alignment:
    """Return the distribution given every boundary to within ``frames``, since annotators are early or late.

    Each switch lies at most ``frames`` frames from its place in ``labels``; the bands and their order are certain.

    Args:
        dist: over B recordings.
        labels: (B, T) complete labels.
        frames: how far a boundary may lie from its place, 0 or more.

    Raises:
        ValueError: an unlabelled frame, an unknown class, or a negative number of frames.

    Example:
        >>> from segcrf import LinearChain
        >>> fair = LinearChain(torch.zeros(1, 6, 2), torch.zeros(2, 2))
        >>> boundary_tolerance(fair, torch.tensor([[0, 0, 0, 1, 1, 1]]), 1).log_share.exp() * 2**6
        tensor([3.])
    """
    check_whole(frames, "frames", 0)
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
    """Return the labels (T_b,) of each recording after checking them."""
    event = (dist.emissions.shape[0], dist.emissions.shape[1])
    checked = check_labels(labels, event, dist.num_classes, dist.lengths)
    return [row[:length] for row, length in zip(checked, dist.lengths.tolist(), strict=True)]


def _window(after: Tensor, before: Tensor, num_frames: int) -> Tensor:
    """Return the frames [after, before) at which place m may stand, as (T, M)."""
    frames = torch.arange(num_frames, device=after.device)[:, None]
    return (frames >= after) & (frames < before)


def _places(dist: Structure, recording: int, order: Tensor, window: Tensor | None) -> Structure:
    """Return the structure of one recording over the M places in its list of bands, from left to right."""
    length = int(dist.lengths[recording])
    place = torch.arange(len(order), device=order.device)
    # A chain stays in a place by its self-transition; a segment lasts by its duration.
    stays = not isinstance(dist, SemiMarkov)
    forward = (place == place[:, None] + 1) | ((place == place[:, None]) & stays)
    emissions = dist.emissions[recording : recording + 1, :length][..., order]
    given = dist.potentials._asdict()
    steps: Tensor = given["transitions"]
    steps = steps if steps.dim() == 2 else steps[recording : recording + 1, : length - 1]
    potentials = {name: table[order] for name, table in given.items() if name not in ("emissions", "transitions")}
    potentials["emissions"] = emissions if window is None else emissions.masked_fill(~window, -torch.inf)
    potentials["transitions"] = steps[..., order, :][..., order].masked_fill(~forward, -torch.inf)
    potentials["start"] = potentials["start"].masked_fill(place > 0, -torch.inf)
    potentials["end"] = potentials["end"].masked_fill(place < len(order) - 1, -torch.inf)
    return dist.replace(lengths=dist.lengths[recording : recording + 1], validate_args=False, **potentials)


def _check_classes_at(values: Iterable[int], num_classes: int, recording: int, frame: int) -> None:
    """Raise for a class outside 0..C - 1 in a set of classes of a frame."""
    odd = [label for label in values if not 0 <= label < num_classes]
    if odd:
        expected, advice = f"0 to {num_classes - 1}", "an empty set allows any class"
        raise InputError("sets", f"class {odd[0]}", expected, advice, recording=recording, frame=frame)


def _touching(dist: Structure) -> list[bool]:
    """Return for each class whether two of its bands may touch."""
    if not isinstance(dist, SemiMarkov):
        return [False] * dist.num_classes
    return (dist.transitions.diagonal() > -torch.inf).tolist()


def _check_orders(values: Sequence[Sequence[int]], num_recordings: int, touching: Sequence[bool]) -> list[list[int]]:
    """Return the classes of bands in order, per recording, after checking them; ``touching`` says which may touch."""
    num_classes = len(touching)
    check_same_number(len(values), num_recordings, "orders", "emissions")
    checked: list[list[int]] = []
    for recording, order in enumerate(values):
        classes = [int(label) for label in order]
        if not classes:
            raise InputError("orders", "no bands", "one band at least", recording=recording)
        for place, label in enumerate(classes):
            if not 0 <= label < num_classes:
                got, expected = f"class {label} in band {place}", f"0 to {num_classes - 1}"
                raise InputError("orders", got, expected, "renumber the classes", recording=recording)
            if place and label == classes[place - 1] and not touching[label]:
                got = f"bands {place - 1} and {place} of one class, {label}"
                expected = "maximal runs, as bands are that may not touch"
                raise InputError("orders", got, expected, "list them as one", recording=recording)
        checked.append(classes)
    return checked


def _check_any_known(count: int, recording: int) -> None:
    """Raise for a recording without a labelled frame."""
    if not count:
        advice = "leave the recording out"
        raise InputError("labels", "no labelled frame", "one in each band", advice, recording=recording)


def _check_complete(row: Tensor, recording: int) -> None:
    """Raise for an unlabelled frame among the labels (T,) of a recording."""
    missing = (row == UNLABELLED).nonzero()
    if len(missing):
        expected = "complete labels with uncertain boundaries"
        advice = "use timestamps for labels of single frames"
        raise InputError("labels", str(UNLABELLED), expected, advice, recording=recording, frame=int(missing[0, 0]))
