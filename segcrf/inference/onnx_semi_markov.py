"""The operators of semi-Markov chains as ONNX functions."""

from __future__ import annotations

from segcrf.inference.onnx_bands import grown_bands, sum_of_bands, tail_scores
from segcrf.inference.onnx_fragments import BEGIN, LABELS, SHARES, SIZES

__all__ = ["DURATIONS", "EDGES", "FORWARD", "FORWARD_TABLES", "SEMI_MARKOV"]

#: Scores of durations in float64, and states without a band.
DURATIONS = """
    inner = Cast <to = 11> (durations)
    slope = Cast <to = 11> (tail)
    longest = Shape <start = 1, end = 2> (inner)
    num_durations = Squeeze (longest)
    before_longest = Sub (longest, axis1)
    end_of_table = Sub (num_durations, one)
    matrix = Unsqueeze (table, axis0)
    inner_end = Slice (inner, before_longest, longest, axis1)
    inner_old = Squeeze (inner_end, axis1)
"""

EDGES = """
    edge = Cast <to = 11> (last)
    edge_end = Slice (edge, before_longest, longest, axis1)
    edge_old = Squeeze (edge_end, axis1)
    size_by_age = Concat <axis = 0> (size, longest)
    no_band = Expand (forbidden, size)
    no_bands = Expand (forbidden, size_by_age)
"""

#: ``whole_scores`` (T, C): of the band that began with the recording and ends at a frame.
_WHOLE = (
    """
    whole_table = Cast <to = 11> (first)
    by_duration = Transpose <perm = [1, 0]> (whole_table)
    row = Min (frame, end_of_table)
    listed = Gather <axis = 0> (by_duration, row)
"""
    + tail_scores("added", "frame", axis=1)
    + """
    whole_scores = Add (listed, added)
"""
)

#: As `segcrf.structures.semi_markov` scans: bands that run, by age; those older than K; the one that began with the
#: recording. A band that closes remembers the frame at which it began, and one that begins the class before it.
_VITERBI = (
    """(emissions, transitions, durations, tail, start, end, first, last, lengths) => (score, labels, starts) {"""
    + BEGIN
    + DURATIONS
    + EDGES
    + _WHOLE
    + """
    ages = Range (zero, num_durations, one)
    no_frame = Expand (zero, size)
    recordings = Shape <start = 0, end = 1> (no_band)
    one_column = Concat <axis = 0> (recordings, axis1)
    no_score = Expand (forbidden, one_column)
    no_label = Expand (zero, one_column)
    begun = Expand (opening, size)
    last_frame = Sub (lengths, one)
    at_end = Equal (column, last_frame)
    is_end = Unsqueeze (at_end, axis2)

    f0, f1, f2, f3, f4, score_column, last_label, last_begin, befores, begins = Scan <
        num_scan_inputs = 4, body = forward (
        double[B, C] open, double[B, C, K] running, double[B, C] beyond, int64[B, C] beyond_begin,
        double[B, C] entering, double[B, 1] final, int64[B, 1] final_label, int64[B, 1] final_begin,
        double[B, C] here, int64 t, double[C] whole_here, bool[B, 1] ends_here
    ) => (
        double[B, C] open_on, double[B, C, K] running_on, double[B, C] beyond_on, int64[B, C] beyond_begin_on,
        double[B, C] entering_on, double[B, 1] final_on, int64[B, 1] final_label_on, int64[B, 1] final_begin_on,
        int64[B, C] before, int64[B, C] begin
    ) {
        oldest_column = Slice (running, before_longest, longest, axis2)
        oldest = Squeeze (oldest_column, axis2)
        oldest_begin = Sub (t, num_durations)
        grown = Greater (oldest, beyond)
        beyond_begin_on = Where (grown, oldest_begin, beyond_begin)
        older = Max (oldest, beyond)
        older_here = Add (older, here)
        beyond_on = Add (older_here, slope)
        young = Slice (running, axis0, before_longest, axis2)
        entering_column = Unsqueeze (entering, axis2)
        aged = Concat <axis = 2> (entering_column, young)
        here_column = Unsqueeze (here, axis2)
        running_on = Add (aged, here_column)
        open_on = Add (open, here)
        whole = Add (open_on, whole_here)
        whole_column = Unsqueeze (whole, axis2)
        begins_by_age = Sub (t, ages)
        begins_running = Expand (begins_by_age, size_by_age)
        begins_beyond = Unsqueeze (beyond_begin_on, axis2)
        begins_whole = Unsqueeze (no_frame, axis2)
        all_begins = Concat <axis = 2> (begins_running, begins_beyond, begins_whole)

        inner_running = Add (running_on, inner)
        inner_beyond = Add (beyond_on, inner_old)
        inner_beyond_column = Unsqueeze (inner_beyond, axis2)
        inner_ends = Concat <axis = 2> (inner_running, inner_beyond_column, whole_column)
        closed = ReduceMax <keepdims = 0> (inner_ends, axis2)
        which = ArgMax <axis = 2, keepdims = 1> (inner_ends)
        begin_column = GatherElements <axis = 2> (all_begins, which)
        begin = Squeeze (begin_column, axis2)
        closed_rows = Unsqueeze (closed, axis2)
        reached = Add (closed_rows, matrix)
        entering_on = ReduceMax <keepdims = 0> (reached, axis1)
        before = ArgMax <axis = 1, keepdims = 0> (reached)

        edge_running = Add (running_on, edge)
        edge_beyond = Add (beyond_on, edge_old)
        edge_beyond_column = Unsqueeze (edge_beyond, axis2)
        edge_ends = Concat <axis = 2> (edge_running, edge_beyond_column, whole_column)
        edge_best = ReduceMax <keepdims = 0> (edge_ends, axis2)
        edge_which = ArgMax <axis = 2, keepdims = 1> (edge_ends)
        edge_begin_column = GatherElements <axis = 2> (all_begins, edge_which)
        edge_begin = Squeeze (edge_begin_column, axis2)
        edge_total = Add (edge_best, closing)
        edge_score = ReduceMax <keepdims = 1> (edge_total, axis1)
        edge_label = ArgMax <axis = 1, keepdims = 1> (edge_total)
        edge_label_begin = GatherElements <axis = 1> (edge_begin, edge_label)
        final_on = Where (ends_here, edge_score, final)
        final_label_on = Where (ends_here, edge_label, final_label)
        final_begin_on = Where (ends_here, edge_label_begin, final_begin)
    }> (begun, no_bands, no_band, no_frame, no_band, no_score, no_label, no_label, scores, frame, whole_scores, is_end)
    score = Squeeze (score_column, axis1)

    pads = Constant <value = int64[6] {1, 0, 0, 0, 0, 0}> ()
    befores_later = Pad (befores, pads, zero)
    begins_later = Pad (begins, pads, zero)
    befores_here = Slice (befores_later, axis0, frames, axis0)
    begins_here = Slice (begins_later, axis0, frames, axis0)
    b0, b1, path, path_starts = Scan <
        num_scan_inputs = 4, scan_input_directions = [1, 1, 1, 1], scan_output_directions = [1, 1],
        body = backward (
            int64[B, 1] label, int64[B, 1] began, int64 t, int64[B, C] before, int64[B, C] begin, bool[B, 1] is_valid
        ) => (int64[B, 1] previous, int64[B, 1] previous_began, int64[B, 1] label_here, bool[B, 1] starts_here) {
            label_here = Identity (label)
            is_begin = Equal (began, t)
            starts_here = And (is_begin, is_valid)
            other = GatherElements <axis = 1> (before, label)
            other_began = GatherElements <axis = 1> (begin, other)
            previous = Where (starts_here, other, label)
            previous_began = Where (starts_here, other_began, began)
        }
    > (last_label, last_begin, frame, befores_here, begins_here, valid)
    """
    + LABELS
    + """
    starts_flat = Squeeze (path_starts, axis2)
    starts_by_recording = Transpose <perm = [1, 0]> (starts_flat)
    starts = And (starts_by_recording, labelled)
}"""
)


#: Bands by age, as above, forward and backward. ``afters`` is the log-sum over what may follow a band that ends at a
#: frame, and ``begins`` over what may begin there, the band included. The probability of a label falls from frame to
#: frame by the bands that end, and rises by those that begin: it is summed from the last frame back.
_MARGINALS = (
    """(emissions, transitions, durations, tail, start, end, first, last, lengths) => (log_z, labels) {"""
    + BEGIN
    + DURATIONS
    + EDGES
    + _WHOLE
    + """
    begun = Expand (opening, size)
    last_frame = Sub (lengths, one)
    at_end = Equal (column, last_frame)
    is_end = Unsqueeze (at_end, axis2)
    f0, f1, f2, f3, final, closes, enters, scales = Scan <num_scan_inputs = 3, body = forward (
        double[B, C] open, double[B, C, K] running, double[B, C] beyond, double[B, C] entering, double[B, C] total,
        double[B, C] here, double[C] whole_here, bool[B, 1] ends_here
    ) => (
        double[B, C] open_on, double[B, C, K] running_on, double[B, C] beyond_on, double[B, C] entering_on,
        double[B, C] total_on, double[B, C] close, double[B, C] enter, double[B, 1] scale
    ) {
        enter = Identity (entering)
        """
    + grown_bands("run_now", "old_now", before=("entering", "running", "beyond"), here="here")
    + """
        old_now_column = Unsqueeze (old_now, axis2)
        open_now = Add (open, here)
        open_now_column = Unsqueeze (open_now, axis2)
        alive = Concat <axis = 2> (run_now, old_now_column, open_now_column)
        most_by_class = ReduceMax <keepdims = 0> (alive, axis2)
        most = ReduceMax <keepdims = 1> (most_by_class, axis1)
        scale = Max (most, lowest)
        scale_column = Unsqueeze (scale, axis2)
        running_on = Sub (run_now, scale_column)
        beyond_on = Sub (old_now, scale)
        open_on = Sub (open_now, scale)
        whole = Add (open_on, whole_here)
        """
    + sum_of_bands("close", ("running_on", "beyond_on", "whole"), "inner", "inner_old")
    + """
        closed_rows = Unsqueeze (close, axis2)
        reached = Add (closed_rows, matrix)
        entering_on = LogSumExp <keepdims = 0> (reached, axis1)

        """
    + sum_of_bands("edge_sum", ("running_on", "beyond_on", "whole"), "edge", "edge_old")
    + """
        edge_total = Add (edge_sum, closing)
        total_on = Where (ends_here, edge_total, total)
    }> (begun, no_bands, no_band, no_band, no_band, scores, whole_scores, is_end)
    log_sum = LogSumExp <keepdims = 0> (final, axis1)
    scale_inside = Where (valid, scales, nothing)
    scale_sum = ReduceSum <keepdims = 0> (scale_inside, axis0)
    scale_total = Squeeze (scale_sum, axis1)
    log_z = Add (log_sum, scale_total)

    left_over = Sub (last_frame, column)
    left_zero = Max (left_over, zero)
    left_row = Min (left_zero, end_of_table)
    edge_by_duration = Transpose <perm = [1, 0]> (edge)
    last_listed = Gather <axis = 0> (edge_by_duration, left_row)
    """
    + tail_scores("left_added", "left_zero", axis=2)
    + """
    last_scores = Add (last_listed, left_added)
    ended = Expand (closing, size)
    b0, b1, b2, b3, afters, begins, scales_back = Scan <
        num_scan_inputs = 3, scan_input_directions = [1, 1, 1], scan_output_directions = [1, 1, 1],
        body = backward (
            double[B, C] open_back, double[B, C, K] running_back, double[B, C] beyond_back, double[B, C] after,
            double[B, C] here_back, double[B, C] last_here, bool[B, 1] is_inside
        ) => (
            double[B, C] open_next, double[B, C, K] running_next, double[B, C] beyond_next, double[B, C] after_next,
            double[B, C] after_here, double[B, C] begin, double[B, 1] scale_back
        ) {
            after_here = Identity (after)
            """
    + grown_bands("run_back_now", "old_back_now", before=("after", "running_back", "beyond_back"), here="here_back")
    + """
            old_back_column = Unsqueeze (old_back_now, axis2)
            open_back_now = Add (open_back, here_back)
            open_back_column = Unsqueeze (open_back_now, axis2)
            alive_back = Concat <axis = 2> (run_back_now, old_back_column, open_back_column)
            most_back_by_class = ReduceMax <keepdims = 0> (alive_back, axis2)
            most_back = ReduceMax <keepdims = 1> (most_back_by_class, axis1)
            scale_back = Max (most_back, lowest)
            scale_back_column = Unsqueeze (scale_back, axis2)
            running_after = Sub (run_back_now, scale_back_column)
            beyond_after = Sub (old_back_now, scale_back)
            open_after = Sub (open_back_now, scale_back)
            last_now = Add (open_after, last_here)
            """
    + sum_of_bands("begin", ("running_after", "beyond_after", "last_now"), "inner", "inner_old")
    + """
            begin_column = Unsqueeze (begin, axis1)
            left = Add (begin_column, matrix)
            after_now = LogSumExp <keepdims = 0> (left, axis2)
            is_inside_wide = Unsqueeze (is_inside, axis2)
            open_next = Where (is_inside, open_after, open_back)
            running_next = Where (is_inside_wide, running_after, running_back)
            beyond_next = Where (is_inside, beyond_after, beyond_back)
            after_next = Where (is_inside, after_now, after)
        }
    > (ended, no_bands, no_band, no_band, scores, last_scores, valid)

    scale_changes = Sub (scales_back, scales)
    scale_change = Where (valid, scale_changes, nothing)
    sum_column = Unsqueeze (log_sum, axis1)
    sum_finite = Max (sum_column, lowest)
    level_after = CumSum <exclusive = 1, reverse = 1> (scale_change, zero)
    end_level = Sub (level_after, sum_finite)
    level_here = CumSum <reverse = 1> (scale_change, zero)
    start_level = Sub (level_here, sum_finite)
    closes_and_after = Add (closes, afters)
    log_ends = Add (closes_and_after, end_level)
    ends_anywhere = Exp (log_ends)
    ends = Where (valid, ends_anywhere, nothing)
    enters_and_begins = Add (enters, begins)
    log_starts = Add (enters_and_begins, start_level)
    starts_anywhere = Exp (log_starts)
    starts_here = Where (valid, starts_anywhere, nothing)
    zeros_before = Constant <value = int64[6] {0, 0, 0, 1, 0, 0}> ()
    starts_padded = Pad (starts_here, zeros_before, nothing)
    frames_after = Add (frames, axis1)
    starts_next = Slice (starts_padded, axis1, frames_after, axis0)
    change = Sub (ends, starts_next)
    summed = CumSum <reverse = 1> (change, zero)
    log_last = Sub (final, sum_finite)
    last_weight = Exp (log_last)
    signed = Add (summed, last_weight)
    weight = Max (signed, nothing)
    """
    + SHARES
    + """
    labels = CastLike (shares, emissions)
}"""
)

#: Forward messages from a state. ``first`` scores the band that began with the recording where it ends, ``survival``
#: the band that runs. Every state is relative to the log-probability of the frames so far.
FORWARD_TABLES = """
    first_wide = Cast <to = 11> (first)
    first_rows = Transpose <perm = [1, 0]> (first_wide)
    edge = Cast <to = 11> (survival)
    edge_rows = Transpose <perm = [1, 0]> (edge)
    edge_end = Slice (edge, before_longest, longest, axis1)
    edge_old = Squeeze (edge_end, axis1)
"""

FORWARD = (
    """
    entering_last, running_last, beyond_last, opening_last, elapsed_last, messages MORE_OUTPUTS = Scan <
        num_scan_inputs = 1, body = forward (
        double[B, C] enter, double[B, C, K] run, double[B, C] old, double[B, C] open, int64[B] age, double[B, C] here
    ) => (
        double[B, C] enter_on, double[B, C, K] run_on, double[B, C] old_on, double[B, C] open_on, int64[B] age_on,
        double[B, C] message MORE_TYPES
    ) {
        """
    + grown_bands("run_now", "old_now", before=("enter", "run", "old"), here="here")
    + """
        open_now = Add (open, here)

        row = Min (age, end_of_table)
        """
    + tail_scores("added", "age", axis=1)
    + """
        open_tail = Add (open_now, added)
        first_listed = Gather <axis = 0> (first_rows, row)
        open_ends = Add (open_tail, first_listed)
        edge_listed = Gather <axis = 0> (edge_rows, row)
        open_runs = Add (open_tail, edge_listed)
        """
    + sum_of_bands("joint", ("run_now", "old_now", "open_runs"), "edge", "edge_old")
    + """
        every = LogSumExp <keepdims = 1> (joint, axis1)
        offset = Max (every, lowest)
        offset_column = Unsqueeze (offset, axis2)
        message = Sub (joint, offset)

        """
    + sum_of_bands("closed", ("run_now", "old_now", "open_ends"), "inner", "inner_old")
    + """
        closed_rows = Unsqueeze (closed, axis2)
        reached = Add (closed_rows, matrix)
        entered = LogSumExp <keepdims = 0> (reached, axis1)
        enter_on = Sub (entered, offset)
        run_on = Sub (run_now, offset_column)
        old_on = Sub (old_now, offset)
        open_on = Sub (open_now, offset)
        age_on = Add (age, one)
        MORE_LINES
    }> (entering_wide, running_wide, beyond_wide, opening_wide, elapsed, scores)
"""
)

_FILTER = (
    """(emissions, transitions, durations, tail, first, survival, entering, running, beyond, opening, elapsed)
    => (log_filtered, entering_last, running_last, beyond_last, opening_last, elapsed_last) {"""
    + SIZES
    + DURATIONS
    + FORWARD_TABLES
    + """
    entering_wide = Cast <to = 11> (entering)
    running_wide = Cast <to = 11> (running)
    beyond_wide = Cast <to = 11> (beyond)
    opening_wide = Cast <to = 11> (opening)
    """
    + FORWARD.replace("MORE_OUTPUTS", "").replace("MORE_TYPES", "").replace("MORE_LINES", "")
    + """
    log_filtered = Transpose <perm = [1, 0, 2]> (messages)
}"""
)

SEMI_MARKOV = {
    "semimarkov_max_product": _VITERBI,
    "semimarkov_sum_product": _MARGINALS,
    "semimarkov_filter": _FILTER,
}
