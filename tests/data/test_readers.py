"""Long tables: what is read is what was written, and every mistake is named with its place."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcrf import Segments
from segcrf.data import (
    Columns,
    RecordingTable,
    TableError,
    class_order,
    columns_from_config,
    columns_of,
    columns_to_config,
    read_labels,
    read_recordings,
    segments_to_frames,
    segments_to_times,
    write_atomically,
    write_table,
)
from segcrf.testing.errors import rejects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONG = """recording,time,ax,ay,power,label
a,0.00,1,-1,10,rest
b,5.0,7,-7,,walk
a,0.01,2,-2,20,
a,0.02,3,-3,30,walk
b,5.5,8,-8,80,walk
"""


def write(folder: Path, text: str, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@contextmanager
def rejects_table(argument: str | None = None, *, file: str | None = None, **fields: object) -> Iterator[None]:
    """Expect a TableError with these fields; text fields but the recording are regular expressions to search for."""
    with pytest.raises(TableError) as raised:
        yield
    error = raised.value
    assert "\n" not in str(error)
    for name, expected in {"argument": argument, "file": file, **fields}.items():
        found = getattr(error, name)
        if isinstance(expected, str) and name != "recording":
            assert re.search(expected, found), f"{name}: {found!r} does not match {expected!r}: {error}"
        else:
            assert expected is None or found == expected, f"{name}: {found!r}: {error}"


def fails(
    folder: Path, text: str, argument: str | None = None, *, columns: Columns | None = None, **fields: object
) -> None:
    """Expect a TableError with these fields when a table with this text is read."""
    with rejects_table(argument, **fields):
        read_recordings(write(folder, text), columns or Columns())


# ------------------------------------------------------------------------------------------------------- reading
def test_rows_are_grouped_by_recording_in_order(tmp_path: Path):
    found = read_recordings(write(tmp_path, LONG), Columns(targets=("power",)))
    assert found.names == ["a", "b"]
    assert [signal.tolist() for signal in found.signals] == [[[1, -1], [2, -2], [3, -3]], [[7, -7], [8, -8]]]
    assert found.labels is not None and found.targets is not None and found.times is not None
    assert [labels.tolist() for labels in found.labels] == [["rest", "", "walk"], ["walk", "walk"]]
    assert found.targets[0].ravel().tolist() == [10, 20, 30]
    assert np.isnan(found.targets[1][0, 0]) and found.targets[1][1, 0] == 80
    assert [time.tolist() for time in found.times] == [[0.0, 0.01, 0.02], [5.0, 5.5]]
    assert found.lengths == [3, 2]
    assert found.signals[0].dtype == np.float32


def test_csv_and_parquet_read_alike(tmp_path: Path):
    from_csv = read_recordings(write(tmp_path, LONG), Columns(channels=("ax", "ay")))
    pd.read_csv(tmp_path / "data.csv").to_parquet(tmp_path / "data.parquet")
    from_parquet = read_recordings(tmp_path / "data.parquet", Columns(channels=("ax", "ay")))
    assert from_csv.names == from_parquet.names
    for ours, theirs in zip(from_csv.labels or [], from_parquet.labels or [], strict=True):
        assert ours.tolist() == theirs.tolist()
    assert [signal.tolist() for signal in from_csv.signals] == [s.tolist() for s in from_parquet.signals]


LONG_WITHOUT_GAP = LONG.replace("b,5.0,7,-7,,walk", "b,5.0,7,-7,70,walk")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("semicolons.csv", LONG_WITHOUT_GAP.replace(",", ";")),
        ("tabs.tsv", LONG_WITHOUT_GAP.replace(",", "\t")),
        ("spaces.csv", LONG_WITHOUT_GAP.replace(",", ", ")),
        ("bom.csv", "\ufeff" + LONG_WITHOUT_GAP),
        ("windows.csv", LONG_WITHOUT_GAP.replace("\n", "\r\n")),
        ("old_mac.csv", LONG_WITHOUT_GAP.replace("\n", "\r")),
        ("blank_end.csv", LONG_WITHOUT_GAP + "\n\n"),
    ],
)
def test_dialects_of_csv(tmp_path: Path, name: str, text: str):
    expected = read_recordings(write(tmp_path, LONG_WITHOUT_GAP), Columns())
    path = tmp_path / name
    path.write_bytes(text.encode())
    found = read_recordings(path, Columns())
    assert found.columns == expected.columns
    assert [signal.tolist() for signal in found.signals] == [signal.tolist() for signal in expected.signals]


def test_compressed_csv(tmp_path: Path):
    with gzip.open(tmp_path / "data.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write(LONG_WITHOUT_GAP)
    assert read_recordings(tmp_path / "data.csv.gz", Columns()).lengths == [3, 2]


def test_names_stay_as_they_are_written(tmp_path: Path):
    found = read_recordings(write(tmp_path, "recording,ax,label\n01,1,NA\n1,2,None\n"), Columns())
    assert found.names == ["01", "1"]
    assert [labels.tolist() for labels in found.labels or []] == [["NA"], ["None"]]


def test_without_a_recording_column_the_file_is_the_recording(tmp_path: Path):
    found = read_recordings(write(tmp_path, "ax\n1\n2\n", "walk.csv"), Columns())
    assert (found.names, found.lengths, found.labels, found.sampling_rate) == (["walk"], [2], None, None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["2", "0", "-100", "1"], ["2", "0", "", "1"]),
        (["2.0", "0.0", "", "1.0"], ["2", "0", "", "1"]),
        (["01", "1", "007.0", "-100.0", "1e2"], ["01", "1", "007", "", "1e2"]),
        (["b", "-100", "", " a "], ["b", "", "", "a"]),
        (["1", "2", "x", "2"], ["1", "2", "x", "2"]),
    ],
)
def test_labels_as_text_or_integers(tmp_path: Path, written: list[str], read: list[str]):
    rows = "".join(f"{index},{label}\n" for index, label in enumerate(written))
    found = read_recordings(write(tmp_path, "ax,label\n" + rows), Columns())
    assert found.labels is not None
    assert found.labels[0].tolist() == read


def test_integer_labels_of_parquet(tmp_path: Path):
    pd.DataFrame({"ax": [1.0, 2, 3], "label": [2, -100, 10]}).to_parquet(tmp_path / "data.parquet")
    found = read_recordings(tmp_path / "data.parquet", Columns())
    assert found.labels is not None
    assert found.labels[0].tolist() == ["2", "", "10"]
    assert class_order(found.labels) == ["2", "10"]


def test_roles_are_filled_in_only_where_they_were_left_open():
    available = ["recording", "time", "state", "label", "ax"]
    found = Columns(recording="", label="state").resolve(available)
    assert found == Columns(None, "time", "state", ("ax",))


def test_a_column_of_times_that_is_not_wanted_is_no_signal_unless_named_so():
    assert Columns(time="").resolve(["time", "ax"]).channels == ("ax",)
    assert Columns(time="", channels=("time", "ax")).resolve(["time", "ax"]).channels == ("time", "ax")


def test_parquet_that_pandas_wrote_with_an_index(tmp_path: Path):
    """pandas stores an index as a column, and would make it an index again."""
    frame = pd.DataFrame({"time": [0.0, 1, 2, 3], "ax": [1.0, 2, 3, 4]})
    frame[frame["ax"] != 2].to_parquet(tmp_path / "filtered.parquet")
    frame.set_index("time").to_parquet(tmp_path / "indexed.parquet")
    filtered = read_recordings(tmp_path / "filtered.parquet", Columns())
    assert (filtered.columns.channels, filtered.lengths) == (("ax",), [3])
    indexed = read_recordings(tmp_path / "indexed.parquet", Columns())
    assert (indexed.columns.time, indexed.columns.channels, indexed.sampling_rate) == ("time", ("ax",), 1.0)


def test_no_channels_are_read_where_none_are_wanted(tmp_path: Path):
    found = read_recordings(write(tmp_path, LONG), Columns(channels=()))
    assert [signal.shape for signal in found.signals] == [(3, 0), (2, 0)]


# ---------------------------------------------------------------------------------------------------------- time
def test_rate_is_the_median_step(tmp_path: Path):
    text = "time,ax\n0,1\n0.5,1\n1,1\n7,1\n7.5,1\n"
    assert read_recordings(write(tmp_path, text), Columns()).sampling_rate == 2.0


def test_dates_are_times(tmp_path: Path):
    text = "time,ax\n2024-05-31 23:59:30,1\n2024-06-01T00:00:30,2\n"
    found = read_recordings(write(tmp_path, text), Columns())
    assert found.sampling_rate == pytest.approx(1 / 60)
    assert pd.to_datetime(found.clock()).tolist() == [
        pd.Timestamp("2024-05-31 23:59:30"),
        pd.Timestamp("2024-06-01 00:00:30"),
    ]


def test_dates_of_parquet(tmp_path: Path):
    times = pd.date_range("2024-01-01", periods=3, freq="min", tz="Europe/Berlin")
    pd.DataFrame({"time": times, "ax": [1.0, 2, 3]}).to_parquet(tmp_path / "data.parquet")
    found = read_recordings(tmp_path / "data.parquet", Columns())
    assert found.clock()[0] == np.datetime64("2023-12-31T23:00:00")  # UTC


def recordings_with(times: list[np.ndarray], dated: bool = False) -> RecordingTable:
    names = [f"r{index}" for index in range(len(times))]
    signals = [np.zeros((len(time), 1), dtype=np.float32) for time in times]
    return RecordingTable(Columns(), names, signals, times=times, dated=dated)


@given(st.data())
def test_bands_in_time_come_back_as_frames(data: st.DataObject):
    """segments_to_times and segments_to_frames are inverse, whatever the gaps and the jitter."""
    steps = data.draw(st.lists(st.floats(0.01, 40.0), min_size=1, max_size=20))
    start = data.draw(st.floats(-1e6, 1e6))
    time = start + np.cumsum([0.0, *steps])
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(time), max_size=len(time))))
    recordings = recordings_with([time], data.draw(st.booleans()))
    bands = Segments.from_labels([labels]).to_table(recordings=recordings.names)
    again = segments_to_frames(segments_to_times(bands, recordings), recordings)
    assert again["start"].tolist() == bands["start"].tolist()
    assert again["end"].tolist() == bands["end"].tolist()


def test_a_band_ends_where_the_next_frame_begins_even_across_a_gap():
    recordings = recordings_with([np.array([10.0, 11, 12, 20, 21])])
    bands = Segments.from_labels([np.array([0, 0, 0, 1, 1])]).to_table(recordings=["r0"])
    placed = segments_to_times(bands, recordings)
    assert placed["start"].tolist() == [10, 20]
    assert placed["end"].tolist() == [20, 22]


def test_the_table_of_segments_is_not_changed():
    recordings = recordings_with([np.array([10.0, 11])])
    bands = Segments.from_labels([np.array([0, 0])]).to_table(recordings=["r0"])
    segments_to_times(bands, recordings)
    assert bands["end"].tolist() == [2]


def test_times_outside_of_the_recording_are_frames_outside():
    recordings = recordings_with([np.array([10.0, 11, 12])])
    bands = pd.DataFrame({"recording": ["r0"], "start": [3.0], "end": [99.0], "label": ["x"]})
    framed = segments_to_frames(bands, recordings)
    assert (framed["start"][0], framed["end"][0]) == (-1, 4)


def test_bands_of_a_recording_that_is_not_there():
    bands = pd.DataFrame({"recording": ["zz"], "start": [0], "end": [1], "label": ["x"]})
    with rejects_table("column 'recording'", got="'zz'", expected="a recording of table: r0", row=0, file="bands"):
        segments_to_frames(bands, recordings_with([np.array([0.0, 1])]))


@pytest.mark.parametrize(
    ("start", "end", "argument", "fields"),
    [
        ("soon", 1, "column 'start'", {"got": "'soon'", "expected": "a number, as column 'time' of table"}),
        (None, 1, "column 'start'", {"got": "an empty cell", "expected": "a number"}),
        (
            1,
            0,
            "column 'end'",
            {"got": "0, with a start of 1", "expected": "an end after the start", "recording": "r0"},
        ),
        (0.9, 1.1, "column 'end'", {"got": r"1\.1, with a start of 0\.9 and no frame between them"}),
    ],
)
def test_bands_with_wrong_times(start: object, end: object, argument: str, fields: dict[str, str]):
    recordings = recordings_with([np.array([0.0, 1, 2])])
    recordings = dataclasses.replace(recordings, columns=Columns(time="time"))
    bands = pd.DataFrame({"recording": ["r0"], "start": [start], "end": [end], "label": ["x"]}, index=[5])
    with rejects_table(argument, row=5, **fields):
        segments_to_frames(bands, recordings)


def test_bands_of_recordings_without_times_are_in_frames():
    recordings = RecordingTable(Columns(), ["r0"], [np.zeros((3, 1))])
    bands = pd.DataFrame({"recording": ["r0"], "start": [0], "end": [2.0], "label": ["x"]})
    assert segments_to_frames(bands, recordings)["end"].tolist() == [2]
    with rejects_table("column 'end'", got=r"1\.5", expected="a whole number of frames, as table has no times"):
        segments_to_frames(bands.assign(end=[1.5]), recordings)


def test_recordings_of_another_sampling_rate_are_rejected():
    recordings = recordings_with([np.arange(9) / 100, np.arange(9) / 50])
    with rejects_table(got="50 frames per unit", expected="^100$", advice="resample", recording="r1"):
        recordings.check_sampling_rate(100.0)
    recordings_with([np.arange(9) / 103]).check_sampling_rate(100.0)


def test_a_table_shows_its_size_and_content():
    assert repr(recordings_with([np.arange(4.0)])) == "RecordingTable('table', recordings=1, frames=4, with times)"


# --------------------------------------------------------------------------------------------------------- doubts
def test_gaps_are_reported_once_with_the_longest(tmp_path: Path):
    text = "recording,time,ax\n" + "".join(f"a,{t},1\n" for t in (0, 1, 2, 50, 51, 52)) + "b,0,1\nb,1,1\nb,90,1\n"
    (doubt,) = read_recordings(write(tmp_path, text), Columns()).doubts()
    assert "data.csv: time jumps 2 times, farthest in recording 'b', from 1 to 90, 89 usual steps;" in doubt
    dropped = "time,ax\n" + "".join(f"{t},1\n" for t in (0, 1, 2, 5, 6, 7))
    assert read_recordings(write(tmp_path, dropped), Columns()).doubts() == []
    dated = "time,ax\n" + "".join(f"2024-05-31 {t},1\n" for t in ("10:00:00", "10:00:01", "10:00:02", "23:00:00"))
    (doubt,) = read_recordings(write(tmp_path, dated), Columns()).doubts()
    assert "once, in recording 'data', from 2024-05-31T10:00:02.000000 to 2024-05-31T23:00:00.000000" in doubt


def test_a_counter_as_the_label_is_reported(tmp_path: Path):
    counter = "ax,label\n" + "".join(f"1,{n}\n" for n in range(30))
    (doubt,) = read_recordings(write(tmp_path, counter), Columns()).doubts()
    assert "column 'label' has 30 different whole numbers as classes, most of them for one band only" in doubt
    words = "ax,label\n" + "".join(f"1,w{n}\n" for n in range(30))
    assert read_recordings(write(tmp_path, words), Columns()).doubts() == []
    again = "ax,label\n" + "".join(f"1,{n % 25}\n" for n in range(75))
    assert read_recordings(write(tmp_path, again), Columns()).doubts() == []


def test_labels_are_held_against_known_classes(tmp_path: Path):
    found = read_recordings(write(tmp_path, LONG), Columns(channels=("ax",)))
    found.check_classes(["walk", "rest", "sit"])
    place = {"file": r"data\.csv", "recording": "a", "frame": 2, "row": 5}
    with rejects_table("column 'label'", got="'walk'", expected="one of rest, sit", **place):
        found.check_classes(["rest", "sit"])
    found.check_labelled()
    with rejects_table("column 'label'", got="no label"):
        read_recordings(write(tmp_path, "ax,label\n1,\n2,-100\n"), Columns()).check_labelled()


# --------------------------------------------------------------------------------------------------------- errors
def test_a_missing_column_is_named_with_the_others_and_the_nearest(tmp_path: Path):
    expected, advice = "one of recording, time, ax, ay, power, label", "did you mean 'label'"
    fails(tmp_path, LONG, "column 'Lable'", columns=Columns(label="Lable"), expected=expected, advice=advice)


def test_the_text_of_an_error_names_file_row_and_column(tmp_path: Path):
    path = write(tmp_path, LONG.replace("a,0.01,2", "a,0.01,two"))
    expected = (
        f"{path}: row 4, column 'ax': got 'two', expected a number; correct the value, or fit with other --channels"
    )
    with pytest.raises(TableError) as raised:
        read_recordings(path, Columns())
    assert str(raised.value) == expected


def test_text_in_a_number_column(tmp_path: Path):
    text = LONG.replace("a,0.01,2", "a,0.01,two")
    fails(tmp_path, text, "column 'ax'", row=4, got="'two'", expected="a number")


def test_text_in_a_column_of_parquet_counts_rows_from_one(tmp_path: Path):
    pd.DataFrame({"ax": ["1", "x"]}).to_parquet(tmp_path / "data.parquet")
    with rejects_table("column 'ax'", row=2, got="'x'", expected="a number"):
        read_recordings(tmp_path / "data.parquet", Columns())


@pytest.mark.parametrize("cell", ["", "NaN", "nan"])
def test_missing_signal(tmp_path: Path, cell: str):
    text, columns = LONG.replace("a,0.01,2", f"a,0.01,{cell}"), Columns(targets=("power",))
    fails(
        tmp_path, text, "column 'ax'", columns=columns, row=4, got=r"a missing value \(NaN\)", expected="in the signal"
    )


def test_infinite_signal_and_target(tmp_path: Path):
    columns = Columns(targets=("power",))
    text = LONG.replace("a,0.01,2", "a,0.01,inf")
    fails(tmp_path, text, "column 'ax'", columns=columns, row=4, got="infinite", expected="in the signal")
    text = LONG.replace("a,0.01,2", "a,0.01,-1e300")
    fails(tmp_path, text, "column 'ax'", columns=columns, row=4, got=r"-1e\+300, beyond what float32 holds")
    text = LONG.replace(",80,", ",-inf,")
    fails(tmp_path, text, "column 'power'", columns=columns, row=6, got="infinite", expected="in the targets")


def test_a_blank_line_within_is_a_missing_value(tmp_path: Path):
    fails(tmp_path, "ax\n1\n\n2\n", "column 'ax'", row=3, got="a missing value")


def test_time_that_goes_backwards(tmp_path: Path):
    place = {"recording": "a", "row": 5, "frame": 2}
    got = r"0\.005 after 0\.01: time goes backwards"
    fails(tmp_path, LONG_WITHOUT_GAP.replace("a,0.02", "a,0.005"), "column 'time'", got=got, advice="sort", **place)


def test_time_that_stands_still(tmp_path: Path):
    place = {"recording": "b", "row": 6, "frame": 1}
    got, advice = "5 after 5: time stands still", "row 3 has that time already"
    fails(tmp_path, LONG_WITHOUT_GAP.replace("b,5.5", "b,5.0"), "column 'time'", got=got, advice=advice, **place)


def test_rows_that_occur_twice(tmp_path: Path):
    rows = "2024-05-31 10:00:00,1\n2024-05-31 10:00:01,2\n"
    got = "2024-05-31 10:00:00 after 2024-05-31 10:00:01: time goes backwards"
    advice = "row 2 has that time already: leave out rows that occur twice"
    fails(tmp_path, "time,ax\n" + rows + rows, "column 'time'", row=4, got=got, advice=advice)


def test_a_missing_time(tmp_path: Path):
    fails(tmp_path, "time,ax\n0,1\n,2\n2,3\n", "column 'time'", row=3, got="no time")


def test_a_damaged_date(tmp_path: Path):
    text = "time,ax\n2024-05-31,1\nsoon,2\n"
    fails(tmp_path, text, "column 'time'", row=3, got="'soon'", expected=r"a date and time \(ISO 8601\)")


def test_a_way_to_write_dates_that_is_not_read(tmp_path: Path):
    text, got = "time,ax\n31.05.2024 10:00,1\n", r"'31\.05\.2024 10:00'"
    fails(tmp_path, text, "column 'time'", row=2, got=got, expected="a number", advice="write times as numbers or")


def test_decimal_commas(tmp_path: Path):
    fails(tmp_path, "time;ax\n0;1,5\n", "column 'ax'", row=2, got="'1,5'", advice="write decimals with a point")


def test_dates_as_a_channel_are_rejected(tmp_path: Path):
    pd.DataFrame({"ax": [1.0], "when": pd.to_datetime(["2024-05-31"])}).to_parquet(tmp_path / "data.parquet")
    with rejects_table("column 'when'", got="dates or durations", expected="numbers"):
        read_recordings(tmp_path / "data.parquet", Columns())


def test_a_header_with_a_name_twice_or_without_a_name(tmp_path: Path):
    fails(tmp_path, "time,ax, ax\n0,1,2\n", "header, column 'ax'", got="2 columns of this name")
    fails(tmp_path, ",time,ax\n0,0,1\n1,1,1\n", "column 1", got="no name in the header .*row numbers that pandas")
    chosen = read_recordings(write(tmp_path, ",time,ax\n0,0,1\n1,1,1\n"), Columns(channels=("ax",)))
    assert chosen.signals[0].shape == (2, 1)


def test_no_column_is_left_for_the_signal(tmp_path: Path):
    fails(tmp_path, "recording,time,label\na,0,x\n", "header", got="no column for the signal")


def test_a_file_without_a_header(tmp_path: Path):
    columns, advice = Columns(label="label"), r"'0\.5' looks like data: is the header missing\?"
    text, expected = "a,0.5,rest\na,0.6,rest\n", r"one of a, 0\.5, rest"
    fails(tmp_path, text, "column 'label'", columns=columns, expected=expected, advice=advice)


def test_a_separator_that_is_not_known(tmp_path: Path):
    columns, advice = Columns(label="label"), "separate columns by commas, semicolons or tabs"
    fails(tmp_path, "ax|label\n1|x\n", "column 'label'", columns=columns, expected=r"ax\|label", advice=advice)


def test_labels_that_are_fractions_or_negative(tmp_path: Path):
    fails(tmp_path, "ax,label\n1,0\n2,1.5\n", "column 'label'", row=3, got=r"1\.5, a fraction")
    fails(tmp_path, "ax,label\n1,0\n2,-1\n", "column 'label'", row=3, got="-1, a negative number")


def test_a_recording_without_a_name(tmp_path: Path):
    fails(tmp_path, "recording,ax\na,1\n,2\n", "column 'recording'", row=3, got="no name")


def test_a_column_with_two_roles(tmp_path: Path):
    with rejects("column 'label'", got="2 roles"):
        read_recordings(write(tmp_path, LONG), Columns(channels=("ax", "label")))


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "an empty file"),
        ("\n\n", "an empty file"),
        ('ax,label\n1,"x\n2,y\n', "row 2: a quotation mark opens that nothing closes"),
        ("ax,label\n", "a header without rows"),
        ("ax,label\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        ('"' + "x" * 200_000 + '"\n1\n', r"not readable as CSV \(field larger than field limit"),
        ("ax,label\n1,5,2\n1,5,2\n", "rows with more fields than the header"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, text: str, got: str):
    fails(tmp_path, text, got=got, file=r"data\.csv")


@pytest.mark.parametrize("opener", [open, gzip.open])
def test_bytes_that_are_no_text(tmp_path: Path, opener: Callable[..., IO[bytes]]):
    path = tmp_path / ("data.csv" if opener is open else "data.csv.gz")
    many = "1,walk\n" * 100_000  # pandas reads in pieces, and counts bytes from the start of one
    with opener(path, "wb") as stream:
        stream.write(f"ax,label\n{many}2,zurück\n".encode("latin-1"))
    fields = {"file": r"data\.csv", "got": "byte 0xfc", "expected": "text in UTF-8", "advice": "save it as UTF-8"}
    with rejects_table(row=100002, **fields):
        read_recordings(path, Columns())


def test_the_other_encoding_of_spreadsheets(tmp_path: Path):
    (tmp_path / "data.csv").write_bytes(LONG.encode("utf-16"))
    with rejects_table(got="text in UTF-16", expected="UTF-8", advice="save it as UTF-8"):
        read_recordings(tmp_path / "data.csv", Columns())


@pytest.mark.parametrize("damage", ["cut", "changed", "replaced"])
def test_a_damaged_compressed_file(tmp_path: Path, damage: str):
    whole = bytearray(gzip.compress(np.random.default_rng(0).bytes(5000).hex().encode()))
    if damage == "changed":
        whole[20:2000] = bytes(1980)
    (tmp_path / "data.csv.gz").write_bytes({"cut": whole[:1000], "changed": whole, "replaced": b"text"}[damage])
    with rejects_table(file=r"data\.csv\.gz", got="not readable as CSV compressed by gzip"):
        columns_of(tmp_path / "data.csv.gz")


def test_a_truncated_parquet(tmp_path: Path):
    pd.DataFrame({"ax": np.arange(999.0)}).to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "half.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:2000])
    with rejects_table(file=r"half\.parquet", got="not readable as Parquet"):
        read_recordings(tmp_path / "half.parquet", Columns())


def test_missing_files_folders_and_formats(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv: no such file"):
        columns_of(tmp_path / "nothing.csv")
    with pytest.raises(FileNotFoundError, match="a folder, not a file"):
        columns_of(tmp_path)
    with rejects_table(file=r"data\.xls", got="an unknown table format", expected=r"\.parquet"):
        columns_of(write(tmp_path, LONG, "data.xls"))


# -------------------------------------------------------------------------------------------------------- writing
@pytest.mark.parametrize("name", ["bands.csv", "bands.csv.gz", "bands.tsv", "bands.parquet"])
def test_bands_are_read_as_they_were_written(tmp_path: Path, name: str):
    bands = Segments.from_labels([[1, 1, 0], [2]]).to_table(
        classes=["a", "7", "NA"], sampling_rate=100.0, recordings=["01", "x"]
    )
    write_table(bands, tmp_path / name)
    again = read_labels(tmp_path / name)
    assert again.to_dict("list") == bands.to_dict("list")


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = write(tmp_path, "old")

    def write_half() -> None:
        with write_atomically(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["data.csv"]


def test_a_safe_table_holds_no_formula(tmp_path: Path):
    names = ["=1+1", "+x", "-x", "@x", "x", "1-2"]
    table = pd.DataFrame({"label": names, "start": [-1.5] * 6, "=p": [1] * 6})
    write_table(table, tmp_path / "a.csv", safe=True)
    found = pd.read_csv(tmp_path / "a.csv")
    assert found["label"].tolist() == ["'=1+1", "'+x", "'-x", "'@x", "x", "1-2"]
    assert found["start"].tolist() == [-1.5] * 6 and list(found) == ["label", "start", "'=p"]
    write_table(table, tmp_path / "a.parquet", safe=True)
    assert pd.read_parquet(tmp_path / "a.parquet")["label"].tolist() == names


def test_writing_into_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "no" / "a.csv")


def test_columns_are_remembered():
    columns = Columns("rec", None, "state", ("ax", "ay"), ("power",))
    content = json.loads(json.dumps(columns_to_config(columns, 50.0)))
    assert columns_from_config(content, "model") == (columns, 50.0)


def test_a_model_without_columns_leaves_them_open():
    assert columns_from_config(None, "model") == (Columns(), None)


@pytest.mark.parametrize("rate", [0, -1.0, "50", float("nan"), []])
def test_a_damaged_sampling_rate(rate: Any):
    with rejects_table(file="model", got="sampling rate"):
        columns_from_config(columns_to_config(Columns(channels=("a",)), None) | {"sampling_rate": rate}, "model")


@pytest.mark.parametrize("content", [[], {"columns": {}}, {"columns": 3, "sampling_rate": 1}])
def test_damaged_columns(content: Any):
    with rejects_table(file="model", got="damaged"):
        columns_from_config(content, "model")
