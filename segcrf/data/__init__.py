"""Data: recordings and labels as people have them, windows of them, and synthetic signals."""

from segcrf.data.dataset import (
    ClassCoder,
    Given,
    Labelled,
    check_any_labelled,
    check_matching,
    check_signals,
    read_labelled,
)
from segcrf.data.files import check_folder, hold, write_atomically
from segcrf.data.formats import read_segments, segments_to_frames, segments_to_times
from segcrf.data.preparation import (
    OFFSETS_DOMINATE,
    choose_preparation,
    offset_share,
    prepare_recordings,
)
from segcrf.data.readers import (
    Columns,
    RecordingTable,
    TableError,
    class_order,
    columns_from_config,
    columns_of,
    columns_to_config,
    format_of,
    listing,
    read_recordings,
    read_table,
    write_table,
)
from segcrf.data.splitting import split_recordings
from segcrf.data.synthetic import SwitchingSignal, switching_sinusoid
from segcrf.data.windows import Batch, RandomWindows, Recording, Window, Windows, collate, grid

__all__ = [
    "OFFSETS_DOMINATE",
    "Batch",
    "ClassCoder",
    "Columns",
    "Given",
    "Labelled",
    "RandomWindows",
    "Recording",
    "RecordingTable",
    "SwitchingSignal",
    "TableError",
    "Window",
    "Windows",
    "check_any_labelled",
    "check_folder",
    "check_matching",
    "check_signals",
    "choose_preparation",
    "class_order",
    "collate",
    "columns_from_config",
    "columns_of",
    "columns_to_config",
    "format_of",
    "grid",
    "hold",
    "listing",
    "offset_share",
    "prepare_recordings",
    "read_labelled",
    "read_recordings",
    "read_segments",
    "read_table",
    "segments_to_frames",
    "segments_to_times",
    "split_recordings",
    "switching_sinusoid",
    "write_atomically",
    "write_table",
]
