"""Pieces of ONNX text for bands by age, which semi-Markov chains need forward, backward and under a delay.

``running`` (..., C, K) holds bands by their age, ``beyond`` (..., C) those older than K, and ``whole`` (..., C) the one
that touches an edge of the recording. ``axis`` is that of the ages.
"""

from __future__ import annotations

__all__ = ["grown_bands", "sum_of_bands", "tail_scores"]


def grown_bands(
    running: str, beyond: str, *, before: tuple[str, str, str], here: str, axis: int = 2, longest: str = "longest"
) -> str:
    """Return lines that name bands one frame older, with the scores of the frame.

    Args:
        running: name of the result by age.
        beyond: name of the result older than K.
        before: names of the bands that begin here, of those by age, and of those older than K.
        here: name of the scores (..., C) of the frame.
        axis: of the ages.
        longest: name of the number of ages, a vector; ``before_`` and that name is one less.
    """
    entering, by_age, older = before
    return f"""
        {running}_oldest = Slice ({by_age}, before_{longest}, {longest}, axis{axis})
        {running}_older = Unsqueeze ({older}, axis{axis})
        {running}_olds = Concat <axis = {axis}> ({running}_oldest, {running}_older)
        {beyond}_sum = LogSumExp <keepdims = 0> ({running}_olds, axis{axis})
        {beyond}_here = Add ({beyond}_sum, {here})
        {beyond} = Add ({beyond}_here, slope)
        {running}_young = Slice ({by_age}, axis0, before_{longest}, axis{axis})
        {running}_entering = Unsqueeze ({entering}, axis{axis})
        {running}_aged = Concat <axis = {axis}> ({running}_entering, {running}_young)
        {running}_here = Unsqueeze ({here}, axis{axis})
        {running} = Add ({running}_aged, {running}_here)
"""


def sum_of_bands(name: str, bands: tuple[str, str, str], table: str, oldest: str, *, axis: int = 2) -> str:
    """Return lines that name the log-sum (..., C) of bands of all ages.

    Args:
        name: of the result.
        bands: names of the bands by age, of those older than K, and of the whole one, the last with its score.
        table: name of the scores (C, K) that are added to bands by age.
        oldest: name of the scores (C,) that are added to bands older than K.
        axis: of the ages.
    """
    running, beyond, whole = bands
    return f"""
        {name}_running = Add ({running}, {table})
        {name}_beyond = Add ({beyond}, {oldest})
        {name}_beyond_column = Unsqueeze ({name}_beyond, axis{axis})
        {name}_whole = Unsqueeze ({whole}, axis{axis})
        {name}_all = Concat <axis = {axis}> ({name}_running, {name}_beyond_column, {name}_whole)
        {name} = LogSumExp <keepdims = 0> ({name}_all, axis{axis})
"""


def tail_scores(name: str, index: str, *, axis: int) -> str:
    """Return lines that name what the tail adds to a duration beyond K, 0 up to K.

    Args:
        name: of the result (..., C).
        index: name of the duration less one.
        axis: of the classes in the result.
    """
    return f"""
        {name}_excess = Sub ({index}, end_of_table)
        {name}_wide = Cast <to = 11> ({name}_excess)
        {name}_column = Unsqueeze ({name}_wide, axis{axis})
        {name}_sloped = Mul ({name}_column, slope)
        {name}_is_longer = Greater ({name}_column, nothing)
        {name} = Where ({name}_is_longer, {name}_sloped, nothing)
"""
