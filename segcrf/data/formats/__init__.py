"""Formats of labels, one file each, and the bands that they hold.

* ``files``: reading and writing in any format.
* ``tables``, ``audacity``, ``praat``, ``elan``, ``label_studio``, ``boris``, ``bids``, ``edf``, ``wfdb``, ``rttm``,
  ``raven``, ``crowsetta``: the formats.
* ``base``: what they share.
* ``framing``: bands as labels of frames.
* ``band_table``: bands between frames and the times of recordings.
"""

from segcrf.data.formats.band_table import segments_to_frames, segments_to_seconds, segments_to_times
from segcrf.data.formats.files import LABEL_FORMATS, find_label_format, read_labels, write_labels
from segcrf.data.formats.framing import OVERLAPS, fill_frames, label_frames
from segcrf.data.formats.tables import holds_bands

__all__ = [
    "LABEL_FORMATS",
    "OVERLAPS",
    "fill_frames",
    "find_label_format",
    "holds_bands",
    "label_frames",
    "read_labels",
    "segments_to_frames",
    "segments_to_seconds",
    "segments_to_times",
    "write_labels",
]
