"""Formats of annotations, one file each."""

from segcrf.data.formats.band_table import read_segments, segments_to_frames, segments_to_times

__all__ = ["read_segments", "segments_to_frames", "segments_to_times"]
