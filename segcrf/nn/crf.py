"""Modules that hold parameters and return a structure; and `CRF`, the drop-in for pytorch-crf."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segcrf import _validation
from segcrf._validation import UNLABELLED
from segcrf.nn.durations import DURATION_FAMILIES, Durations
from segcrf.nn.transitions import (
    TRANSITION_FAMILIES,
    ConstrainedTransitions,
    IrregularTransitions,
    Transitions,
    check_intervals,
    log_frequencies,
)
from segcrf.segments import Segments
from segcrf.structures import LinearChain, SemiMarkov, check_emissions_shape, check_labels_in_range


class LinearChainCRF(nn.Module):
    """Learned transition, start and end scores; called with emissions it returns a :class:`LinearChain`.

    The negative log-likelihood is ``-crf(emissions, lengths).log_prob(labels)``, the decoded bands ``.mode``.

    Args:
        num_classes: C.
        transitions: ``"full"`` (a score per pair of classes), ``"potts"``, ``"cycle"``, ``"left_to_right"``, or a
            module of :mod:`segcrf.nn.transitions`.
        emission_scale: learn a factor of the emissions, one at the start: an encoder that is too sure of itself makes
            bands too short, one that is too timid makes them too long.
        backend: see :class:`LinearChain`.

    Attributes:
        transitions: parameter (C, C), row = from, column = to, in nats; or the module that was given or named.
        start: parameter (C,), score of the first label.
        end: parameter (C,), score of the last label.
        log_emission_scale: parameter (), logarithm of the factor, with ``emission_scale``.

    Example:
        >>> crf = LinearChainCRF(3)
        >>> emissions, lengths = torch.randn(2, 50, 3), torch.tensor([50, 40])
        >>> labels = torch.zeros(2, 50, dtype=torch.long)
        >>> loss = -crf(emissions, lengths).log_prob(labels).sum() / lengths.sum()
        >>> loss.backward()
        >>> crf(emissions, lengths).mode.shape
        torch.Size([2, 50])
    """

    log_emission_scale: nn.Parameter | None

    def __init__(
        self,
        num_classes: int,
        *,
        transitions: str | nn.Module = "full",
        emission_scale: bool = False,
        backend: str = "auto",
    ) -> None:
        _validation.whole(num_classes, "num_classes", 1)
        super().__init__()
        self.num_classes = num_classes
        self.backend = backend
        self.transitions = _transitions(transitions, num_classes)
        self.start = nn.Parameter(torch.empty(num_classes))
        self.end = nn.Parameter(torch.empty(num_classes))
        self.log_emission_scale = nn.Parameter(torch.zeros(())) if emission_scale else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the layer's own scores uniformly from [-0.1, 0.1]; a module of transitions keeps its own."""
        _reset(self)

    @torch.no_grad()
    def init_from(
        self, labels: Sequence[Tensor], *, smoothing: float = 1.0, intervals: Sequence[Tensor] | None = None
    ) -> LinearChainCRF:
        """Set the scores to log-frequencies counted in labelled recordings, and return the module.

        Training then starts from bands of the length the data have, instead of learning it from flicker.

        Args:
            labels: label sequences (T_i,), integers; -100 = unlabelled, skipped.
            smoothing: pseudo-count added to every start, end and transition, so that the unseen is not forbidden. With
                0 it is, but for what follows a class that never occurs: nothing is known of it.
            intervals: times from frame to frame, (T_i - 1,), for :class:`~segcrf.nn.IrregularTransitions`.

        Raises:
            TypeError: transitions that labels cannot set, with what can.
        """
        sequences = _check_label_sequences(labels, self.num_classes)
        steps = [(sequence[:-1], sequence[1:]) for sequence in sequences]
        if intervals is not None:
            _set_rates(self, steps, intervals, smoothing)
        else:
            _set_transitions(self.transitions, _counts(steps, self.num_classes, smoothing))
        _set_ends(self, sequences, smoothing)
        return self

    def forward(
        self, emissions: Tensor, lengths: Tensor | None = None, *, context: Tensor | None = None
    ) -> LinearChain:
        """Return the distribution over label sequences for emissions (B, T, C) and lengths (B,).

        ``context`` is what transitions of every step are made of: features (B, T, H) for
        :class:`~segcrf.nn.InputDependentTransitions`, times (B, T - 1) from frame to frame for
        :class:`~segcrf.nn.IrregularTransitions`.
        """
        _check_emissions_of(emissions, self.num_classes)
        scores = self.transitions
        if isinstance(scores, nn.Module):
            _check_context(context, getattr(scores, "context", None), type(scores).__name__)
            scores = scores() if context is None else scores(context)
        else:
            _check_context(context, None, "transitions='full'")
        emissions = _scaled(emissions, self.log_emission_scale)
        return LinearChain(emissions, scores, self.start, self.end, lengths, backend=self.backend)

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}"


class SemiMarkovCRF(nn.Module):
    """Learned duration, transition, start and end scores; called with emissions it returns a :class:`SemiMarkov`.

    Args:
        num_classes: C.
        max_duration: K, the longest duration in frames with a score of its own.
        durations: ``"learned"`` (a score per duration), ``"negative_binomial"``, ``"poisson"``, ``"geometric"``,
            ``"uniform"``, or a module whose call returns a table (C, K) and a tail (C,).
        transitions: as in :class:`LinearChainCRF`, but for those of every step.
        emission_scale: learn a factor of the emissions, one at the start.
        tail: ``"geometric"`` lets bands go on beyond K; ``"none"`` makes K a hard maximum.
        min_duration: shortest band in frames, for all classes or one per class.
        censored: score the first and last band by their survival, since a window cuts them.
        self_transitions: allow two bands of one class to touch.
        backend: see :class:`LinearChain`.

    Attributes:
        transitions: parameter (C, C), between neighbouring bands; the diagonal is used with ``self_transitions`` only.
            Or the module that was given or named.
        start, end: parameters (C,), scores of the first and last band's class.
        durations: the module of durations.
        log_emission_scale: parameter (), logarithm of the factor, with ``emission_scale``.

    Example:
        >>> crf = SemiMarkovCRF(3, max_duration=20, min_duration=5)
        >>> emissions, lengths = torch.randn(2, 50, 3), torch.tensor([50, 40])
        >>> labels = crf(emissions, lengths).mode
        >>> -crf(emissions, lengths).log_prob(labels).sum() / lengths.sum() > 0
        tensor(True)
    """

    log_emission_scale: nn.Parameter | None

    def __init__(
        self,
        num_classes: int,
        max_duration: int,
        *,
        durations: str | nn.Module = "learned",
        transitions: str | nn.Module = "full",
        emission_scale: bool = False,
        tail: str = "geometric",
        min_duration: int | Sequence[int] = 1,
        censored: bool = False,
        self_transitions: bool = False,
        backend: str = "auto",
    ) -> None:
        _validation.whole(num_classes, "num_classes", 1)
        _validation.whole(max_duration, "max_duration", 1)
        _validation.choice(tail, "tail", ("geometric", "none"))
        super().__init__()
        self.num_classes, self.max_duration = num_classes, max_duration
        if isinstance(durations, str):
            _validation.choice(durations, "durations", tuple(DURATION_FAMILIES))
            durations = DURATION_FAMILIES[durations](num_classes, max_duration)
        self.durations = durations
        self.tail, self.censored, self.self_transitions, self.backend = tail, censored, self_transitions, backend
        shortest = _check_min_duration(min_duration, num_classes, max_duration)
        self.register_buffer("too_short", torch.arange(1, max_duration + 1) < shortest[:, None], persistent=False)
        self.transitions = _transitions(transitions, num_classes)
        if isinstance(self.transitions, nn.Module):
            _check_shared_transitions(getattr(self.transitions, "context", None), type(self.transitions).__name__)
        self.start = nn.Parameter(torch.empty(num_classes))
        self.end = nn.Parameter(torch.empty(num_classes))
        self.log_emission_scale = nn.Parameter(torch.zeros(())) if emission_scale else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw transition, start and end scores uniformly from [-0.1, 0.1]; a module of them keeps its own."""
        _reset(self)

    @torch.no_grad()
    def init_from(self, labels: Sequence[Tensor], *, smoothing: float = 1.0) -> SemiMarkovCRF:
        """Set all scores from labelled recordings, and return the module.

        Args:
            labels: label sequences (T_i,), integers; -100 = unlabelled, skipped.
            smoothing: pseudo-count added to every start, end and transition, so that the unseen is not forbidden. With
                0 it is, but for what follows a class that never occurs: nothing is known of it.
        """
        sequences = _check_label_sequences(labels, self.num_classes)
        steps = [(s[:-1][s[:-1] != s[1:]], s[1:][s[:-1] != s[1:]]) for s in sequences]
        counts = _counts(steps, self.num_classes, smoothing)
        _set_transitions(self.transitions, counts, stays=self.self_transitions)
        _set_ends(self, sequences, smoothing)
        return self.fit_durations(Segments.from_labels(sequences))

    def fit_durations(self, segments: Segments) -> SemiMarkovCRF:
        """Set the duration scores from observed bands, and return the module.

        The first and last band of a recording are left out where their class has others: its edge has cut them.
        """
        label, frames = torch.as_tensor(segments.label), torch.as_tensor(segments.end - segments.start)
        edge = torch.ones(len(frames), dtype=torch.bool)
        recording = torch.as_tensor(segments.recording)
        edge[1:-1] = (recording[1:-1] != recording[:-2]) | (recording[1:-1] != recording[2:])
        observed: list[Tensor] = []
        for c in range(self.num_classes):
            inner = frames[(label == c) & ~edge]
            observed.append(inner if len(inner) else frames[label == c])
        self._family().fit(observed)
        return self

    def set_durations(
        self, mean: Sequence[float], deviation: Sequence[float], *, sampling_rate: float = 1.0
    ) -> SemiMarkovCRF:
        """Set the duration scores from a mean and standard deviation per class, in seconds, and return the module.

        Args:
            mean: of the durations, C numbers in seconds (frames, with the default ``sampling_rate``).
            deviation: their standard deviation, C numbers in the same unit.
            sampling_rate: frames per second.
        """
        frames = torch.tensor([list(mean), list(deviation)], dtype=torch.float64) * sampling_rate
        if frames.shape != (2, self.num_classes) or not bool((frames > 0).all()):
            raise ValueError(
                f"mean and deviation must be {self.num_classes} positive numbers each, got {mean!r} and {deviation!r}"
            )
        self._family().set_moments(frames[0], frames[1].square())
        return self

    def forward(self, emissions: Tensor, lengths: Tensor | None = None) -> SemiMarkov:
        """Return the distribution over segmentations for emissions (B, T, C) and lengths (B,)."""
        _check_emissions_of(emissions, self.num_classes)
        table, tail = self.durations()
        return SemiMarkov(
            _scaled(emissions, self.log_emission_scale),
            self.transitions() if isinstance(self.transitions, nn.Module) else self.transitions,
            table.masked_fill(self.get_buffer("too_short"), -torch.inf),
            tail if self.tail == "geometric" else None,
            self.start,
            self.end,
            lengths,
            censored=self.censored,
            self_transitions=self.self_transitions,
            backend=self.backend,
        )

    def _family(self) -> Durations:
        if not isinstance(self.durations, Durations):
            raise TypeError(
                f"durations is a module of your own ({type(self.durations).__name__}); set its parameters yourself, or "
                f"choose one of {', '.join(DURATION_FAMILIES)}"
            )
        return self.durations

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}, max_duration={self.max_duration}, tail={self.tail!r}"


def _transitions(given: str | nn.Module, num_classes: int) -> nn.Parameter | nn.Module:
    """The layer's transitions: "full" is a parameter of the layer itself, anything else a module."""
    if isinstance(given, str):
        _validation.choice(given, "transitions", tuple(TRANSITION_FAMILIES))
        full = given == "full"
        return nn.Parameter(torch.empty(num_classes, num_classes)) if full else TRANSITION_FAMILIES[given](num_classes)
    _check_same_classes(getattr(given, "num_classes", num_classes), num_classes)
    return given


def _reset(crf: LinearChainCRF | SemiMarkovCRF) -> None:
    for parameter in (crf.transitions, crf.start, crf.end):
        if isinstance(parameter, nn.Parameter):
            nn.init.uniform_(parameter, -0.1, 0.1)


def _scaled(emissions: Tensor, log_scale: Tensor | None) -> Tensor:
    """Emissions times a learned factor, in float32 at least; what is not finite stays, and the factor has no gradient
    from it."""
    if log_scale is None:
        return emissions
    finite = emissions.isfinite()
    wide = emissions.to(torch.promote_types(emissions.dtype, torch.float32))
    return torch.where(finite, wide.masked_fill(~finite, 0.0) * log_scale.exp(), wide)


def _counts(steps: Sequence[tuple[Tensor, Tensor]], num_classes: int, smoothing: float) -> Tensor:
    """How often each pair (from, to) was seen, (C, C) float64, plus ``smoothing``."""
    _validation.number(smoothing, "smoothing", 0.0)
    counts = torch.full((num_classes, num_classes), smoothing, dtype=torch.float64)
    for before, after in steps:
        known = (before != UNLABELLED) & (after != UNLABELLED)
        pairs = (before * num_classes + after)[known].cpu()
        counts += torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    return counts


def _set_transitions(transitions: nn.Parameter | nn.Module, counts: Tensor, *, stays: bool = True) -> None:
    if isinstance(transitions, nn.Parameter):
        transitions.copy_(log_frequencies(counts))
    elif isinstance(transitions, Transitions):
        transitions.set_counts(counts, stays=stays)
    else:
        raise TypeError(
            f"transitions is a module of your own ({type(transitions).__name__}); set its parameters yourself, or "
            "derive it from segcrf.transitions.Transitions and give it set_counts"
        )


def _set_rates(
    crf: LinearChainCRF,
    steps: Sequence[tuple[Tensor, Tensor]],
    intervals: Sequence[Tensor],
    smoothing: float,
) -> None:
    """Rates of jumping: switches seen, over the time spent in the class they leave."""
    family = crf.transitions
    while isinstance(family, ConstrainedTransitions):
        family = family.base
    if not isinstance(family, IrregularTransitions):
        raise TypeError("intervals are for IrregularTransitions; leave them out, or make the layer with those")
    size = crf.num_classes
    times = _check_counted_intervals(intervals, [len(before) + 1 for before, _ in steps])
    # A pseudo-count of time too, so that smoothing alone means one switch to each class in C mean intervals.
    spent = torch.full((size,), smoothing * size * float(torch.cat(times).double().mean()), dtype=torch.float64)
    for (before, after), time in zip(steps, times, strict=True):
        known = (before != UNLABELLED) & (after != UNLABELLED)
        spent.index_add_(0, before[known].cpu(), time[known].double().cpu())
    family.set_rates(_counts(steps, size, smoothing) / spent[:, None])


def _set_ends(crf: LinearChainCRF | SemiMarkovCRF, sequences: Sequence[Tensor], smoothing: float) -> None:
    """Set start and end to log-frequencies of the first and last labels."""
    ends = torch.full((2, crf.num_classes), smoothing, dtype=torch.float64)
    for sequence in sequences:
        for row, label in zip(ends, (sequence[0], sequence[-1]), strict=True):
            if label != UNLABELLED:
                row[label] += 1
    for parameter, counts in zip((crf.start, crf.end), ends, strict=True):
        parameter.copy_(log_frequencies(counts))


class CRF(nn.Module):
    """Drop-in for pytorch-crf's ``CRF``: change ``from torchcrf import CRF`` to ``from segcrf import CRF``.

    Constructor, calls, parameter names, ``state_dict``, shapes (time first unless ``batch_first``), reductions and
    types of error are those of pytorch-crf 0.7.2; results agree wherever its results are right. Two differences:

    * A mask with holes leaves the masked frames out, as if they had never been: pytorch-crf is then silently wrong
      (probabilities do not sum to one), and its ``decode`` reads the wrong frames.
    * A tag of -100 under the mask is not read; where the mask is on, it means *unlabelled* and is summed over.
      pytorch-crf raises an ``IndexError`` for both.

    Scores of NaN or +inf raise a ``ValueError`` instead of spreading. For marginals, samples, entropy and the rest use
    :meth:`distribution`.

    Args:
        num_tags: number of tags (classes).
        batch_first: whether the first axis of emissions, tags and mask is the batch.

    Example:
        >>> crf = CRF(5, batch_first=True)
        >>> emissions, tags = torch.randn(2, 3, 5), torch.tensor([[0, 2, 3], [1, 4, -100]])
        >>> mask = torch.tensor([[True, True, True], [True, True, False]])
        >>> loss = -crf(emissions, tags, mask)
        >>> [len(path) for path in crf.decode(emissions, mask)]
        [3, 2]
    """

    def __init__(self, num_tags: int, batch_first: bool = False) -> None:
        if num_tags <= 0:
            raise ValueError(f"invalid number of tags: {num_tags}")
        super().__init__()
        self.num_tags = num_tags
        self.batch_first = batch_first
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all scores uniformly from [-0.1, 0.1]."""
        for parameter in (self.start_transitions, self.end_transitions, self.transitions):
            nn.init.uniform_(parameter, -0.1, 0.1)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(num_tags={self.num_tags})"

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None, reduction: str = "sum") -> Tensor:
        """Log-likelihood of tags: to be maximised, so train on its negative.

        Args:
            emissions: scores (T, B, C), or (B, T, C) with ``batch_first``.
            tags: (T, B) or (B, T) integers.
            mask: (T, B) or (B, T), non-zero where a frame counts; the first frame of every sequence must.
            reduction: ``"none"`` gives (B,); ``"sum"``, ``"mean"`` (over sequences) or ``"token_mean"`` (over frames).

        Raises:
            ValueError: shapes that do not match, a first frame masked, an unknown reduction, NaN.
            IndexError: a tag outside 0..num_tags - 1 where the mask is on.
        """
        _check_drop_in(emissions, tags, mask, self.num_tags, self.batch_first)
        if reduction not in ("none", "sum", "mean", "token_mean"):
            raise ValueError(f"invalid reduction: {reduction}")
        order, lengths = self._frames(tags if mask is None else mask, mask is not None)
        tags = self._arrange(tags, order)
        _check_tags(tags, lengths, self.num_tags)
        likelihood = self._chain(emissions, order, lengths).log_prob(tags)
        if reduction == "none":
            return likelihood
        if reduction == "sum":
            return likelihood.sum()
        return likelihood.mean() if reduction == "mean" else likelihood.sum() / lengths.sum()

    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """The best tags of every sequence, one list each, as long as its mask has frames."""
        modes, lengths = self._decoded(emissions, mask)
        if self.num_tags > 256:
            rows: Any = zip(modes.tolist(), lengths.tolist(), strict=True)
            return [tags[:length] for tags, length in rows]
        # Python makes a list of bytes twice as fast as PyTorch makes one of its integers.
        narrow, frames = modes.to(torch.uint8).cpu().numpy().tobytes(), modes.shape[1]
        return [list(narrow[i * frames : i * frames + length]) for i, length in enumerate(lengths.tolist())]

    def dist(self, emissions: Tensor, mask: Tensor | None = None) -> LinearChain:
        """The distribution over tag sequences, batch first, masked frames left out."""
        _check_drop_in(emissions, None, mask, self.num_tags, self.batch_first)
        return self._chain(emissions, *self._frames(emissions[..., 0] if mask is None else mask, mask is not None))

    def _decoded(self, emissions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            chain = self.dist(emissions, mask)
            return chain.mode, chain.lengths

    def _chain(self, emissions: Tensor, order: Tensor | None, lengths: Tensor) -> LinearChain:
        scores = (self.transitions, self.start_transitions, self.end_transitions)
        return LinearChain(self._arrange(emissions, order), *scores, lengths)

    def _frames(self, frames: Tensor, masked: bool) -> tuple[Tensor | None, Tensor]:
        """The order that moves masked frames behind the others (None: they are there), and the lengths."""
        frames = frames if self.batch_first else frames.transpose(0, 1)
        if not masked:
            return None, torch.full((frames.shape[0],), frames.shape[1], device=frames.device)
        on = frames != 0
        lengths = on.sum(1)
        if bool((on[:, 1:] <= on[:, :-1]).all()):
            return None, lengths
        return (~on).to(torch.uint8).argsort(dim=1, stable=True), lengths

    def _arrange(self, values: Tensor, order: Tensor | None) -> Tensor:
        """Batch first, frames in ``order``."""
        values = values if self.batch_first else values.transpose(0, 1)
        if order is None:
            return values
        return values.gather(1, order if values.dim() == 2 else order[..., None].expand_as(values))


def _check_emissions_of(emissions: Tensor, num_classes: int) -> None:
    """Refuse emissions of another number of classes than the layer has."""
    classes = check_emissions_shape(emissions)[2]
    if classes != num_classes:
        raise ValueError(
            f"emissions have {classes} classes, the layer has {num_classes}; build it with num_classes={classes}, or "
            f"emit {num_classes} scores per frame"
        )


def _check_label_sequences(values: Sequence[Tensor], num_classes: int) -> list[Tensor]:
    """Return the labels (T_i,) of recordings, each as int64."""
    sequences = [torch.as_tensor(sequence) for sequence in values]
    for recording, sequence in enumerate(sequences):
        if sequence.dim() != 1 or len(sequence) == 0:
            raise ValueError(
                f"labels of recording {recording} must have shape (T,) with T >= 1, got {tuple(sequence.shape)}; "
                "give one sequence per recording, and drop empty ones"
            )
        if sequence.is_floating_point() or sequence.dtype == torch.bool:
            raise TypeError(
                f"labels of recording {recording} must be integers, got {sequence.dtype}; convert with .long()"
            )
        check_labels_in_range(sequence, num_classes, recording)
    return [sequence.long() for sequence in sequences]


def _check_drop_in(
    emissions: Tensor, tags: Tensor | None, mask: Tensor | None, num_tags: int, batch_first: bool
) -> None:
    """The checks of pytorch-crf's ``CRF``, with its types of error."""
    if emissions.dim() != 3:
        raise ValueError(f"emissions must have dimension of 3, got {emissions.dim()}")
    if emissions.size(2) != num_tags:
        raise ValueError(f"expected last dimension of emissions is {num_tags}, got {emissions.size(2)}")
    for name, values in (("tags", tags), ("mask", mask)):
        if values is not None and emissions.shape[:2] != values.shape:
            raise ValueError(
                f"the first two dimensions of emissions and {name} must match, "
                f"got {tuple(emissions.shape[:2])} and {tuple(values.shape)}"
            )
    if mask is not None and not (mask[:, 0] if batch_first else mask[0]).all():
        raise ValueError("mask of the first timestep must all be on; move left padding to the right")


def _check_tags(values: Tensor, lengths: Tensor, num_tags: int) -> None:
    """Refuse a tag that is out of range where it counts; -100 is unlabelled."""
    if values.numel() and not torch.compiler.is_compiling():
        lowest, highest = values.aminmax()
        if lowest.item() >= 0 and highest.item() < num_tags:
            return
    counts = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    bad = counts & (values != UNLABELLED) & ((values < 0) | (values >= num_tags))
    if bad.any():
        sequence, frame = (int(i) for i in bad.nonzero()[0])
        raise IndexError(
            f"tag of sequence {sequence}, frame {frame} (masked frames not counted): got "
            f"{int(values[sequence, frame])}, expected 0 to {num_tags - 1}, or {UNLABELLED} for unlabelled"
        )


def _check_min_duration(values: int | Sequence[int], num_classes: int, max_duration: int) -> Tensor:
    """Return the shortest durations (C,) in frames."""
    each = torch.as_tensor([values] * num_classes if isinstance(values, int) else list(values))
    if each.shape != (num_classes,) or each.is_floating_point():
        raise ValueError(f"min_duration must be an integer or {num_classes} integers (frames), got {values!r}")
    if int(each.min()) < 1 or int(each.max()) > max_duration:
        raise ValueError(f"min_duration must lie between 1 and max_duration = {max_duration} frames, got {values!r}")
    return each


def _check_context(values: Tensor | None, needed: str | None, name: str) -> None:
    """Refuse a context that transitions do not take, or the lack of one."""
    if needed is None and values is not None:
        raise TypeError(f"{name} is shared by all steps and takes no context; leave context= out")
    if needed is not None and not torch.is_tensor(values):
        got = "none" if values is None else type(values).__name__
        raise TypeError(f"{name} needs {needed} as its context, got {got}; give context=")


def _check_same_classes(got: object, num_classes: int) -> None:
    """Refuse transitions between another number of classes than the layer has."""
    if got != num_classes:
        raise ValueError(f"transitions are between {got} classes, the layer has {num_classes}; give both one number")


def _check_shared_transitions(needed: str | None, name: str) -> None:
    """Refuse transitions of every step where they stand between bands."""
    if needed is not None:
        raise TypeError(
            f"{name} scores every step of a recording from its {needed}; bands of a SemiMarkovCRF switch by scores "
            "shared by all: take a LinearChainCRF, or another family"
        )


def _check_counted_intervals(values: Sequence[Tensor] | None, lengths: Sequence[int]) -> list[Tensor]:
    """Return the times (T_i - 1,) between the frames of labelled recordings."""
    listed = [] if values is None else [torch.as_tensor(v) for v in values]
    if len(listed) != len(lengths):
        raise ValueError(f"intervals hold {len(listed)} recordings, labels {len(lengths)}; give (T_i - 1,) for each")
    for i, (times, length) in enumerate(zip(listed, lengths, strict=True)):
        if times.shape != (length - 1,):
            raise ValueError(
                f"recording {i} has {length} labels, its intervals have shape {tuple(times.shape)}, expected "
                f"({length - 1},): one time from each frame to the next"
            )
        check_intervals(times[None].double())
    return listed
