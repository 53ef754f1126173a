"""The operators of linear chains as ONNX functions."""

from __future__ import annotations

from segcrf.inference.onnx_fragments import BEGIN, LABELS, SHARES_OF_JOINT, SIZES

__all__ = ["LINEAR_CHAIN"]

#: Viterbi with a pointer per frame and class. As in the kernels the first of equal classes wins; a frame beyond a
#: recording's length points each class to itself. MATRIX is the table of a step, one or one of its own for each.
_VITERBI = (
    """(emissions, transitions, start, end, lengths) => (score, labels, starts) {"""
    + BEGIN
    + """
    PREPARE
    each = Range (zero, num_classes, one)
    itself = Expand (each, size)
    unbegun = Expand (nothing, size)
    final, pointers = Scan <num_scan_inputs = COUNT, body = forward (
        double[B, C] best, double[B, C] here, bool[B, 1] is_valid, bool is_first MORE
    ) => (double[B, C] following, int64[B, C] pointer) {
        rows = Unsqueeze (best, axis2)
        reached = Add (rows, matrix)
        most = ReduceMax <keepdims = 0> (reached, axis1)
        entered = Where (is_first, opening, most)
        moved = Add (entered, here)
        following = Where (is_valid, moved, best)
        from = ArgMax <axis = 1, keepdims = 0> (reached)
        pointer = Where (is_valid, from, itself)
    }> (unbegun, scores, valid, first_frame GIVEN)
    total = Add (final, closing)
    score = ReduceMax <keepdims = 0> (total, axis1)
    last = ArgMax <axis = 1, keepdims = 1> (total)
    before_first, path = Scan <
        num_scan_inputs = 1, scan_input_directions = [1], scan_output_directions = [1],
        body = backward (
            int64[B, 1] label, int64[B, C] pointer_here
        ) => (int64[B, 1] previous, int64[B, 1] label_here) {
            previous = GatherElements <axis = 1> (pointer_here, label)
            label_here = Identity (label)
        }
    > (last, pointers)
    """
    + LABELS
    + """
    pads = Constant <value = int64[4] {0, 1, 0, 0}> ()
    moved_on = Pad (labels, pads, unlabelled)
    labels_before = Slice (moved_on, axis0, frames, axis1)
    unchanged = Equal (labels_before, labels)
    changed = Not (unchanged)
    starts = And (changed, labelled)
}"""
)


#: Forward and backward messages in log space, each less its largest entry, so that long recordings lose no digits. A
#: message that goes back holds ``end`` until it meets the last frame.
_MARGINALS = (
    """(emissions, transitions, start, end, lengths) => (log_z, labels) {"""
    + BEGIN
    + """
    PREPARE
    unbegun = Expand (nothing, size)
    final, messages, scales = Scan <num_scan_inputs = COUNT, body = forward (
        double[B, C] before, double[B, C] here, bool[B, 1] is_valid, bool is_first MORE
    ) => (double[B, C] following, double[B, C] message, double[B, 1] scale) {
        rows = Unsqueeze (before, axis2)
        reached = Add (rows, matrix)
        every = LogSumExp <keepdims = 0> (reached, axis1)
        entered = Where (is_first, opening, every)
        moved = Add (entered, here)
        most = ReduceMax <keepdims = 1> (moved, axis1)
        top = Max (most, lowest)
        scaled = Sub (moved, top)
        following = Where (is_valid, scaled, before)
        message = Identity (following)
        scale = Where (is_valid, top, nothing)
    }> (unbegun, scores, valid, first_frame GIVEN)
    total = Add (final, closing)
    log_sum = LogSumExp <keepdims = 0> (total, axis1)
    scale_sum = ReduceSum <keepdims = 0> (scales, axis0)
    scale_total = Squeeze (scale_sum, axis1)
    log_z = Add (log_sum, scale_total)
    ended = Expand (closing, size)
    before_all, afters = Scan <
        num_scan_inputs = COUNT, scan_input_directions = [DIRECTIONS], scan_output_directions = [1],
        body = backward (
            double[B, C] after, double[B, C] here_again, bool[B, 1] is_inside, bool is_zero MORE
        ) => (double[B, C] after_before, double[B, C] after_here) {
            after_here = Identity (after)
            ahead = Add (here_again, after)
            columns = Unsqueeze (ahead, axis1)
            left = Add (columns, matrix)
            every_next = LogSumExp <keepdims = 0> (left, axis2)
            most_next = ReduceMax <keepdims = 1> (every_next, axis1)
            top_next = Max (most_next, lowest)
            scaled_next = Sub (every_next, top_next)
            after_before = Where (is_inside, scaled_next, after)
        }
    > (ended, scores, valid, first_frame GIVEN)
    """
    + SHARES_OF_JOINT
    + """
    labels = CastLike (shares, emissions)
}"""
)

#: Forward messages from a state: ``entering`` (B, C) is the log-probability of each class at the next frame, before its
#: scores. With as many frames at once as there are, this is a filter; with one, a step of it.
_FILTER = (
    """(emissions, transitions, entering) => (log_filtered, entering_next) {"""
    + SIZES
    + """
    PREPARE
    entering_wide = Cast <to = 11> (entering)
    entering_next, messages = Scan <num_scan_inputs = COUNT, body = forward (
        double[B, C] before, double[B, C] here MORE
    ) => (double[B, C] following, double[B, C] message) {
        moved = Add (before, here)
        every = LogSumExp <keepdims = 1> (moved, axis1)
        offset = Max (every, lowest)
        message = Sub (moved, offset)
        rows = Unsqueeze (message, axis2)
        reached = Add (rows, matrix)
        following = LogSumExp <keepdims = 0> (reached, axis1)
    }> (entering_wide, scores GIVEN)
    log_filtered = Transpose <perm = [1, 0, 2]> (messages)
}"""
)

#: What each frame learns from as many as ``delay`` later ones: so many steps back, of all frames at once. The message
#: begins with ``end`` where the recording ends within the delay, and with zeros elsewhere.
_LAG = (
    """(emissions, transitions, end, log_filtered, lengths, delay) => (shares) {"""
    + SIZES
    + """
    delay_vector = Unsqueeze (delay, axis0)
    zeros2 = Constant <value = int64[2] {0, 0}> ()
    zeros3 = Constant <value = int64[3] {0, 0, 0}> ()
    PREPARE
    closing = Cast <to = 11> (end)
    frames = Shape <start = 0, end = 1> (scores)
    num_frames = Squeeze (frames)
    frame = Range (zero, num_frames, one)
    column = Unsqueeze (frame, axis1)
    inside = Less (column, lengths)
    valid = Unsqueeze (inside, axis2)
    filtered_wide = Cast <to = 11> (log_filtered)
    messages = Transpose <perm = [1, 0, 2]> (filtered_wide)
    pads_of_frames = Concat <axis = 0> (zeros3, delay_vector, zeros2)
    later = Pad (scores, pads_of_frames, nothing)
    seen_last = Add (column, delay)
    seen_end = GreaterOrEqual (seen_last, lengths)
    seen_end_wide = Unsqueeze (seen_end, axis2)
    begun_zero = Expand (nothing, size)
    begun_back = Where (seen_end_wide, closing, begun_zero)
    down = Neg (one)
    steps_back = Range (delay, zero, down)
    afters = Scan <num_scan_inputs = 1, body = back (double[T, B, C] after, int64 ahead) => (double[T, B, C] closer) {
        ahead_start = Unsqueeze (ahead, axis0)
        ahead_end = Add (ahead_start, frames)
        score_ahead = Slice (later, ahead_start, ahead_end, axis0)
        reached = Add (score_ahead, after)
        columns = Unsqueeze (reached, axis2)
        MATRIX
        left = Add (columns, matrix)
        last_axis = Constant <value = int64[1] {3}> ()
        every = LogSumExp <keepdims = 0> (left, last_axis)
        frame_ahead = Add (column, ahead)
        is_inside = Less (frame_ahead, lengths)
        is_inside_wide = Unsqueeze (is_inside, axis2)
        closer = Where (is_inside_wide, every, after)
    }> (begun_back, steps_back)
    """
    + SHARES_OF_JOINT
    + """
}"""
)

#: Zeros before the tables of the steps, or after them, so that there is one for each frame.
_BEFORE, _AFTER = "1, 0, 0, 0, 0, 0, 0, 0", "0, 0, 0, 0, 1, 0, 0, 0"
_STEP_TABLES = """by_step = Transpose <perm = [1, 0, 2, 3]> (table)
    pads_of_steps = Constant <value = int64[8] {PADS}> ()
    matrices = Pad (by_step, pads_of_steps, nothing)"""
_LATER_TABLES = """
    zeros4 = Constant <value = int64[4] {0, 0, 0, 0}> ()
    pads_of_tables = Concat <axis = 0> (zeros4, delay_vector, zeros3)
    later_matrices = Pad (matrices, pads_of_tables, nothing)"""


def _shared(text: str, count: int) -> str:
    """Return a function for transitions that all steps share, (C, C)."""
    return _filled(text, count, PREPARE="matrix = Unsqueeze (table, axis0)")


def _varying(text: str, count: int, pads: str) -> str:
    """Return a function for one table of transitions for each step, (B, T - 1, C, C), padded to one for each frame."""
    prepare = _STEP_TABLES.replace("PADS", pads)
    return _filled(text, count + 1, PREPARE=prepare, MORE=", double[B, C, C] matrix", GIVEN=", matrices")


def _filled(text: str, count: int, **fields: str) -> str:
    defaults = {"COUNT": str(count), "DIRECTIONS": ", ".join("1" * count), "MORE": "", "GIVEN": ""}
    for field, value in (defaults | fields).items():
        text = text.replace(field, value)
    return text


LINEAR_CHAIN = {
    "chain_max_product": _shared(_VITERBI, 3),
    "chain_varying_max_product": _varying(_VITERBI, 3, _BEFORE),
    "chain_sum_product": _shared(_MARGINALS, 3),
    "chain_varying_sum_product": _varying(_MARGINALS, 3, _BEFORE),
    "chain_filter": _shared(_FILTER, 1),
    "chain_varying_filter": _varying(_FILTER, 1, _AFTER),
    "chain_lag": _filled(_LAG, 1, PREPARE="", MATRIX="matrix = Identity (table)"),
    "chain_varying_lag": _filled(
        _LAG,
        1,
        PREPARE=_STEP_TABLES.replace("PADS", _BEFORE) + _LATER_TABLES,
        MATRIX="matrix = Slice (later_matrices, ahead_start, ahead_end, axis0)",
    ),
}
