"""Events of BORIS: tabular events, one row per start or stop, and aggregated events, one row per bout.

Times are seconds or clock times from the start of the observation, ends are exclusive. The recording is the
observation, the label the behaviour; each subject is an annotator. Point events are instants and are left out. Files
are CSV or TSV. Aggregated events are written. Source: BORIS 8 user guide, *Export events*.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segcrf.data.files import write_atomically
from segcrf.data.formats.base import (
    Band,
    LabelFormat,
    check_characters,
    format_seconds,
    make_table,
    parse_rows,
    parse_seconds,
    read_text,
    recording_of,
    to_bands,
)
from segcrf.data.readers import TableError, listing

__all__ = ["BORIS"]

_BOUT = ("Behavior", "Start (s)", "Stop (s)")
_EVENT = ("Behavior", "Time")
# Columns that distinguish the start of a bout from its stop, by release.
_KINDS = ("Behavior type", "Status")
_PREAMBLE = 60  # lines before the header, in tables of earlier releases
Cells = dict[str, str]


def _read(file: Path, sampling_rate: float | None) -> Any:
    text = read_text(file)
    first = text.partition("\n")[0]
    try:
        rows = list(parse_rows(text, "\t" if first.count("\t") > first.count(",") else ",", quoted=True))
    except csv.Error as error:
        raise TableError("", f"a damaged table ({error})", "a table of BORIS", file=file) from error
    at = next((index for index, (_, fields) in enumerate(rows[:_PREAMBLE]) if "Behavior" in fields), None)
    header = [] if at is None else rows[at][1]
    kind = next((name for name in _KINDS if name in header), "")
    if at is None or not ({*_BOUT} <= {*header} or ({*_EVENT} <= {*header} and kind)):
        expected = f"{listing(_BOUT)}, or {listing(_EVENT)} and one of {listing(_KINDS)}"
        got = f"the columns {listing(header)}"[:200]
        raise TableError("header", got, expected, "export tabular or aggregated events", file=file)
    observation = next((fields[1] for _, fields in rows[:at] if len(fields) > 1 and fields[0] == "Observation id"), "")
    cells = _cells(rows[at + 1 :], header, observation or recording_of(file), file)
    bands = list(_read_bouts(cells, file) if {*_BOUT} <= {*header} else _pair_events(cells, kind, file))
    if len({band.annotator for band in bands}) < 2:
        bands = [band._replace(annotator="") for band in bands]
    return make_table(bands, file)


def _cells(
    rows: list[tuple[int, list[str]]], header: list[str], observation: str, file: Path
) -> Iterator[tuple[int, Cells]]:
    """Yield the cells of each row by column, with an observation in each."""
    for row, fields in rows:
        if len(fields) != len(header):
            got, expected = f"{len(fields)} fields", f"{len(header)}, as in the header"
            raise TableError("", got, expected, "export the table again", file=file, row=row)
        yield row, {"Observation id": observation, **dict(zip(header, fields, strict=True))}


def _read_bouts(cells: Iterator[tuple[int, Cells]], file: Path) -> Iterator[Band]:
    """Yield the bands of a table of aggregated events; a point has NA as its stop, or its start."""
    for row, cell in cells:
        if cell.get("Behavior type", "").upper() == "POINT":
            continue
        start, end = (parse_seconds(cell[name], f"column {name!r}", file, row) for name in _BOUT[1:])
        yield Band(row, cell["Observation id"], start, end, cell["Behavior"], cell.get("Subject", ""))


def _pair_events(cells: Iterator[tuple[int, Cells]], kind: str, file: Path) -> Iterator[Band]:
    """Yield a band for each start and the stop that follows it, by observation, subject and behaviour."""
    begun: dict[tuple[str, str, str], tuple[int, float]] = {}
    for row, cell in cells:
        key = cell["Observation id"], cell.get("Subject", ""), cell["Behavior"]
        what = cell[kind].strip().upper()
        if what == "POINT":
            continue
        if what not in ("START", "STOP") or (what == "STOP") != (key in begun):
            got = f"{cell[kind][:80]!r} of {key[2]!r}"
            expected = "STOP" if key in begun else "START, before a STOP"
            advice = "close the bout in BORIS: Observations, Fix unpaired events"
            raise TableError(f"column {kind!r}", got, expected, advice, file=file, row=row)
        time = parse_seconds(cell["Time"], "column 'Time'", file, row)
        if what == "START":
            begun[key] = row, time
        else:
            first, start = begun.pop(key)
            yield Band(first, key[0], start, time, key[2], key[1])
    for (_, _, behaviour), (row, _) in begun.items():
        got, advice = f"a START of {behaviour!r} without STOP", "close the bout in BORIS: Fix unpaired events"
        raise TableError(f"column {kind!r}", got, "a STOP after it", advice, file=file, row=row)


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters(bands, "\0", "BORIS")
    with write_atomically(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        writer.writerow(("Observation id", "Subject", "Behavior", "Behavior type", *_BOUT[1:], "Duration (s)"))
        for band in bands:
            times = (format_seconds(time) for time in (band.start, band.end, band.end - band.start))
            writer.writerow((band.recording, "No focal subject", band.label, "STATE", *times))


BORIS = LabelFormat(
    "boris",
    (".boris.csv", ".boris.tsv"),
    _read,
    _write,
    found_in=(".csv", ".tsv"),
    recognises=lambda head: "Observation id" in head and "Behavior" in head,
    many=True,
)
