"""Readers of recordings from files, and of long tables: one row per frame.

A long table has a column of numbers per channel. It may also have a column that names the recording, one of times,
one of labels (text or integers; empty = unlabelled) and columns of regression targets (empty = unknown). The rows of
a recording need not be contiguous; their order is kept. Rows are counted as a spreadsheet counts them: the first line
of a text file is row 1. Other formats of signals (``segcrf.data.signals``) are read as such tables.

* ``reading``: files as recordings; ``paths``: which files; ``problems``: all that is wrong, at once.
* ``recording_table``, ``resampling``, ``joining``: recordings, at another rate, and with channels of several files.
* ``columns``, ``roles``: the roles of columns, and their names.
* ``table``, ``sheet``, ``csv_files``, ``excel_files``, ``parquet_files``: files as tables.
* ``layout``, ``dialect``, ``decimals``: how text is written.
* ``values``, ``clock``, ``dates``: cells with numbers, labels and times.
"""

from segcrf.data.readers.clock import format_time, frame_edges, seconds_of, to_dates
from segcrf.data.readers.columns import Columns, columns_from_config, columns_to_config
from segcrf.data.readers.dependencies import import_pandas, import_reader
from segcrf.data.readers.dialect import DATE_ORDERS, Dialect
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.paths import Paths, list_files, standard_input_as_file
from segcrf.data.readers.problems import Problems, ReadingError
from segcrf.data.readers.reading import columns_of_files, read_recordings
from segcrf.data.readers.recording_table import RecordingTable
from segcrf.data.readers.resampling import jitter, resample_recordings
from segcrf.data.readers.table import FORMATS, columns_of, escape_formulas, format_of, listing, read_table, write_table
from segcrf.data.readers.values import class_order, label_column

__all__ = [
    "DATE_ORDERS",
    "FORMATS",
    "Columns",
    "Dialect",
    "Paths",
    "Problems",
    "ReadingError",
    "RecordingTable",
    "TableError",
    "class_order",
    "columns_from_config",
    "columns_of",
    "columns_of_files",
    "columns_to_config",
    "escape_formulas",
    "format_of",
    "format_time",
    "frame_edges",
    "import_pandas",
    "import_reader",
    "jitter",
    "label_column",
    "list_files",
    "listing",
    "read_recordings",
    "read_table",
    "resample_recordings",
    "seconds_of",
    "standard_input_as_file",
    "to_dates",
    "write_table",
]
