"""Files as they exist in the wild: each becomes the same recording, or is rejected with a command that then works."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from messy_files import FRAMES, LABELS, MESSY, Messy, signal, split_by_ten, with_a_bad_file

from segcrf.cli import BAD_INPUT, main
from segcrf.data import Columns, Dialect, ReadingError, TableError, read_recordings

ROLES = {"--time": "time", "--label": "label", "--recording": "recording"}


def read(paths: object, options: tuple[str, ...] = ()):
    """Read files with options as the command line has them."""
    columns, dialect = Columns(), Dialect()
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option in ROLES:
            columns = Columns(**{**vars(columns), ROLES[option]: value})
        elif option == "--channels":
            columns = Columns(**{**vars(columns), "channels": tuple(value.split(","))})
        else:
            name = option[2:].replace("-", "_")
            dialect = Dialect(**{**vars(dialect), name: float(value) if name == "sampling_rate" else value})
    return read_recordings(paths, columns, dialect=dialect)


def test_there_are_forty_files():
    assert len(MESSY) >= 40


@pytest.mark.parametrize("name", MESSY)
def test_a_file_is_the_same_recording_or_is_rejected_with_a_command_that_works(tmp_path: Path, name: str, capsys):
    messy: Messy = MESSY[name]
    paths = messy.write(tmp_path)
    if messy.rejected:
        with pytest.raises(TableError) as raised:
            read(paths)
        assert messy.options in raised.value.fixes, str(raised.value)
        assert main(["check", str(paths)]) == BAD_INPUT
        suggested = [
            line.partition("try: segcrf ")[2] for line in capsys.readouterr().err.splitlines() if "try:" in line
        ]
        assert all(main(shlex.split(command)) == 0 for command in suggested) and suggested
    found = read(paths, messy.options)
    assert found.names == ["walk"]
    expected = signal()
    if name == "commas with two readings":
        assert found.signals[0][:2].tolist() == [[1.0, 0.0], [np.float32(1.001), 1.0]]
        return
    if name == "no header":
        expected = np.column_stack([np.arange(FRAMES) / 50.0, expected])
    tolerance = {"EDF": 0.05, "BDF": 4e-4}.get(name, 1e-4)
    own = found.signals[0][:, [c for c in range(found.signals[0].shape[1]) if found.columns.channels[c] != "c"]]
    np.testing.assert_allclose(own, expected, atol=tolerance)
    if messy.labelled:
        assert found.labels is not None and found.labels[0].tolist() == LABELS
    if messy.timed:
        rate = {"seconds that repeat": 10.0, "milliseconds of an epoch": 0.05, "EDF": 40.0, "BDF": 40.0}.get(name, 50.0)
        assert found.sampling_rate == pytest.approx(rate, rel=1e-5)
    assert all("\n" not in note for note in found.notes)
    capsys.readouterr()
    assert main(["check", str(paths), *messy.options]) == 0
    assert "recordings: 1 (walk)" in capsys.readouterr().out


def test_files_of_a_folder_are_recordings_named_after_them(tmp_path: Path):
    found = read(split_by_ten(tmp_path))
    assert found.names == ["part8", "part9", "part10", "part11"]
    assert found.lengths == [10] * 4 and found.sampling_rate == 50.0
    assert found.file_of(2).endswith("part10.csv")
    assert any(".md" in note for note in found.notes)
    again = read(str(tmp_path / "part*.csv"))
    assert sorted(again.names) == sorted(found.names)
    single = read([tmp_path / "part9.csv", tmp_path / "part8.csv"])
    assert single.names == ["part9", "part8"]


def test_a_broken_file_among_others_is_named(tmp_path: Path):
    with pytest.raises(TableError, match=r"broken\.csv"):
        read(with_a_bad_file(tmp_path))


def test_all_problems_of_all_files_are_one_report_worst_first(tmp_path: Path, capsys):
    (tmp_path / "a.csv").write_text("time,x,y\n0,1,2\n1,two,3\n1,3,nought\n")
    (tmp_path / "b.csv").write_bytes(b"")
    (tmp_path / "c.csv").write_text("time,x,y\n0,1,2\n1,2,3\n")
    with pytest.raises(ReadingError) as raised:
        read(tmp_path)
    text = str(raised.value).splitlines()
    assert text[0] == "4 problems"
    assert "b.csv" in text[1] and "an empty file" in text[1]
    assert sum("a.csv" in line for line in text) == 3
    assert main(["check", str(tmp_path)]) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 5


def test_the_fixes_of_several_problems_are_one_command(tmp_path: Path, capsys):
    rows = "".join(f"{n},{n},{n},1\n" for n in range(8))
    (tmp_path / "a.csv").write_text("time,x,y,z\n8,1,two,3\n".replace("8,", "-1,") + rows)
    (tmp_path / "b.csv").write_text("time,x,y,z\n-1,one,2,3\n" + rows)
    assert main(["check", str(tmp_path)]) == BAD_INPUT
    (command,) = [
        line.partition("segcrf: try: segcrf ")[2] for line in capsys.readouterr().err.splitlines() if "try" in line
    ]
    assert command.endswith("--channels z")
    assert main(shlex.split(command)) == 0


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import io

    path = MESSY["German spreadsheet"].write(tmp_path)

    class Input:
        buffer = io.BytesIO(path.read_bytes())

    monkeypatch.setattr("sys.stdin", Input)
    found = read("-")
    assert found.names == ["standard input"] and found.lengths == [FRAMES]


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path: Path):
    for person in ("p1", "p2"):
        (tmp_path / person).mkdir()
        MESSY["plain"].write(tmp_path / person)
    assert read(tmp_path).names == ["p1/walk", "p2/walk"]


def test_recordings_of_the_same_name_are_told_apart_by_their_files(tmp_path: Path):
    for day in ("mon", "tue"):
        (tmp_path / f"{day}.csv").write_text("recording,x\na,1\na,2\n")
    assert read(tmp_path).names == ["mon/a", "tue/a"]


def test_channels_are_matched_by_name_and_differences_are_reported(tmp_path: Path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n")
    (tmp_path / "b.csv").write_text("y,x,extra\n2,1,0\n4,3,0\n")
    found = read(tmp_path)
    assert found.signals[0].tolist() == found.signals[1].tolist() == [[1, 2], [3, 4]]
    assert any("extra" in note for note in found.notes)
    (tmp_path / "c.csv").write_text("x,z\n1,2\n3,4\n")
    with pytest.raises(TableError, match="without y") as raised:
        read(tmp_path)
    assert raised.value.fixes == (("--channels", "x"),)
    assert read(tmp_path, raised.value.fixes[0]).lengths == [2, 2, 2]


def test_labels_of_audacity_are_no_signal(tmp_path: Path):
    (tmp_path / "labels.txt").write_text("0.0\t1.5\trest\n1.5\t2.5\twalk\n")
    with pytest.raises(TableError, match="got bands"):
        read(tmp_path / "labels.txt")


def test_the_matlab_file_of_a_wfdb_record_is_not_read_twice(tmp_path: Path):
    MESSY["WFDB"].write(tmp_path)
    MESSY["MATLAB"].write(tmp_path)
    assert read(tmp_path).names == ["walk"]


def test_dates_of_parquet_are_in_the_stated_zone(tmp_path: Path):
    path = MESSY["parquet"].write(tmp_path)
    here = read_recordings(path, dialect=Dialect(time_zone="Europe/Berlin")).clock()[0]
    assert read_recordings(path).clock()[0] - here == np.timedelta64(2, "h")


def test_channels_in_files_of_their_own_are_joined_at_the_highest_rate(tmp_path: Path):
    for person in ("p1", "p2"):
        (tmp_path / person).mkdir()
        fast, slow = np.arange(200) / 100.0, 0.25 + np.arange(12) / 10.0
        fast_rows = "".join(f"{t:.2f},{3 * t:.2f},{'a' if t < 1 else 'b'}\n" for t in fast)
        (tmp_path / person / "acc.csv").write_text("time,x,label\n" + fast_rows)
        (tmp_path / person / "temp.csv").write_text("Time;x\n" + "".join(f"{t:.2f};{t + 20:.2f}\n" for t in slow))
    found = read_recordings(tmp_path, join=True)
    assert found.names == ["p1", "p2"] and found.columns.channels == ("acc/x", "temp/x")
    assert found.sampling_rate == 100.0 and found.times is not None and found.labels is not None
    np.testing.assert_allclose(found.times[0][[0, -1]], [0.25, 1.35])
    np.testing.assert_allclose(found.signals[0], np.stack([3 * found.times[0], found.times[0] + 20], 1), rtol=1e-5)
    assert found.labels[1].tolist() == ["a" if t < 1 else "b" for t in found.times[1]]
    assert main(["check", str(tmp_path), "--join"]) == 0


def test_files_that_cannot_be_joined(tmp_path: Path):
    (tmp_path / "a.csv").write_text("time,x\n0,1\n1,2\n")
    for text, argument in (
        ("time,y\n5,1\n6,2\n", "times"),
        ("y\n1\n2\n", "times"),
        ("time,y\n2024-05-31 10:00,1\n2024-05-31 10:01,1\n", "times"),
        ("recording,time,y\nr,0,1\ns,0,1\n", ""),
    ):
        (tmp_path / "b.csv").write_text(text)
        with pytest.raises(TableError) as raised:
            read_recordings(tmp_path, join=True)
        assert raised.value.argument == argument


def test_values_far_from_any_frame_are_missing_in_joined_channels(tmp_path: Path):
    (tmp_path / "a.csv").write_text("time,x\n" + "".join(f"{t},1\n" for t in range(60)))
    times = [*range(0, 20, 2), *range(50, 62, 2)]
    (tmp_path / "b.csv").write_text("time,y\n" + "".join(f"{t},{t}\n" for t in times))
    found = read_recordings(tmp_path, join=True)
    missing = np.isnan(found.signals[0][:, 1])
    assert np.flatnonzero(missing).tolist() == list(range(19, 50))
