"""Time a push of one frame: of the layer alone and of a Segmenter, for one stream and for many.

Beside it stands what people do without a stream: keep the last two seconds, and decode them anew at every frame. That
window has forgotten what came before, so its answer differs. A time of a stream is kept only after its labels were
compared with those of decoding whole recordings.

Every run times calls one by one, after some that are not timed. A number is the median over runs. The processor time
per call (``cpu_us``) is the mean of a run, and leaves out the time in which other programs had the core.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segcrf import LinearChainCRF, Segmenter, SemiMarkovCRF, Stream
from segcrf.data import switching_sinusoid
from segcrf.nn import DecodingRule
from segcrf.structures import OnlineDecoder

__all__ = ["Size", "cells", "timed"]

RATE = 100
WINDOW = 2 * RATE  # frames that decoding anew looks at
MAX_DURATION = 100  # frames K with a duration score of their own
RULES = {
    "by frame, delay 50": DecodingRule(2.0, True, 50),
    "sequence, no delay": DecodingRule(2.0, False, None),
}
Array = npt.NDArray[Any]
Call = Callable[[Any], Any]


@dataclass(frozen=True)
class Size:
    """Size of the measurement.

    Args:
        runs: of each cell.
        calls: largest number of timed calls in a run.
        seconds: after which a run ends, but not before its third call.
        streams: numbers of streams.
        classes: numbers of classes of the layer alone.
        checked: frames of eight recordings on which streams are compared with decoding of whole recordings.
    """

    runs: int = 3
    calls: int = 2000
    seconds: float = 0.5
    streams: tuple[int, ...] = (1, 1000)
    classes: tuple[int, ...] = (3, 5)
    checked: int = 400


def cells(size: Size) -> Iterator[dict[str, Any]]:
    """Yield a row for each cell as soon as it is measured."""
    for classes, structure in itertools.product(size.classes, LAYERS):
        yield from _layer(size, structure, classes)
    for structure in LAYERS:
        yield from _segmenter(size, structure)


def timed(call: Call, values: list[Any], size: Size) -> dict[str, float]:
    """Return microseconds per call, and calls per second, as medians over runs.

    Args:
        call: takes one of the values.
        values: used again and again.
        size: of the measurement.
    """
    given = itertools.cycle(values)
    begin = time.perf_counter()
    for value in itertools.islice(given, 200):
        call(value)
        if time.perf_counter() - begin > size.seconds:
            break
    rows: list[tuple[float, ...]] = []
    for _ in range(size.runs):
        wall: list[int] = []
        cpu, begin = time.thread_time_ns(), time.perf_counter()
        while len(wall) < size.calls and (len(wall) < 3 or time.perf_counter() - begin < size.seconds):
            value = next(given)
            start = time.perf_counter_ns()
            call(value)
            wall.append(time.perf_counter_ns() - start)
        cpu = time.thread_time_ns() - cpu
        rows.append((*np.quantile(wall, (0.5, 0.99)), cpu / len(wall), 1e12 / np.mean(wall), len(wall)))
    p50, p99, cpu_us, per_second, calls = np.median(rows, axis=0) / 1e3
    return {
        "p50_us": round(p50, 1),
        "p99_us": round(p99, 1),
        "cpu_us": round(cpu_us, 1),
        "calls_per_second": round(per_second, 1),
        "calls": round(1e3 * calls),
    }


# ---------------------------------------------------------------------------------------------------- the layer alone
def _layer(size: Size, structure: str, classes: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one layer on class scores."""
    signal = switching_sinusoid(8, 2000, frequencies=[5.0 * (c + 1) for c in range(classes)], seed=3)
    layer = LAYERS[structure](classes).init_from(list(signal.k))
    for (name, rule), streams in itertools.product(RULES.items(), size.streams):
        labels = torch.from_numpy(_repeated(signal.k, streams))
        scores = 2.0 * nn.functional.one_hot(labels, classes).float()
        scores += torch.randn(scores.shape, generator=torch.Generator().manual_seed(streams))
        _check_layer(layer, rule, scores[:8, : size.checked])
        where = {"what": "layer", "structure": structure, "classes": classes, "rule": name, "streams": streams}
        row = timed(_pushing(layer, rule, scores), [frames[:, None] for frames in scores.unbind(1)], size)
        yield _row(where | {"way": "stream"}, row)
        windows = [scores[:, t : t + WINDOW] for t in range(20)]
        whole = DecodingRule(rule.factor, rule.by_frame)
        yield _row(where | {"way": "window"}, timed(partial(_decoded, layer, whole), windows, size))


LAYERS: dict[str, Callable[[int], Any]] = {
    "linear-chain": LinearChainCRF,
    "semi-markov": lambda classes: SemiMarkovCRF(classes, MAX_DURATION),
}


def _pushing(layer: Any, rule: DecodingRule, scores: Tensor) -> Call:
    """Return what pushes scores (n, 1, C) into a stream of class scores, or into a decoder of many."""
    if len(scores) == 1:
        stream = Stream(layer, factor=rule.factor, by_frame=rule.by_frame, max_delay=rule.max_delay)
        return lambda frame: stream.push(frame[0])
    with torch.no_grad():
        dist = layer(scores[:1, :1])
    decoder = OnlineDecoder(dist, by_frame=rule.by_frame, max_delay=rule.max_delay, streams=len(scores))
    return lambda frame: decoder.push(rule.factor * frame)


@torch.no_grad()
def _decoded(layer: Any, rule: DecodingRule, scores: Tensor) -> Tensor:
    return rule.decode(layer(scores)).labels


def _check_layer(layer: Any, rule: DecodingRule, scores: Tensor) -> None:
    """Raise if streams find other labels than decoding of whole recordings."""
    whole = _decoded(layer, rule, scores)
    for row, expected in zip(scores, whole, strict=True):
        stream = Stream(layer, factor=rule.factor, by_frame=rule.by_frame, max_delay=rule.max_delay)
        bands = [stream.push(row[t : t + 1]) for t in range(len(row))] + [stream.finish()]
        found = np.concatenate([np.repeat(band.label, band.durations) for band in bands])
        _check_equal(found, expected.numpy())


# ------------------------------------------------------------------------------------------------------ the Segmenter
def _segmenter(size: Size, structure: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Segmenter with a causal LSTM of 64 units on raw signals of one channel."""
    signal = switching_sinusoid(8, 1000, noise=0.5, seed=4)
    name = "by frame, delay 50"
    model = Segmenter(structure=structure, bidirectional=False, decoding=RULES[name], max_epochs=1, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.set_params(hidden=64, frame_loss=0).fit(list(signal.x), list(signal.k))
    _check_segmenter(model, [x[: size.checked] for x in signal.x])
    for streams in size.streams:
        x, one = _repeated(signal.x, streams), streams == 1
        where = {"what": "LSTM-64", "structure": structure, "classes": 3, "rule": name, "streams": streams}
        push = model.stream().push if one else model.streams(streams).push
        frames = [x[0, t : t + 1] if one else x[:, t : t + 1] for t in range(x.shape[1])]
        yield _row(where | {"way": "stream"}, timed(push, frames, size))
        model.set_decoding(max_delay=None)
        windows = [list(x[:, t : t + WINDOW]) for t in range(20)]
        yield _row(where | {"way": "window"}, timed(model.predict, windows, size))
        model.set_decoding(RULES[name])


def _check_segmenter(model: Segmenter, signals: list[Array]) -> None:
    """Raise if streams, one or many, find other labels than ``predict``."""
    streams = model.streams(len(signals))
    tables = [streams.push(np.stack([x[t : t + 1] for x in signals])) for t in range(len(signals[0]))]
    tables += [streams.finish(slot) for slot in range(len(signals))]
    for slot, (x, expected) in enumerate(zip(signals, model.predict(signals), strict=True)):
        stream = model.stream()
        one = [stream.push(x[t : t + 1]) for t in range(len(x))] + [stream.finish()]
        for found in (one, [table[table["recording"] == slot] for table in tables]):
            rows = [np.repeat(table["label"], table["end"] - table["start"]) for table in found if len(table)]
            _check_equal(np.concatenate(rows), expected)


def _check_equal(found: Array, expected: Array) -> None:
    if not np.array_equal(found, expected):
        raise AssertionError("a stream and the decoding of whole recordings differ: nothing is timed")


def _repeated(values: Array, streams: int) -> Array:
    """Return so many recordings from eight, (8, ...), again and again."""
    return values[np.arange(streams) % 8]


def _row(where: dict[str, Any], row: dict[str, float]) -> dict[str, Any]:
    return where | row | {"frames_per_second": round(where["streams"] * row["calls_per_second"])}
