"""The delay of a semi-Markov chain as an ONNX function: what each frame learns from a few later ones."""

from __future__ import annotations

from segcrf.inference.onnx_bands import grown_bands, sum_of_bands, tail_scores
from segcrf.inference.onnx_fragments import BEGIN, SHARES
from segcrf.inference.onnx_semi_markov import DURATIONS, EDGES, FORWARD, FORWARD_TABLES

__all__ = ["SEMI_MARKOV_LAG"]

#: Of every frame, besides its message: bands that end, bands that may begin, the log-probability that the state leaves
#: out, and the log-sum by class if the recording ends here.
_MORE_LINES = (
    """
        close = Sub (closed, offset)
        enter_here = Identity (enter)
        level = Identity (offset)
        open_final = Sub (open_ends, offset)
        """
    + sum_of_bands("final_sum", ("run_on", "old_on", "open_final"), "last_wide", "last_old_score")
    + """
        final = Add (final_sum, closing)
"""
)

#: As in the marginals, the probability of a label is summed back from that of the last frame that is seen, by the bands
#: that end and those that begin between the two: so many steps back, of all frames at once.
_LAG = (
    """(emissions, transitions, durations, tail, start, end, first, last, survival, lengths, delay) => (shares) {"""
    + BEGIN
    + DURATIONS
    + EDGES
    + FORWARD_TABLES.replace("edge", "alive")
    + """
    last_wide = Identity (edge)
    last_old_score = Identity (edge_old)
    entering_wide = Identity (no_band)
    running_wide = Identity (no_bands)
    beyond_wide = Identity (no_band)
    opening_wide = Expand (opening, size)
    elapsed = Sub (lengths, lengths)
    """
    + FORWARD.replace("edge", "alive")
    .replace("MORE_OUTPUTS", ", closes, enters, levels, finals")
    .replace("MORE_TYPES", ", double[B, C] close, double[B, C] enter_here, double[B, 1] level, double[B, C] final")
    .replace("MORE_LINES", _MORE_LINES)
    + """
    last_frame = Sub (lengths, one)
    seen_last = Add (column, delay)
    sees_end = GreaterOrEqual (seen_last, lengths)
    sees_end_wide = Unsqueeze (sees_end, axis2)
    cut = Min (seen_last, last_frame)
    cut_column = Unsqueeze (cut, axis2)
    cut_index = Expand (cut_column, size)
    messages_at_cut = GatherElements <axis = 0> (messages, cut_index)
    finals_at_cut = GatherElements <axis = 0> (finals, cut_index)
    at_cut = Where (sees_end_wide, finals_at_cut, messages_at_cut)
    cut_sum = LogSumExp <keepdims = 1> (at_cut, axis2)
    cut_finite = Max (cut_sum, lowest)
    at_cut_less = Sub (at_cut, cut_finite)
    weight_at_cut = Exp (at_cut_less)
    level_at_cut = Neg (cut_finite)

    delay_vector = Unsqueeze (delay, axis0)
    kept = Min (longest, delay_vector)
    young_scores = Slice (inner, axis0, kept, axis1)
    before_kept = Sub (kept, axis1)
    zeros2 = Constant <value = int64[2] {0, 0}> ()
    zeros3 = Constant <value = int64[3] {0, 0, 0}> ()
    pads = Concat <axis = 0> (zeros3, delay_vector, zeros2)
    later_scores = Pad (scores, pads, nothing)
    later_closes = Pad (closes, pads, nothing)
    later_enters = Pad (enters, pads, nothing)
    later_levels = Pad (levels, pads, nothing)
    whole_size = Shape (scores)
    size_by_kept = Concat <axis = 0> (whole_size, kept)
    none = Expand (forbidden, whole_size)
    none_by_age = Expand (forbidden, size_by_kept)
    open_zero = Expand (nothing, whole_size)
    open_end = Where (sees_end_wide, closing, open_zero)
    last_rows = Transpose <perm = [1, 0]> (edge)
    axis3 = Constant <value = int64[1] {3}> ()
    down = Neg (one)
    steps_back = Range (delay, zero, down)
    l0, l1, l2, l3, l4, signed = Scan <num_scan_inputs = 1, body = back (
        double[T, B, C] open_back, double[T, B, C, A] run_back, double[T, B, C] old_back, double[T, B, C] after,
        double[T, B, 1] level_back, double[T, B, C] weight_back, int64 ahead
    ) => (
        double[T, B, C] open_next, double[T, B, C, A] run_next, double[T, B, C] old_next, double[T, B, C] after_next,
        double[T, B, 1] level_next, double[T, B, C] weight_next
    ) {
        ahead_start = Unsqueeze (ahead, axis0)
        ahead_end = Add (ahead_start, frames)
        before_start = Sub (ahead_start, axis1)
        before_end = Sub (ahead_end, axis1)
        here_back = Slice (later_scores, ahead_start, ahead_end, axis0)
        enter_back = Slice (later_enters, ahead_start, ahead_end, axis0)
        level_of_frame = Slice (later_levels, ahead_start, ahead_end, axis0)
        close_back = Slice (later_closes, before_start, before_end, axis0)
        frame_ahead = Add (column, ahead)
        is_inside = Less (frame_ahead, lengths)
        inside_wide = Unsqueeze (is_inside, axis2)
        inside_by_age = Unsqueeze (inside_wide, axis3)

        """
    + grown_bands(
        "run_now_back",
        "old_now_back",
        before=("after", "run_back", "old_back"),
        here="here_back",
        axis=3,
        longest="kept",
    )
    + """
        open_now_back = Add (open_back, here_back)

        left_over = Sub (cut, frame_ahead)
        left = Max (left_over, zero)
        left_row = Min (left, end_of_table)
        last_listed = Gather <axis = 0> (last_rows, left_row)
        alive_listed = Gather <axis = 0> (alive_rows, left_row)
        listed_back = Where (sees_end_wide, last_listed, alive_listed)
        """
    + tail_scores("left_added", "left", axis=2)
    + """
        open_listed = Add (open_now_back, listed_back)
        open_whole = Add (open_listed, left_added)
        """
    + sum_of_bands("begin", ("run_now_back", "old_now_back", "open_whole"), "young_scores", "inner_old", axis=3)
    + """
        begin_column = Unsqueeze (begin, axis2)
        begin_after = Add (begin_column, matrix)
        after_now = LogSumExp <keepdims = 0> (begin_after, axis3)
        level_now = Sub (level_back, level_of_frame)

        close_and_after = Add (close_back, after_now)
        log_ends = Add (close_and_after, level_now)
        ends_back = Exp (log_ends)
        enter_and_begin = Add (enter_back, begin)
        log_starts = Add (enter_and_begin, level_now)
        starts_back = Exp (log_starts)
        change = Sub (ends_back, starts_back)
        weight_now = Add (weight_back, change)
        open_next = Where (inside_wide, open_now_back, open_back)
        run_next = Where (inside_by_age, run_now_back, run_back)
        old_next = Where (inside_wide, old_now_back, old_back)
        after_next = Where (inside_wide, after_now, after)
        level_next = Where (inside_wide, level_now, level_back)
        weight_next = Where (inside_wide, weight_now, weight_back)
    }> (open_end, none_by_age, none, none, level_at_cut, weight_at_cut, steps_back)
    weight = Max (signed, nothing)
    """
    + SHARES
    + """
}"""
)

SEMI_MARKOV_LAG = {"semimarkov_lag": _LAG}
