"""Initialization of a layer's scores from labelled recordings: counts of transitions, first and last labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segcrf._validation import UNLABELLED, InputError, InputTypeError, check_number
from segcrf.kernels import check_labels_in_range
from segcrf.nn.transitions import ConstrainedTransitions, IrregularTransitions, Transitions, log_frequencies
from segcrf.nn.transitions.irregular import check_intervals

__all__ = [
    "check_label_sequences",
    "count_transitions",
    "set_end_scores",
    "set_switching_rates",
    "set_transition_scores",
]


def count_transitions(steps: Sequence[tuple[Tensor, Tensor]], num_classes: int, smoothing: float) -> Tensor:
    """Return how often each pair (from, to) occurs, (C, C) float64, plus ``smoothing``."""
    check_number(smoothing, "smoothing", 0.0)
    counts = torch.full((num_classes, num_classes), smoothing, dtype=torch.float64)
    for before, after in steps:
        known = (before != UNLABELLED) & (after != UNLABELLED)
        pairs = (before * num_classes + after)[known].cpu()
        counts += torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    return counts


def set_transition_scores(transitions: nn.Parameter | nn.Module, counts: Tensor, *, stays: bool = True) -> None:
    """Set transition scores from counted steps (C, C); without ``stays`` only switches were counted."""
    if isinstance(transitions, nn.Parameter):
        transitions.copy_(log_frequencies(counts))
    elif isinstance(transitions, Transitions):
        transitions.set_counts(counts, stays=stays)
    else:
        expected = "a subclass of segcrf.nn.Transitions with set_counts"
        advice = "set the parameters of your module yourself, or derive it from that class"
        raise InputTypeError("transitions", type(transitions).__name__, expected, advice)


def set_switching_rates(
    transitions: nn.Parameter | nn.Module,
    steps: Sequence[tuple[Tensor, Tensor]],
    intervals: Sequence[Tensor],
    smoothing: float,
) -> None:
    """Set switching rates: counted switches, divided by the time spent in the class that they leave."""
    family = transitions
    while isinstance(family, ConstrainedTransitions):
        family = family.base
    if not isinstance(family, IrregularTransitions):
        expected = "None, because the transitions are no IrregularTransitions"
        advice = "leave intervals out, or make the layer with IrregularTransitions"
        raise InputTypeError("intervals", type(intervals).__name__, expected, advice)
    size = family.num_classes
    times = _check_counted_intervals(intervals, [len(before) + 1 for before, _ in steps])
    # Time gets a pseudo-count too, so that smoothing alone means one switch to each class in C mean intervals.
    spent = torch.full((size,), smoothing * size * float(torch.cat(times).double().mean()), dtype=torch.float64)
    for (before, after), time in zip(steps, times, strict=True):
        known = (before != UNLABELLED) & (after != UNLABELLED)
        spent.index_add_(0, before[known].cpu(), time[known].double().cpu())
    family.set_switching_rates(count_transitions(steps, size, smoothing) / spent[:, None])


def set_end_scores(start: Tensor, end: Tensor, sequences: Sequence[Tensor], smoothing: float) -> None:
    """Set the start and end scores (C,) to log-frequencies of the first and last labels."""
    ends = torch.full((2, len(start)), smoothing, dtype=torch.float64)
    for sequence in sequences:
        for row, label in zip(ends, (sequence[0], sequence[-1]), strict=True):
            if label != UNLABELLED:
                row[label] += 1
    for parameter, counts in zip((start, end), ends, strict=True):
        parameter.copy_(log_frequencies(counts))


def check_label_sequences(values: Sequence[Tensor], num_classes: int) -> list[Tensor]:
    """Return the labels (T_i,) of recordings, each as int64."""
    sequences = [torch.as_tensor(sequence) for sequence in values]
    for recording, sequence in enumerate(sequences):
        if sequence.dim() != 1 or len(sequence) == 0:
            advice = "give one sequence per recording, and drop empty ones"
            got = f"shape {tuple(sequence.shape)}"
            raise InputError("labels", got, "shape (T,) with T >= 1", advice, recording=recording)
        if sequence.is_floating_point() or sequence.dtype == torch.bool:
            advice = "convert with .long()"
            raise InputTypeError("labels", str(sequence.dtype), "integers", advice, recording=recording)
        check_labels_in_range(sequence, num_classes, recording)
    return [sequence.long() for sequence in sequences]


def _check_counted_intervals(values: Sequence[Tensor] | None, lengths: Sequence[int]) -> list[Tensor]:
    """Return the times (T_i - 1,) between the frames of labelled recordings."""
    listed = [] if values is None else [torch.as_tensor(v) for v in values]
    if len(listed) != len(lengths):
        expected = f"{len(lengths)} recordings, as many as labels have"
        raise InputError("intervals", f"{len(listed)} recordings", expected, "give (T_i - 1,) times for each")
    for i, (times, length) in enumerate(zip(listed, lengths, strict=True)):
        if times.shape != (length - 1,):
            expected = f"shape ({length - 1},), one time from each of its {length} frames to the next"
            raise InputError("intervals", f"shape {tuple(times.shape)}", expected, recording=i)
        check_intervals(times[None].double(), "intervals", recording=i)
    return listed
