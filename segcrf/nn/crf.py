"""CRF layers: modules that hold parameters and return a distribution over label sequences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segcrf._validation import InputError, InputTypeError, check_choice, check_whole
from segcrf.nn.durations import DURATION_FAMILIES, Durations, shorter_than_minimum
from segcrf.nn.initialization import (
    check_label_sequences,
    count_transitions,
    set_end_scores,
    set_switching_rates,
    set_transition_scores,
)
from segcrf.nn.transitions import TRANSITION_FAMILIES
from segcrf.segments import Segments
from segcrf.structures import LinearChain, SemiMarkov, check_emissions_shape

__all__ = ["LinearChainCRF", "SemiMarkovCRF"]


class LinearChainCRF(nn.Module):
    """Learned transition, start and end scores; a call with emissions returns a :class:`LinearChain`.

    The negative log-likelihood is ``-crf(emissions, lengths).log_prob(labels)``, the decoded labels are ``.mode``.

    Args:
        num_classes: C.
        transitions: ``"full"`` (a score per pair of classes), ``"potts"``, ``"cycle"``, ``"left_to_right"``, or a
            module of :mod:`segcrf.nn.transitions`.
        emission_scale: learn a factor of the emissions, one at the start. An overconfident encoder makes bands too
            short, an underconfident one makes them too long.
        backend: see :class:`LinearChain`.

    Attributes:
        transitions: parameter (C, C), row = from, column = to, in nats; or the given or named module.
        start: parameter (C,), score of the first class.
        end: parameter (C,), score of the last class.
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
        check_whole(num_classes, "num_classes", 1)
        super().__init__()
        self.num_classes = num_classes
        self.backend = backend
        self.transitions = _make_transitions(transitions, num_classes)
        self.start = nn.Parameter(torch.empty(num_classes))
        self.end = nn.Parameter(torch.empty(num_classes))
        self.log_emission_scale = nn.Parameter(torch.zeros(())) if emission_scale else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the layer's own scores uniformly from [-0.1, 0.1]; a module of transitions keeps its scores."""
        _reset(self)

    @torch.no_grad()
    def init_from(
        self, labels: Sequence[Tensor], *, smoothing: float = 1.0, intervals: Sequence[Tensor] | None = None
    ) -> LinearChainCRF:
        """Set the scores to log-frequencies counted in labelled recordings, and return the layer.

        Training then starts from bands as long as those of the data, instead of from flicker.

        Args:
            labels: label sequences (T_i,), integers; -100 = unlabelled, skipped.
            smoothing: pseudo-count added to every start, end and transition. With 0, unseen transitions are forbidden,
                except from classes that never occur.
            intervals: times from frame to frame, (T_i - 1,), for :class:`~segcrf.nn.IrregularTransitions`.

        Raises:
            InputError: a sequence that is empty, or a label out of range.
            InputTypeError: labels that are no integers, or transitions that labels cannot set.
        """
        sequences = check_label_sequences(labels, self.num_classes)
        steps = [(sequence[:-1], sequence[1:]) for sequence in sequences]
        if intervals is not None:
            set_switching_rates(self.transitions, steps, intervals, smoothing)
        else:
            set_transition_scores(self.transitions, count_transitions(steps, self.num_classes, smoothing))
        set_end_scores(self.start, self.end, sequences, smoothing)
        return self

    def forward(
        self, emissions: Tensor, lengths: Tensor | None = None, *, context: Tensor | None = None
    ) -> LinearChain:
        """Return the distribution over label sequences.

        Args:
            emissions: class scores (B, T, C).
            lengths: valid frames of each recording, (B,) int64; all T if None.
            context: input of transitions that differ from step to step. It is features (B, T, H) for
                :class:`~segcrf.nn.InputDependentTransitions`, and times (B, T - 1) from frame to frame for
                :class:`~segcrf.nn.IrregularTransitions`.
        """
        _check_emissions_of(emissions, self.num_classes)
        scores = self.transitions
        if isinstance(scores, nn.Module):
            _check_context(context, getattr(scores, "context", None), type(scores).__name__)
            scores = scores() if context is None else scores(context)
        else:
            _check_context(context, None, "transitions='full'")
        emissions = self.scale_emissions(emissions)
        return LinearChain(emissions, scores, self.start, self.end, lengths, backend=self.backend)

    def scale_emissions(self, emissions: Tensor) -> Tensor:
        """Return emissions (B, T, C) times the learned factor, as a call of the layer uses them."""
        return _scaled(emissions, self.log_emission_scale)

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}{_own_scores(self)}"


class SemiMarkovCRF(nn.Module):
    """Learned duration, transition, start and end scores; a call with emissions returns a :class:`SemiMarkov`.

    Args:
        num_classes: C.
        max_duration: K, the longest duration in frames with a score of its own.
        durations: ``"learned"`` (a score per duration), ``"negative_binomial"``, ``"poisson"``, ``"geometric"``,
            ``"uniform"``, or a module that returns a table (C, K) and a tail (C,).
        transitions: as in :class:`LinearChainCRF`, except families with scores that differ from step to step.
        emission_scale: learn a factor of the emissions, one at the start.
        tail: ``"geometric"`` lets bands go on beyond K; ``"none"`` makes K a hard maximum.
        min_duration: shortest band in frames, for all classes or one per class.
        censored: score the first and last band by their survival, because a window cuts them.
        self_transitions: allow two bands of one class to touch.
        backend: see :class:`LinearChain`.

    Attributes:
        transitions: parameter (C, C), between neighbouring bands; the diagonal is used with ``self_transitions`` only.
            Or the given or named module.
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
        check_whole(num_classes, "num_classes", 1)
        check_whole(max_duration, "max_duration", 1)
        check_choice(tail, "tail", ("geometric", "none"))
        super().__init__()
        self.num_classes, self.max_duration = num_classes, max_duration
        if isinstance(durations, str):
            check_choice(durations, "durations", tuple(DURATION_FAMILIES))
            durations = DURATION_FAMILIES[durations](num_classes, max_duration)
        self.durations = durations
        self.tail, self.censored, self.self_transitions, self.backend = tail, censored, self_transitions, backend
        too_short = shorter_than_minimum(min_duration, num_classes, max_duration)
        self.register_buffer("too_short", too_short, persistent=False)
        self.transitions = _make_transitions(transitions, num_classes)
        if isinstance(self.transitions, nn.Module):
            _check_shared_transitions(getattr(self.transitions, "context", None), type(self.transitions).__name__)
        self.start = nn.Parameter(torch.empty(num_classes))
        self.end = nn.Parameter(torch.empty(num_classes))
        self.log_emission_scale = nn.Parameter(torch.zeros(())) if emission_scale else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the layer's own scores uniformly from [-0.1, 0.1]; modules of transitions and durations keep theirs."""
        _reset(self)

    @torch.no_grad()
    def init_from(self, labels: Sequence[Tensor], *, smoothing: float = 1.0) -> SemiMarkovCRF:
        """Set all scores from labelled recordings, and return the layer.

        Args:
            labels: label sequences (T_i,), integers; -100 = unlabelled, skipped.
            smoothing: pseudo-count added to every start, end and transition. With 0, unseen transitions are forbidden,
                except from classes that never occur.

        Raises:
            InputError: a sequence that is empty, or a label out of range.
            InputTypeError: labels that are no integers, or transitions or durations that labels cannot set.
        """
        sequences = check_label_sequences(labels, self.num_classes)
        steps = [(s[:-1][s[:-1] != s[1:]], s[1:][s[:-1] != s[1:]]) for s in sequences]
        counts = count_transitions(steps, self.num_classes, smoothing)
        set_transition_scores(self.transitions, counts, stays=self.self_transitions)
        set_end_scores(self.start, self.end, sequences, smoothing)
        return self.fit_durations(Segments.from_labels(sequences))

    def fit_durations(self, segments: Segments) -> SemiMarkovCRF:
        """Set the duration scores from observed bands, and return the layer.

        The edges of a recording cut its first and last band, so these are left out unless their class has no others.
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
        self, mean: Sequence[float], std: Sequence[float], *, sampling_rate: float = 1.0
    ) -> SemiMarkovCRF:
        """Set the duration scores from a mean and standard deviation per class, in seconds, and return the layer.

        Args:
            mean: mean durations (C,) in seconds (frames, with the default ``sampling_rate``).
            std: standard deviations (C,) of the durations, in the same unit.
            sampling_rate: frames per second.

        Raises:
            InputError: other than C positive numbers.
            InputTypeError: durations are a module that moments cannot set.
        """
        seconds = [_check_positive(values, name, self.num_classes) for values, name in ((mean, "mean"), (std, "std"))]
        self._family().set_moments(seconds[0] * sampling_rate, (seconds[1] * sampling_rate).square())
        return self

    def forward(self, emissions: Tensor, lengths: Tensor | None = None) -> SemiMarkov:
        """Return the distribution over segmentations for emissions (B, T, C) and lengths (B,)."""
        _check_emissions_of(emissions, self.num_classes)
        table, tail = self.durations()
        return SemiMarkov(
            self.scale_emissions(emissions),
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
            expected = f"a subclass of segcrf.nn.Durations, or one of {', '.join(DURATION_FAMILIES)}"
            advice = "set the parameters of your module yourself"
            raise InputTypeError("durations", type(self.durations).__name__, expected, advice)
        return self.durations

    def scale_emissions(self, emissions: Tensor) -> Tensor:
        """Return emissions (B, T, C) times the learned factor, as a call of the layer uses them."""
        return _scaled(emissions, self.log_emission_scale)

    def extra_repr(self) -> str:
        sizes = f"num_classes={self.num_classes}, max_duration={self.max_duration}{_own_scores(self)}"
        shortest = (self.get_buffer("too_short").sum(1) + 1).tolist()
        minimum = f", min_duration={shortest}" if max(shortest) > 1 else ""
        switches = "".join(f", {name}=True" for name in ("censored", "self_transitions") if getattr(self, name))
        return f"{sizes}, tail={self.tail!r}{minimum}{switches}"


def _own_scores(crf: LinearChainCRF | SemiMarkovCRF) -> str:
    """Return what ``repr`` shows of scores that are parameters of the layer itself."""
    transitions = ", transitions='full'" if isinstance(crf.transitions, nn.Parameter) else ""
    return transitions + (", emission_scale=True" if crf.log_emission_scale is not None else "")


def _make_transitions(given: str | nn.Module, num_classes: int) -> nn.Parameter | nn.Module:
    """Return the layer's transitions: "full" is a parameter of the layer itself, anything else a module."""
    if isinstance(given, str):
        check_choice(given, "transitions", tuple(TRANSITION_FAMILIES))
        full = given == "full"
        return nn.Parameter(torch.empty(num_classes, num_classes)) if full else TRANSITION_FAMILIES[given](num_classes)
    _check_same_classes(getattr(given, "num_classes", num_classes), num_classes)
    return given


def _reset(crf: LinearChainCRF | SemiMarkovCRF) -> None:
    for parameter in (crf.transitions, crf.start, crf.end):
        if isinstance(parameter, nn.Parameter):
            nn.init.uniform_(parameter, -0.1, 0.1)


def _scaled(emissions: Tensor, log_scale: Tensor | None) -> Tensor:
    """Return emissions times a learned factor, in float32 at least.

    Scores that are not finite stay as they are, and the factor gets no gradient from them.
    """
    if log_scale is None:
        return emissions
    finite = emissions.isfinite()
    wide = emissions.to(torch.promote_types(emissions.dtype, torch.float32))
    return torch.where(finite, wide.masked_fill(~finite, 0.0) * log_scale.exp(), wide)


def _check_emissions_of(emissions: Tensor, num_classes: int) -> None:
    """Raise for emissions of another number of classes than the layer has."""
    classes = check_emissions_shape(emissions)[2]
    if classes != num_classes:
        advice = f"build the layer with num_classes={classes}, or emit {num_classes} scores per frame"
        raise InputError("emissions", f"{classes} classes", f"the {num_classes} classes of the layer", advice)


def _check_positive(values: Sequence[float], name: str, num_classes: int) -> Tensor:
    """Return one positive number per class, (C,) float64."""
    each = torch.as_tensor(list(values), dtype=torch.float64)
    if each.shape != (num_classes,) or not bool(((each > 0) & each.isfinite()).all()):
        raise InputError(name, repr(values), f"{num_classes} positive numbers, one per class")
    return each


def _check_context(values: Tensor | None, needed: str | None, name: str) -> None:
    """Raise for a context that transitions do not take, or for a missing one."""
    if needed is None and values is not None:
        expected = f"None, because all steps share the scores of {name}"
        raise InputTypeError("context", type(values).__name__, expected, "leave context= out")
    if needed is not None and not torch.is_tensor(values):
        got = "None" if values is None else type(values).__name__
        raise InputTypeError("context", got, f"{needed} for {name}", "give context=")


def _check_same_classes(got: object, num_classes: int) -> None:
    """Raise for transitions between another number of classes than the layer has."""
    if got != num_classes:
        expected = f"the {num_classes} classes of the layer"
        raise InputError("transitions", f"transitions between {got} classes", expected, "make both for as many classes")


def _check_shared_transitions(needed: str | None, name: str) -> None:
    """Raise for transitions of every step between bands."""
    if needed is not None:
        got = f"{name}, which scores every step from {needed}"
        expected = "a family of scores that all steps share, for the transitions between bands"
        raise InputTypeError("transitions", got, expected, "take a LinearChainCRF, or another family")
