"""Long tables: what is read is what was written, and every mistake is named with its place."""

from __future__ import annotations

import dataclasses
import gzip
from typing import IO, TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcrf import Segments
from segcrf.data import Columns, tables

if TYPE_CHECKING:
    from collections.abc import Callable
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


def failing(folder: Path, text: str, columns: Columns | None = None) -> str:
    """The message of the error that a table raises."""
    with pytest.raises((ValueError, TypeError)) as caught:
        tables.read_recordings(write(folder, text), columns or Columns())
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------- reading
def test_rows_are_grouped_by_recording_in_order(tmp_path: Path):
    found = tables.read_recordings(write(tmp_path, LONG), Columns(targets=("power",)))
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
    from_csv = tables.read_recordings(write(tmp_path, LONG), Columns(channels=("ax", "ay")))
    pd.read_csv(tmp_path / "data.csv").to_parquet(tmp_path / "data.parquet")
    from_parquet = tables.read_recordings(tmp_path / "data.parquet", Columns(channels=("ax", "ay")))
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
    expected = tables.read_recordings(write(tmp_path, LONG_WITHOUT_GAP), Columns())
    path = tmp_path / name
    path.write_bytes(text.encode())
    found = tables.read_recordings(path, Columns())
    assert found.columns == expected.columns
    assert [signal.tolist() for signal in found.signals] == [signal.tolist() for signal in expected.signals]


def test_compressed_csv(tmp_path: Path):
    with gzip.open(tmp_path / "data.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write(LONG_WITHOUT_GAP)
    assert tables.read_recordings(tmp_path / "data.csv.gz", Columns()).lengths == [3, 2]


def test_names_stay_as_they_are_written(tmp_path: Path):
    found = tables.read_recordings(write(tmp_path, "recording,ax,label\n01,1,NA\n1,2,None\n"), Columns())
    assert found.names == ["01", "1"]
    assert [labels.tolist() for labels in found.labels or []] == [["NA"], ["None"]]


def test_without_a_recording_column_the_file_is_the_recording(tmp_path: Path):
    found = tables.read_recordings(write(tmp_path, "ax\n1\n2\n", "walk.csv"), Columns())
    assert (found.names, found.lengths, found.labels, found.sampling_rate) == (["walk"], [2], None, None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["2", "0", "-100", "1"], ["2", "0", "", "1"]),
        (["2.0", "0.0", "", "1.0"], ["2", "0", "", "1"]),
        (["b", "-100", "", " a "], ["b", "", "", "a"]),
        (["1", "2", "x", "2"], ["1", "2", "x", "2"]),
    ],
)
def test_labels_as_text_or_integers(tmp_path: Path, written: list[str], read: list[str]):
    rows = "".join(f"{index},{label}\n" for index, label in enumerate(written))
    found = tables.read_recordings(write(tmp_path, "ax,label\n" + rows), Columns())
    assert found.labels is not None
    assert found.labels[0].tolist() == read


def test_integer_labels_of_parquet(tmp_path: Path):
    pd.DataFrame({"ax": [1.0, 2, 3], "label": [2, -100, 10]}).to_parquet(tmp_path / "data.parquet")
    found = tables.read_recordings(tmp_path / "data.parquet", Columns())
    assert found.labels is not None
    assert found.labels[0].tolist() == ["2", "", "10"]
    assert tables.class_order(found.labels) == ["2", "10"]


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
    filtered = tables.read_recordings(tmp_path / "filtered.parquet", Columns())
    assert (filtered.columns.channels, filtered.lengths) == (("ax",), [3])
    indexed = tables.read_recordings(tmp_path / "indexed.parquet", Columns())
    assert (indexed.columns.time, indexed.columns.channels, indexed.sampling_rate) == ("time", ("ax",), 1.0)


def test_no_channels_are_read_where_none_are_wanted(tmp_path: Path):
    found = tables.read_recordings(write(tmp_path, LONG), Columns(channels=()))
    assert [signal.shape for signal in found.signals] == [(3, 0), (2, 0)]


# ---------------------------------------------------------------------------------------------------------- time
def test_rate_is_the_median_step(tmp_path: Path):
    text = "time,ax\n0,1\n0.5,1\n1,1\n7,1\n7.5,1\n"
    assert tables.read_recordings(write(tmp_path, text), Columns()).sampling_rate == 2.0


def test_dates_are_times(tmp_path: Path):
    text = "time,ax\n2024-05-31 23:59:30,1\n2024-06-01T00:00:30,2\n"
    found = tables.read_recordings(write(tmp_path, text), Columns())
    assert found.sampling_rate == pytest.approx(1 / 60)
    assert pd.to_datetime(found.clock()).tolist() == [
        pd.Timestamp("2024-05-31 23:59:30"),
        pd.Timestamp("2024-06-01 00:00:30"),
    ]


def test_dates_of_parquet(tmp_path: Path):
    times = pd.date_range("2024-01-01", periods=3, freq="min", tz="Europe/Berlin")
    pd.DataFrame({"time": times, "ax": [1.0, 2, 3]}).to_parquet(tmp_path / "data.parquet")
    found = tables.read_recordings(tmp_path / "data.parquet", Columns())
    assert found.clock()[0] == np.datetime64("2023-12-31T23:00:00")  # UTC


def recordings_with(times: list[np.ndarray], dated: bool = False) -> tables.Recordings:
    names = [f"r{index}" for index in range(len(times))]
    signals = [np.zeros((len(time), 1), dtype=np.float32) for time in times]
    return tables.Recordings(Columns(), names, signals, times=times, dated=dated)


@given(st.data())
def test_bands_in_time_come_back_as_frames(data: st.DataObject):
    """Whatever the gaps and the jitter: place and to_frames are inverse."""
    steps = data.draw(st.lists(st.floats(0.01, 40.0), min_size=1, max_size=20))
    start = data.draw(st.floats(-1e6, 1e6))
    time = start + np.cumsum([0.0, *steps])
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(time), max_size=len(time))))
    recordings = recordings_with([time], data.draw(st.booleans()))
    bands = Segments.from_labels([labels]).to_table(recordings=recordings.names)
    again = tables.to_frames(tables.place(bands, recordings), recordings)
    assert again["start"].tolist() == bands["start"].tolist()
    assert again["end"].tolist() == bands["end"].tolist()


def test_a_band_ends_where_the_next_frame_begins_even_across_a_gap():
    recordings = recordings_with([np.array([10.0, 11, 12, 20, 21])])
    bands = Segments.from_labels([np.array([0, 0, 0, 1, 1])]).to_table(recordings=["r0"])
    placed = tables.place(bands, recordings)
    assert placed["start"].tolist() == [10, 20]
    assert placed["end"].tolist() == [20, 22]


def test_placing_leaves_the_table_as_it_was():
    recordings = recordings_with([np.array([10.0, 11])])
    bands = Segments.from_labels([np.array([0, 0])]).to_table(recordings=["r0"])
    tables.place(bands, recordings)
    assert bands["end"].tolist() == [2]


def test_times_outside_of_the_recording_are_frames_outside():
    recordings = recordings_with([np.array([10.0, 11, 12])])
    bands = pd.DataFrame({"recording": ["r0"], "start": [3.0], "end": [99.0], "label": ["x"]})
    framed = tables.to_frames(bands, recordings)
    assert (framed["start"][0], framed["end"][0]) == (-1, 4)


def test_bands_of_a_recording_that_is_not_there():
    bands = pd.DataFrame({"recording": ["zz"], "start": [0], "end": [1], "label": ["x"]})
    with pytest.raises(ValueError, match=r"name a recording 'zz'.*it has r0"):
        tables.to_frames(bands, recordings_with([np.array([0.0, 1])]))


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("soon", 1, r"row 5 of the bands, column 'start': expected a number, as column 'time' of table .* got 'soon'"),
        (None, 1, "column 'start': expected a number, .* got an empty cell"),
        (1, 0, r"row 5 of the bands: from 1 to 0 there is no frame of recording 'r0'; expected an end after its start"),
        (0.9, 1.1, r"from 0\.9 to 1\.1 there is no frame"),
    ],
)
def test_bands_that_are_none(start: object, end: object, message: str):
    recordings = recordings_with([np.array([0.0, 1, 2])])
    recordings = dataclasses.replace(recordings, columns=Columns(time="time"))
    bands = pd.DataFrame({"recording": ["r0"], "start": [start], "end": [end], "label": ["x"]}, index=[5])
    with pytest.raises(ValueError, match=message):
        tables.to_frames(bands, recordings)


def test_bands_of_recordings_without_times_are_in_frames():
    recordings = tables.Recordings(Columns(), ["r0"], [np.zeros((3, 1))])
    bands = pd.DataFrame({"recording": ["r0"], "start": [0], "end": [2.0], "label": ["x"]})
    assert tables.to_frames(bands, recordings)["end"].tolist() == [2]
    with pytest.raises(ValueError, match=r"expected a whole number of frames, as table has no times, got 1\.5"):
        tables.to_frames(bands.assign(end=[1.5]), recordings)


def test_recordings_of_another_rate_are_refused():
    recordings = recordings_with([np.arange(9) / 100, np.arange(9) / 50])
    with pytest.raises(ValueError, match=r"recording 'r1' has 50 frames per unit .* expected 100; resample"):
        recordings.check_rate(100.0)
    recordings_with([np.arange(9) / 103]).check_rate(100.0)


# --------------------------------------------------------------------------------------------------------- doubts
def test_gaps_are_told_once_with_the_longest(tmp_path: Path):
    text = "recording,time,ax\n" + "".join(f"a,{t},1\n" for t in (0, 1, 2, 50, 51, 52)) + "b,0,1\nb,1,1\nb,90,1\n"
    (doubt,) = tables.read_recordings(write(tmp_path, text), Columns()).doubts()
    assert "data.csv: time jumps 2 times, farthest in recording 'b', from 1 to 90, 89 usual steps;" in doubt
    dropped = "time,ax\n" + "".join(f"{t},1\n" for t in (0, 1, 2, 5, 6, 7))
    assert tables.read_recordings(write(tmp_path, dropped), Columns()).doubts() == []
    dated = "time,ax\n" + "".join(f"2024-05-31 {t},1\n" for t in ("10:00:00", "10:00:01", "10:00:02", "23:00:00"))
    (doubt,) = tables.read_recordings(write(tmp_path, dated), Columns()).doubts()
    assert "once, in recording 'data', from 2024-05-31T10:00:02.000000 to 2024-05-31T23:00:00.000000" in doubt


def test_a_counter_as_the_label_is_told(tmp_path: Path):
    counter = "ax,label\n" + "".join(f"1,{n}\n" for n in range(30))
    (doubt,) = tables.read_recordings(write(tmp_path, counter), Columns()).doubts()
    assert "column 'label' has 30 different whole numbers as classes, most of them for one band only" in doubt
    words = "ax,label\n" + "".join(f"1,w{n}\n" for n in range(30))
    assert tables.read_recordings(write(tmp_path, words), Columns()).doubts() == []
    again = "ax,label\n" + "".join(f"1,{n % 25}\n" for n in range(75))
    assert tables.read_recordings(write(tmp_path, again), Columns()).doubts() == []


def test_labels_are_held_against_known_classes(tmp_path: Path):
    found = tables.read_recordings(write(tmp_path, LONG), Columns(channels=("ax",)))
    found.check_classes(["walk", "rest", "sit"])
    with pytest.raises(ValueError, match=r"data\.csv: recording 'a', frame 2: .*'walk', expected one of rest, sit"):
        found.check_classes(["rest", "sit"])
    found.check_labelled()
    with pytest.raises(ValueError, match="no frame has a label in column 'label'"):
        tables.read_recordings(write(tmp_path, "ax,label\n1,\n2,-100\n"), Columns()).check_labelled()


# --------------------------------------------------------------------------------------------------------- errors
def test_a_missing_column_is_named_with_those_there_are_and_the_nearest(tmp_path: Path):
    message = failing(tmp_path, LONG, Columns(label="Lable"))
    assert "no column 'Lable'; did you mean 'label'? the columns are recording, time, ax, ay, power, label" in message


def test_text_in_a_number_column(tmp_path: Path):
    message = failing(tmp_path, LONG.replace("a,0.01,2", "a,0.01,two"))
    assert "row 4, column 'ax': expected a number, got 'two'" in message


def test_text_in_a_column_of_parquet_counts_rows_from_one(tmp_path: Path):
    pd.DataFrame({"ax": ["1", "x"]}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ValueError, match="row 2, column 'ax': expected a number, got 'x'"):
        tables.read_recordings(tmp_path / "data.parquet", Columns())


@pytest.mark.parametrize("cell", ["", "NaN", "nan"])
def test_missing_signal(tmp_path: Path, cell: str):
    message = failing(tmp_path, LONG.replace("a,0.01,2", f"a,0.01,{cell}"), Columns(targets=("power",)))
    assert "row 4, column 'ax': a missing value (NaN) in the signal" in message


def test_infinite_signal_and_target(tmp_path: Path):
    message = failing(tmp_path, LONG.replace("a,0.01,2", "a,0.01,inf"), Columns(targets=("power",)))
    assert "row 4, column 'ax': an infinite value in the signal" in message
    message = failing(tmp_path, LONG.replace("a,0.01,2", "a,0.01,-1e300"), Columns(targets=("power",)))
    assert "row 4, column 'ax': -1e+300, beyond what float32 holds, in the signal" in message
    message = failing(tmp_path, LONG.replace(",80,", ",-inf,"), Columns(targets=("power",)))
    assert "row 6, column 'power': an infinite value in the targets" in message


def test_a_blank_line_within_is_a_missing_value(tmp_path: Path):
    assert "row 3, column 'ax': a missing value" in failing(tmp_path, "ax\n1\n\n2\n")


def test_time_that_goes_backwards(tmp_path: Path):
    message = failing(tmp_path, LONG_WITHOUT_GAP.replace("a,0.02", "a,0.005"))
    assert "recording 'a', row 5: time goes backwards, 'time' is 0.005 after 0.01; sort the rows" in message


def test_time_that_stands_still(tmp_path: Path):
    message = failing(tmp_path, LONG_WITHOUT_GAP.replace("b,5.5", "b,5.0"))
    assert "recording 'b', row 6: time stands still, 'time' is 5 after 5; row 3 has that time already" in message


def test_rows_that_are_there_twice(tmp_path: Path):
    rows = "2024-05-31 10:00:00,1\n2024-05-31 10:00:01,2\n"
    message = failing(tmp_path, "time,ax\n" + rows + rows)
    assert "row 4: time goes backwards, 'time' is 2024-05-31 10:00:00 after 2024-05-31 10:00:01" in message
    assert "row 2 has that time already: leave out rows that are there twice" in message


def test_a_missing_time(tmp_path: Path):
    assert "row 3, column 'time': the time is missing" in failing(tmp_path, "time,ax\n0,1\n,2\n2,3\n")


def test_a_damaged_date(tmp_path: Path):
    message = failing(tmp_path, "time,ax\n2024-05-31,1\nsoon,2\n")
    assert "row 3, column 'time': expected a date and time (ISO 8601), got 'soon'" in message


def test_a_way_to_write_dates_that_is_not_read(tmp_path: Path):
    message = failing(tmp_path, "time,ax\n31.05.2024 10:00,1\n")
    assert "row 2, column 'time': expected a number, got '31.05.2024 10:00'; write times as numbers or" in message


def test_decimal_commas(tmp_path: Path):
    message = failing(tmp_path, "time;ax\n0;1,5\n")
    assert "row 2, column 'ax': expected a number, got '1,5'; write decimals with a point" in message


def test_dates_as_a_channel_are_refused(tmp_path: Path):
    pd.DataFrame({"ax": [1.0], "when": pd.to_datetime(["2024-05-31"])}).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(ValueError, match="column 'when': expected numbers, got dates or durations"):
        tables.read_recordings(tmp_path / "data.parquet", Columns())


def test_a_header_with_a_name_twice_or_without_a_name(tmp_path: Path):
    assert "the header has the column 'ax' 2 times" in failing(tmp_path, "time,ax, ax\n0,1,2\n")
    message = failing(tmp_path, ",time,ax\n0,0,1\n1,1,1\n")
    assert "column 1 has no name in the header (are these row numbers that pandas wrote?)" in message
    chosen = tables.read_recordings(write(tmp_path, ",time,ax\n0,0,1\n1,1,1\n"), Columns(channels=("ax",)))
    assert chosen.signals[0].shape == (2, 1)


def test_no_column_is_left_for_the_signal(tmp_path: Path):
    assert "no column is left for the signal" in failing(tmp_path, "recording,time,label\na,0,x\n")


def test_a_file_without_a_header(tmp_path: Path):
    message = failing(tmp_path, "a,0.5,rest\na,0.6,rest\n", Columns(label="label"))
    assert "no column 'label'; the columns are a, 0.5, rest; '0.5' looks like data: is the header missing?" in message


def test_a_separator_that_is_not_known(tmp_path: Path):
    message = failing(tmp_path, "ax|label\n1|x\n", Columns(label="label"))
    assert "the columns are ax|label; separate columns by commas, semicolons or tabs" in message


def test_labels_that_are_fractions_or_negative(tmp_path: Path):
    assert "row 3, column 'label': label 1.5 is a fraction" in failing(tmp_path, "ax,label\n1,0\n2,1.5\n")
    assert "row 3, column 'label': label -1 is negative" in failing(tmp_path, "ax,label\n1,0\n2,-1\n")


def test_a_recording_without_a_name(tmp_path: Path):
    assert "row 3, column 'recording': the recording has no name" in failing(tmp_path, "recording,ax\na,1\n,2\n")


def test_a_column_with_two_roles(tmp_path: Path):
    columns = Columns(channels=("ax", "label"))
    assert "column 'label' is named 2 times" in failing(tmp_path, LONG, columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ('ax,label\n1,"x\n2,y\n', "row 2: a quotation mark opens that nothing closes"),
        ("ax,label\n", "a header but no rows"),
        ("ax,label\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        ('"' + "x" * 200_000 + '"\n1\n', "not readable as CSV: field larger than field limit"),
        ("ax,label\n1,5,2\n1,5,2\n", "the rows have more fields than the header"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, text: str, message: str):
    assert message in failing(tmp_path, text)


@pytest.mark.parametrize("opener", [open, gzip.open])
def test_bytes_that_are_no_text(tmp_path: Path, opener: Callable[..., IO[bytes]]):
    path = tmp_path / ("data.csv" if opener is open else "data.csv.gz")
    many = "1,walk\n" * 100_000  # pandas reads in pieces, and counts bytes from the start of one
    with opener(path, "wb") as stream:
        stream.write(f"ax,label\n{many}2,zurück\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"data\.csv.*: row 100002: byte 0xfc is not text in UTF-8; save it as UTF-8"):
        tables.read_recordings(path, Columns())


def test_the_other_encoding_of_spreadsheets(tmp_path: Path):
    (tmp_path / "data.csv").write_bytes(LONG.encode("utf-16"))
    with pytest.raises(ValueError, match="the file is in UTF-16, expected UTF-8; save it as UTF-8"):
        tables.read_recordings(tmp_path / "data.csv", Columns())


@pytest.mark.parametrize("damage", ["cut", "changed", "replaced"])
def test_a_damaged_compressed_file(tmp_path: Path, damage: str):
    whole = bytearray(gzip.compress(np.random.default_rng(0).bytes(5000).hex().encode()))
    if damage == "changed":
        whole[20:2000] = bytes(1980)
    (tmp_path / "data.csv.gz").write_bytes({"cut": whole[:1000], "changed": whole, "replaced": b"text"}[damage])
    with pytest.raises(ValueError, match=r"data\.csv\.gz: not readable as CSV compressed by gzip"):
        tables.columns_of(tmp_path / "data.csv.gz")


def test_a_truncated_parquet(tmp_path: Path):
    pd.DataFrame({"ax": np.arange(999.0)}).to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "half.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"half\.parquet: not readable as Parquet"):
        tables.read_recordings(tmp_path / "half.parquet", Columns())


def test_missing_files_folders_and_formats(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv: no such file"):
        tables.columns_of(tmp_path / "nothing.csv")
    with pytest.raises(FileNotFoundError, match="a folder, not a file"):
        tables.columns_of(tmp_path)
    with pytest.raises(ValueError, match=r"data\.xls: unknown table format; expected .*\.parquet"):
        tables.columns_of(write(tmp_path, LONG, "data.xls"))


# -------------------------------------------------------------------------------------------------------- writing
@pytest.mark.parametrize("name", ["bands.csv", "bands.csv.gz", "bands.tsv", "bands.parquet"])
def test_bands_are_read_as_they_were_written(tmp_path: Path, name: str):
    bands = Segments.from_labels([[1, 1, 0], [2]]).to_table(
        classes=["a", "7", "NA"], sampling_rate=100.0, recordings=["01", "x"]
    )
    tables.write_table(bands, tmp_path / name)
    again = tables.read_segments(tmp_path / name)
    assert again.to_dict("list") == bands.to_dict("list")


def test_a_failing_write_leaves_the_old_file_and_no_other(tmp_path: Path):
    path = write(tmp_path, "old")

    def write_half() -> None:
        with tables.atomic(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["data.csv"]


def test_writing_into_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        tables.write_table(pd.DataFrame({"a": [1]}), tmp_path / "no" / "a.csv")


def test_columns_are_remembered(tmp_path: Path):
    columns = Columns("rec", None, "state", ("ax", "ay"), ("power",))
    tables.save_columns(tmp_path, columns, 50.0)
    assert tables.load_columns(tmp_path) == (columns, 50.0)


def test_a_model_without_columns_leaves_them_open(tmp_path: Path):
    assert tables.load_columns(tmp_path) == (Columns(), None)


@pytest.mark.parametrize("content", ["{", "[]", '{"columns": {}}', '{"columns": 3, "sampling_rate": 1}'])
def test_damaged_columns(tmp_path: Path, content: str):
    (tmp_path / tables.COLUMNS_FILE).write_text(content)
    with pytest.raises(ValueError, match=r"columns\.json: damaged"):
        tables.load_columns(tmp_path)
