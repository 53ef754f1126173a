"""Readers of long tables: one row per frame, as CSV or Parquet.

A long table has a column of numbers per channel. It may also have a column that names the recording, one of times,
one of labels (text or integers; empty = unlabelled) and columns of regression targets (empty = unknown). The rows of
a recording need not be contiguous; their order is kept. Rows are counted as a spreadsheet counts them: the header of a
CSV file is row 1.

* ``recording_table``: a table as recordings.
* ``columns``: the roles of columns.
* ``table``, ``csv_files``, ``parquet_files``: files.
* ``values``, ``clock``: cells with numbers, labels and times.
"""

from segcrf.data.readers.clock import format_time, frame_edges, seconds_of, to_dates
from segcrf.data.readers.columns import Columns, columns_from_config, columns_to_config
from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.recording_table import RecordingTable, read_recordings
from segcrf.data.readers.table import columns_of, format_of, listing, read_table, write_table
from segcrf.data.readers.values import class_order, label_column

__all__ = [
    "Columns",
    "RecordingTable",
    "TableError",
    "class_order",
    "columns_from_config",
    "columns_of",
    "columns_to_config",
    "format_of",
    "format_time",
    "frame_edges",
    "import_pandas",
    "label_column",
    "listing",
    "read_recordings",
    "read_table",
    "seconds_of",
    "to_dates",
    "write_table",
]
