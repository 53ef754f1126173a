"""Pieces of ONNX text that the functions of several structures begin or end with.

Axes: T frames, B recordings, C classes, K durations. Frames come first, because ``Scan`` runs along the first axis.
Every function sums scores in float64, so that long recordings lose no digits.
"""

from __future__ import annotations

import re

__all__ = ["BEGIN", "LABELS", "SHARES", "SHARES_OF_JOINT", "SIZES", "written_out"]

#: Constants, and ``scores`` (T, B, C) from ``emissions`` (B, T, C), with their sizes.
SIZES = """
    zero = Constant <value = int64 {0}> ()
    one = Constant <value = int64 {1}> ()
    axis0 = Constant <value = int64[1] {0}> ()
    axis1 = Constant <value = int64[1] {1}> ()
    axis2 = Constant <value = int64[1] {2}> ()
    nothing = Constant <value = double {0.0}> ()
    lowest = Constant <value = double {-1e300}> ()
    infinity = Constant <value_float = inf> ()
    negative = Neg (infinity)
    forbidden = Cast <to = 11> (negative)
    wide = Cast <to = 11> (emissions)
    scores = Transpose <perm = [1, 0, 2]> (wide)
    table = Cast <to = 11> (transitions)
    size = Shape <start = 1, end = 3> (scores)
"""

#: What a function of whole recordings needs besides: scores of the edges, and the frames inside ``lengths`` (B,).
BEGIN = (
    SIZES
    + """
    unlabelled = Constant <value = int64 {-100}> ()
    opening = Cast <to = 11> (start)
    closing = Cast <to = 11> (end)
    frames = Shape <start = 0, end = 1> (scores)
    classes = Shape <start = 2, end = 3> (scores)
    num_frames = Squeeze (frames)
    num_classes = Squeeze (classes)
    frame = Range (zero, num_frames, one)
    column = Unsqueeze (frame, axis1)
    inside = Less (column, lengths)
    valid = Unsqueeze (inside, axis2)
    first_frame = Equal (frame, zero)
"""
)

#: From ``path`` (T, B, 1) and ``score`` (B,) to ``labels`` (B, T) and where they may stand.
LABELS = """
    path_flat = Squeeze (path, axis2)
    by_recording = Transpose <perm = [1, 0]> (path_flat)
    valid_by_recording = Transpose <perm = [1, 0]> (inside)
    impossible = IsInf <detect_positive = 0> (score)
    possible = Not (impossible)
    possible_column = Unsqueeze (possible, axis1)
    labelled = And (valid_by_recording, possible_column)
    labels = Where (labelled, by_recording, unlabelled)
"""

#: From ``weight`` (T, B, C), 0 or more, to ``shares`` (B, T, C): its share of each frame, 0 where there is none.
SHARES = """
    weight_sum = ReduceSum <keepdims = 1> (weight, axis2)
    any_weight = Greater (weight_sum, nothing)
    known = And (valid, any_weight)
    share = Div (weight, weight_sum)
    shown = Where (known, share, nothing)
    shares = Transpose <perm = [1, 0, 2]> (shown)
"""

#: From ``messages`` and ``afters`` (T, B, C), log-sums over what comes before and after, to ``shares``.
SHARES_OF_JOINT = (
    """
    joint = Add (messages, afters)
    joint_largest = ReduceMax <keepdims = 1> (joint, axis2)
    joint_offset = Max (joint_largest, lowest)
    joint_centred = Sub (joint, joint_offset)
    weight = Exp (joint_centred)
"""
    + SHARES
)

#: One line that sums in log space, over one axis; ``keepdims`` as of ONNX's reductions.
_LOG_SUM_EXP = re.compile(r"(\w+) = LogSumExp <keepdims = (\d)> \((\w+), (\w+)\)")


def written_out(text: str) -> str:
    """Return the text of a function with every ``LogSumExp`` in operators of ONNX.

    ONNX has a ``ReduceLogSumExp``, but onnxruntime gives -inf for a sum far below 0 that begins with -inf.
    """
    return _LOG_SUM_EXP.sub(_log_sum_exp, text)


def _log_sum_exp(line: re.Match[str]) -> str:
    name, keepdims, values, axis = line.groups()
    last = f"Identity ({name}_kept)" if keepdims == "1" else f"Squeeze ({name}_kept, {axis})"
    return f"""{name}_most = ReduceMax <keepdims = 1> ({values}, {axis})
        {name}_top = Max ({name}_most, lowest)
        {name}_less = Sub ({values}, {name}_top)
        {name}_each = Exp ({name}_less)
        {name}_total = ReduceSum <keepdims = 1> ({name}_each, {axis})
        {name}_log = Log ({name}_total)
        {name}_kept = Add ({name}_log, {name}_top)
        {name} = {last}"""
