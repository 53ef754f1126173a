"""Files of labels as the tools and reference libraries of their formats write them, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from segcrf.data import find_label_format, read_labels, write_labels
from segcrf.testing import rejects

Bands = list[tuple[str, float, float, str]]
BANDS = pd.DataFrame(
    {"recording": "one", "start": [0.0, 1.5, 4.0], "end": [1.5, 3.0, 4.25], "label": ["rest", "walk", "rest"]}
)
EXPECTED = [("one", 0.0, 1.5, "rest"), ("one", 1.5, 3.0, "walk"), ("one", 4.0, 4.25, "rest")]


def place(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def rows(table: Any) -> Bands:
    return [*table[["recording", "start", "end", "label"]].itertuples(index=False, name=None)]


# ------------------------------------------------------------------------------------------------ as the tools write it
LONG_TEXTGRID = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phases"
        xmin = 0
        xmax = 2.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 2.25
            text = "say ""a"""
        intervals [3]:
            xmin = 2.25
            xmax = 2.5
            text = "rest"
    item [2]:
        class = "TextTier"
        name = "events"
        xmin = 0
        xmax = 2.5
        points: size = 1
        points [1]:
            number = 0.7
            mark = "click"
'''
LONG_TEXTGRID = LONG_TEXTGRID.replace("\n", " \n")  # as Praat ends lines
SHORT_TEXTGRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n2.5\n<exists>\n1\n"IntervalTier"\n"phases"\n0\n2.5\n3\n'
    '0\n1\n""\n1\n2.25\n"say ""a"""\n2.25\n2.5\n"rest"\n'
)
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2250"/>
        <TIME_SLOT TIME_SLOT_ID="ts3"/>
        <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="2500"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="phases">
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
            <ANNOTATION_VALUE>walk</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
        <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
            <ANNOTATION_VALUE>unknown start</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    </TIER>
    <TIER LINGUISTIC_TYPE_REF="note" PARENT_REF="phases" TIER_ID="notes">
        <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1">
            <ANNOTATION_VALUE>a note</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    </TIER>
</ANNOTATION_DOCUMENT>
"""
RAVEN = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"
    "1\tWaveform 1\t1\t1.000000\t2.250000\t0.0\t24000.0\tsong\n"
    "1\tSpectrogram 1\t1\t1.000000\t2.250000\t0.0\t24000.0\tsong\n"
    "2\tSpectrogram 1\t1\t3.5\t4.0\t500.0\t900.0\tcall\n"
)
BORIS_EVENTS = (
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,Time offset (s),"
    "Coding duration,Media duration (s),FPS (frame/s),Subject,Behavior,Behavioral category,Behavior type,Time,"
    "Media file name,Image index,Image file path,Comment\n"
    "cage 1,2024-05-01 10:00:00,,60.0,Media file(s),a.mp4,0.0,60.0,60.0,25.0,rat,rear,,START,1.0,a.mp4,25,,\n"
    "cage 1,2024-05-01 10:00:00,,60.0,Media file(s),a.mp4,0.0,60.0,60.0,25.0,rat,lick,,POINT,1.5,a.mp4,37,,\n"
    "cage 1,2024-05-01 10:00:00,,60.0,Media file(s),a.mp4,0.0,60.0,60.0,25.0,rat,rear,,STOP,2.25,a.mp4,56,,\n"
)
BORIS_BOUTS = (
    "Observation id\tObservation date\tDescription\tSubject\tBehavior\tBehavioral category\tModifiers\tBehavior type\t"
    "Start (s)\tStop (s)\tDuration (s)\tComment start\tComment stop\n"
    "cage 1\t2024-05-01\t\trat\trear\t\t\tSTATE\t1.0\t2.25\t1.25\t\t\n"
    "cage 1\t2024-05-01\t\trat\tlick\t\t\tPOINT\t1.5\t1.5\tNA\t\t\n"
)
BORIS_OLD = (
    "Observation id\tcage 1\t\t\t\t\t\n\nMedia file(s)\n\nObservation date\t2019-05-01\nIndependent variables\n"
    "variable\tvalue\n\nTime\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tStatus\n"
    "1.0\ta.mp4\t60.0\t25.0\t\trear\tSTART\n2.25\ta.mp4\t60.0\t25.0\t\trear\tSTOP\n"
)
SERIES_TASK = (
    '[{"id": 7, "data": {"csv": "/data/upload/1/0a1b2c3d-walk.csv"}, "annotations": [{"id": 1, "completed_by": 2, '
    '"was_cancelled": false, "result": [{"id": "x1", "type": "timeserieslabels", "from_name": "label", "to_name": "ts",'
    ' "value": {"start": 10, "end": 19, "instant": false, "timeserieslabels": ["walk"]}}]}], "predictions": []}]'
)
AUDIO_TASK = (
    '[{"id": 8, "data": {"audio": "s3://bucket/walk.wav"}, "annotations": [{"completed_by": {"email": "a@b.c"}, '
    '"result": [{"original_length": 9.0, "type": "labels", "value": {"start": 1.0, "end": 2.25, "channel": 0, '
    '"labels": ["walk"]}}]}]}]'
)
WRITTEN: dict[str, tuple[str, str, Bands]] = {
    "Praat, long": ("one.TextGrid", LONG_TEXTGRID, [("one", 1, 2.25, 'say "a"'), ("one", 2.25, 2.5, "rest")]),
    "Praat, short": ("one.TextGrid", SHORT_TEXTGRID, [("one", 1, 2.25, 'say "a"'), ("one", 2.25, 2.5, "rest")]),
    "ELAN": ("one.eaf", ELAN, [("one", 1.0, 2.25, "walk")]),
    "Audacity": (
        "one.txt",
        "1.000000\t2.250000\tsong\n\\\t500.0\t900.0\n3.5\t3.5\tclick\n",
        [("one", 1, 2.25, "song")],
    ),
    "Raven": (
        "one.Table.1.selections.txt",
        RAVEN,
        [("one.Table.1", 1.0, 2.25, "song"), ("one.Table.1", 3.5, 4.0, "call")],
    ),
    "BORIS, events": ("bouts.csv", BORIS_EVENTS, [("cage 1", 1.0, 2.25, "rear")]),
    "BORIS, bouts": ("bouts.tsv", BORIS_BOUTS, [("cage 1", 1.0, 2.25, "rear")]),
    "BORIS 7": ("bouts.tsv", BORIS_OLD, [("cage 1", 1.0, 2.25, "rear")]),
    "BIDS": (
        "sub-01_task-rest_events.tsv",
        "onset\tduration\ttrial_type\n1.0\t1.25\twalk\n3.0\t0\tclick\n4.0\tn/a\tend\n5.0\t1\tn/a\n",
        [("sub-01_task-rest", 1.0, 2.25, "walk"), ("sub-01_task-rest", 5.0, 6.0, "")],
    ),
    "DCASE": (
        "strong.tsv",
        "filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.25\tDog\nb.wav\t0.000\t9.0\tCat\n",
        [("a", 0.5, 1.25, "Dog"), ("b", 0.0, 9.0, "Cat")],
    ),
    "RTTM": (
        "talk.rttm",
        ";; by hand\nSPKR-INFO talk 1 <NA> <NA> <NA> unknown anna <NA>\nSPEAKER talk 1 1.00 1.25 <NA> <NA> anna <NA>\n",
        [("talk", 1.0, 2.25, "anna")],
    ),
    "a table in clock times": ("one.csv", "Begin;End;Activity\n0:01:30.5;1:32;walk\n", [("one", 90.5, 92.0, "walk")]),
    "a table in milliseconds": ("one.csv", "start_ms,end_ms,label\n1000,2250,walk\n", [("one", 1.0, 2.25, "walk")]),
    "a table with units": ("one.csv", "Start [s],Duration [s],Class\n1,1.25,walk\n", [("one", 1.0, 2.25, "walk")]),
    "Label Studio, audio": ("export.json", AUDIO_TASK, [("walk", 1.0, 2.25, "walk")]),
}


@pytest.mark.parametrize("tool", WRITTEN)
def test_a_file_is_read_as_its_tool_writes_it(tool: str, tmp_path: Path) -> None:
    name, content, expected = WRITTEN[tool]
    table = read_labels(place(tmp_path, name, content))
    assert rows(table) == expected
    assert table.attrs["unit"] == ("seconds" if tool != "DCASE" else None)


def test_a_textgrid_in_utf_16_is_read(tmp_path: Path) -> None:
    file = place(tmp_path, "one.TextGrid", LONG_TEXTGRID.replace("rest", "Ruhé").encode("utf-16"))
    assert read_labels(file)["label"].tolist() == ['say "a"', "Ruhé"]


def test_tiers_are_annotators(tmp_path: Path) -> None:
    second = LONG_TEXTGRID.replace("TextTier", "IntervalTier").replace("number = 0.7", "xmin = 0\nxmax = 0.7")
    file = place(tmp_path, "one.TextGrid", second)
    assert read_labels(file)["annotator"].tolist() == ["phases", "phases", "events"]
    assert rows(read_labels(file, annotator="events")) == [("one", 0, 0.7, "click")]
    with rejects("annotator", got="'words'", expected="phases, events"):
        read_labels(file, annotator="words")


def test_regions_of_time_series_in_label_studio_name_their_last_sample(tmp_path: Path) -> None:
    file = place(tmp_path, "export.json", SERIES_TASK)
    table = read_labels(file)
    assert (rows(table), table.attrs["unit"]) == ([("walk", 10.0, 20.0, "walk")], "frames")
    in_seconds = read_labels(
        place(tmp_path, "s.json", SERIES_TASK.replace("10,", "1.0,").replace("19,", "1.9,")), sampling_rate=10
    )
    assert rows(in_seconds) == [("walk", 1.0, 2.0, "walk")]
    assert in_seconds.attrs["unit"] == "seconds"
    with rejects("start and end", expected="whole samples", advice="sampling rate"):
        read_labels(tmp_path / "s.json")


def test_frames_in_the_name_of_a_column_are_frames(tmp_path: Path) -> None:
    table = read_labels(place(tmp_path, "one.csv", "start_frame,end_frame,label\n3,7,walk\n"))
    assert (rows(table), table.attrs["unit"]) == ([("one", 3.0, 7.0, "walk")], "frames")


def test_content_decides_where_formats_share_an_ending(tmp_path: Path) -> None:
    assert find_label_format(place(tmp_path, "a.txt", RAVEN)).name == "raven"
    assert find_label_format(place(tmp_path, "b.txt", "0\t1\ta\n")).name == "audacity"
    assert find_label_format(place(tmp_path, "c.csv", BORIS_EVENTS)).name == "boris"
    assert find_label_format(place(tmp_path, "d.csv", "start,end,label\n")).name == "table"


# -------------------------------------------------------------------------------- as the reference libraries write it
def test_praat_agrees_with_praatio(tmp_path: Path) -> None:
    textgrid = pytest.importorskip("praatio.textgrid")
    grid = textgrid.Textgrid()
    grid.addTier(textgrid.IntervalTier("phases", [(0, 1.5, "rest"), (1.5, 3, "walk"), (4, 4.25, "rest")], 0, 5))
    for form in ("long_textgrid", "short_textgrid"):
        grid.save(str(tmp_path / "one.TextGrid"), format=form, includeBlankSpaces=True)
        assert rows(read_labels(tmp_path / "one.TextGrid")) == EXPECTED
    write_labels(BANDS, tmp_path / "two.TextGrid")
    again = textgrid.openTextgrid(str(tmp_path / "two.TextGrid"), includeEmptyIntervals=False)
    assert [tuple(entry) for entry in again.getTier("labels").entries] == [row[1:] for row in EXPECTED]


def test_elan_agrees_with_pympi(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    eaf = pympi.Elan.Eaf()
    for _, start, end, label in EXPECTED:
        eaf.add_annotation("default", int(1000 * start), int(1000 * end), label)
    eaf.to_file(str(tmp_path / "one.eaf"))
    assert rows(read_labels(tmp_path / "one.eaf")) == EXPECTED
    write_labels(BANDS, tmp_path / "two.eaf")
    found = pympi.Elan.Eaf(str(tmp_path / "two.eaf")).get_annotation_data_for_tier("labels")
    assert [tuple(row) for row in found] == [(int(1000 * a), int(1000 * b), c) for _, a, b, c in EXPECTED]


def test_edf_agrees_with_pyedflib(tmp_path: Path) -> None:
    pyedflib = pytest.importorskip("pyedflib")
    header = {"label": "EEG", "dimension": "uV", "sample_frequency": 100, "physical_max": 1.0, "physical_min": -1.0}
    with pyedflib.EdfWriter(str(tmp_path / "one.edf"), 1, file_type=pyedflib.FILETYPE_EDFPLUS) as writer:
        writer.setSignalHeaders([header | {"digital_max": 99, "digital_min": -99, "prefilter": "", "transducer": ""}])
        writer.writeSamples([np.zeros(1000)])
        for _, start, end, label in EXPECTED:
            writer.writeAnnotation(start, end - start, label)
        writer.writeAnnotation(2.0, -1, "an instant")
    assert rows(read_labels(tmp_path / "one.edf")) == EXPECTED
    write_labels(BANDS, tmp_path / "two.edf")
    with pyedflib.EdfReader(str(tmp_path / "two.edf")) as reader:
        onsets, durations, texts = reader.readAnnotations()
    assert [*texts] == [row[3] for row in EXPECTED]
    np.testing.assert_allclose(onsets, [row[1] for row in EXPECTED])
    np.testing.assert_allclose(onsets + durations, [row[2] for row in EXPECTED])


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, in wfdb
def test_wfdb_agrees_with_wfdb(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    samples, texts = [0, 100, 540, 1080, 100_000], ["(N", "", "(AFIB", "(", "(N"]
    options: dict[str, Any] = {"symbol": ["+", "N", "+", "+", "+"], "aux_note": texts, "write_dir": str(tmp_path)}
    wfdb.wrann("one", "atr", np.array(samples), fs=360, **options)
    assert rows(read_labels(tmp_path / "one.atr")) == [("one", 0.0, 1.5, "N"), ("one", 1.5, 3.0, "AFIB")]
    wfdb.wrann("two", "atr", np.array(samples), **options)
    with rejects("sampling rate", advice="give the sampling rate"):
        read_labels(tmp_path / "two.atr")
    assert rows(read_labels(tmp_path / "two.atr", sampling_rate=360)) == [("two", 0, 1.5, "N"), ("two", 1.5, 3, "AFIB")]
    place(tmp_path, "two.hea", "two 1 360 100360\ntwo.dat 16 200\n")
    assert rows(read_labels(tmp_path / "two.atr"))[2] == ("two", 100_000 / 360, 100_360 / 360, "N")
    write_labels(BANDS, tmp_path / "three.atr", sampling_rate=360)
    found = wfdb.rdann(str(tmp_path / "three"), "atr")
    assert found.fs == 360
    assert found.sample.tolist() == [0, 540, 1080, 1440, 1530]
    assert [text.rstrip("\0") for text in found.aux_note] == ["(rest", "(walk", "(", "(rest", "("]


def test_crowsetta_agrees_with_crowsetta(tmp_path: Path) -> None:
    crowsetta = pytest.importorskip("crowsetta")
    write_labels(BANDS, tmp_path / "one.seq.csv")
    found = crowsetta.formats.seq.GenericSeq.from_file(tmp_path / "one.seq.csv")
    found.to_file(tmp_path / "two.seq.csv")
    assert found.to_seq()[0].labels.tolist() == ["rest", "walk", "rest"]
    assert rows(read_labels(tmp_path / "two.seq.csv")) == EXPECTED


# ------------------------------------------------------------------------------------------ files that cannot be used
BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><ANNOTATION_DOCUMENT>&b;'
UNUSABLE = {
    "an entity bomb": ("one.eaf", BOMB, {"got": "document type or entity"}),
    "XML of something else": ("one.eaf", "<svg/>", {"got": "svg", "expected": "ANNOTATION_DOCUMENT"}),
    "a TextGrid that promises more": (
        "one.TextGrid",
        SHORT_TEXTGRID.replace("\n3\n", "\n99999999999999\n"),
        {"got": "the end of the file", "expected": "a number"},
    ),
    "a binary TextGrid": ("one.TextGrid", "ooBinaryFile\x08TextGrid", {"got": "a binary TextGrid"}),
    "deep JSON": ("one.json", "[" * 100_000, {"got": "not readable as JSON"}),
    "JSON of something else": ("one.json", '{"a": 1}', {"expected": "a list of tasks"}),
    "a table without labels": ("one.csv", "start,end\n0,1\n", {"argument": "column 'label'", "got": "no such column"}),
    "a table without ends": ("one.csv", "start,label\n0,a\n", {"argument": "column 'end'", "expected": "duration"}),
    "a duration that is none": (
        "one.csv",
        "start,duration,label\n0,1,a\n1,long,b\n",
        {"argument": "column 'duration'", "got": "'long'", "expected": "a number"},
    ),
    "a date with a duration": (
        "one.csv",
        "start,duration,label\n2024-05-31 10:00:00,1,a\n",
        {"argument": "column 'start'", "got": "2024", "advice": "a column of ends"},
    ),
    "a start without stop": (
        "one.csv",
        BORIS_EVENTS.rpartition("cage 1")[0],
        {"got": "a START of 'rear' without STOP", "advice": "Fix unpaired"},
    ),
    "an end before its start": ("one.txt", "0\t1\ta\n3\t2\tb\n", {"argument": "end", "got": "2, before the start 3"}),
    "a time that is none": ("one.txt", "0\tsoon\ta\n", {"argument": "end", "got": "'soon'", "expected": "seconds"}),
    "a signal as labels": ("one.txt", "1.0\n2.0\n", {"got": "1 fields"}),
    "a format that is unknown": ("one.doc", "", {"got": "an unknown format", "expected": r"\.TextGrid|\.textgrid"}),
    "beats": ("one.atr", b"\x05\x04\x05\x04\0\0", {"got": "none in the file"}),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_file_that_cannot_be_used_is_rejected_by_name(case: str, tmp_path: Path) -> None:
    name, content, fields = UNUSABLE[case]
    file = place(tmp_path, name, content)
    with rejects(**fields):
        read_labels(file)
    with pytest.raises(ValueError, match=name):
        read_labels(file)


def test_beats_are_instants(tmp_path: Path) -> None:
    with rejects(got="2 instants such as beats", advice="AFIB"):
        read_labels(place(tmp_path, "one.atr", b"\x05\x04\x05\x04\0\0"), sampling_rate=360)


def test_a_format_of_one_recording_rejects_two(tmp_path: Path) -> None:
    with rejects("bands", got=r"2 recordings \(one, two\)", advice="a file for each"):
        write_labels(BANDS.assign(recording=["one", "two", "two"]), tmp_path / "one.txt")


def test_bands_that_overlap_do_not_fit_side_by_side(tmp_path: Path) -> None:
    with rejects("bands", got="'walk' until 5 and 'rest' from 4", advice="cut"):
        write_labels(BANDS.assign(end=[1.5, 5.0, 4.25]), tmp_path / "one.TextGrid")


def test_what_a_format_needs_is_asked_for(tmp_path: Path) -> None:
    with rejects("sampling_rate", got="None"):
        write_labels(BANDS, tmp_path / "one.atr")
    with rejects("format", got="'word'", expected="'?table'?, "):
        write_labels(BANDS, tmp_path / "one.atr", format="word")
    with rejects("bands", got="2024", expected="seconds"):
        write_labels(BANDS.assign(start=pd.Timestamp("2024-01-01")), tmp_path / "one.txt")
