"""Annotations of Label Studio in JSON: regions of time series and of audio.

Regions of audio are in seconds with exclusive ends. Regions of time series name their last sample, so one step of the
sampling rate is added to the end; without a sampling rate they must be whole numbers, and are frames. Each task is a
recording; each annotation, or else each prediction, an annotator. Cancelled annotations are left out. With a sampling
rate regions of time series are written, otherwise of audio. Source: Label Studio documentation, *Export annotations*.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from segcrf.data.files import write_atomically
from segcrf.data.formats.base import Band, LabelFormat, make_table, parse_seconds, read_text, recording_of, to_bands
from segcrf.data.readers import TableError, import_pandas

__all__ = ["LABEL_STUDIO"]

_SERIES, _AUDIO = "timeserieslabels", "labels"
_DATED = re.compile(r"\d{4}-\d\d-\d\d")


class _Region(NamedTuple):
    row: int
    recording: str
    annotator: str
    series: bool
    value: dict[str, Any]


def _read(file: Path, sampling_rate: float | None) -> Any:
    regions = list(_find_regions(_parse(file), file))
    series = [region for region in regions if region.series]
    if series and len(series) < len(regions):
        got, advice = "regions of audio and of time series", "export the two projects apart"
        raise TableError("", got, "one kind of region", advice, file=file)
    annotators = {region.annotator for region in regions}
    bands: list[Band] = []
    for region in regions:
        start, end = (_read_time(region, key, file) for key in ("start", "end"))
        if series:
            if sampling_rate is None and not (start.is_integer() and end.is_integer()):
                got, advice = f"{start:g} to {end:g}", "give the sampling rate"
                raise TableError("start and end", got, "whole samples", advice, file=file, row=region.row)
            end += 1 / (sampling_rate or 1.0)
        name = region.annotator if len(annotators) > 1 else ""
        bands += [Band(region.row, region.recording, start, end, label, name) for label in _labels_of(region, file)]
    return make_table(bands, file, "frames" if series and sampling_rate is None else "seconds")


def _parse(file: Path) -> list[Any]:
    """Return the tasks of a file."""
    text = read_text(file)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        got, advice = f"a file that is not readable as JSON ({error})", "copy or export the file again"
        raise TableError("", got, "JSON of Label Studio", advice, file=file) from error
    tasks = content if isinstance(content, list) else [content]
    if not all(isinstance(task, dict) and "data" in task for task in tasks):
        advice = "export as JSON from Label Studio"
        raise TableError("", "something else", "a list of tasks with data and annotations", advice, file=file)
    return tasks


def _find_regions(tasks: list[Any], file: Path) -> Iterator[_Region]:
    """Yield the labelled regions of all tasks; the row of one is the number of its task."""
    for row, task in enumerate(tasks, start=1):
        recording = _name_task(task, file)
        answers = _list_in(task, "annotations", file, row) or _list_in(task, "predictions", file, row)
        for answer in answers:
            if answer.get("was_cancelled"):
                continue
            for result in _list_in(answer, "result", file, row):
                value = result.get("value")
                if isinstance(value, dict) and {"start", "end"} <= value.keys() and {_SERIES, _AUDIO} & value.keys():
                    yield _Region(row, recording, _name_annotator(answer), _SERIES in value, value)


def _list_in(holder: dict[str, Any], key: str, file: Path, row: int) -> list[dict[str, Any]]:
    found = holder.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise TableError(key, repr(found)[:80], "a list of objects", "export the file again", file=file, row=row)
    return found


def _name_task(task: dict[str, Any], file: Path) -> str:
    """Return the recording of a task: data.recording, or the name of the file that its data names."""
    data = task["data"]
    if isinstance(data, dict):
        if isinstance(data.get("recording"), str):
            return data["recording"]
        paths = [value for value in (task.get("file_upload"), *data.values()) if isinstance(value, str) and value]
        if paths:
            name = re.split(r"[/\\=]", paths[0])[-1]
            return re.sub(r"^[0-9a-f]{8}-", "", name).partition(".")[0] or name
    return recording_of(file)


def _name_annotator(answer: dict[str, Any]) -> str:
    person = answer.get("completed_by", answer.get("model_version", ""))
    if isinstance(person, dict):
        person = person.get("email") or person.get("id") or ""
    return str(person) if isinstance(person, (str, int)) else ""


def _read_time(region: _Region, key: str, file: Path) -> float:
    """Return a time of a region in seconds or samples; a date counts from 1970."""
    value = region.value[key]
    if isinstance(value, str) and _DATED.match(value):
        stamp = import_pandas().to_datetime(value, errors="coerce", utc=True)
        if not import_pandas().isna(stamp):
            return stamp.timestamp()
    return parse_seconds(value, key, file, region.row)


def _labels_of(region: _Region, file: Path) -> list[str]:
    labels = region.value.get(_SERIES, region.value.get(_AUDIO))
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        got, expected = repr(labels)[:80], "a list of names"
        raise TableError("labels", got, expected, "export the file again", file=file, row=region.row)
    return [label for label in labels if label]


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    key = _AUDIO if sampling_rate is None else _SERIES
    step = 0.0 if sampling_rate is None else 1 / sampling_rate
    tasks: dict[str, list[Any]] = {}
    for number, band in enumerate(to_bands(table, file)):
        value: dict[str, Any] = {"start": band.start, "end": max(band.end - step, band.start), key: [band.label]}
        if sampling_rate is not None:
            value["instant"] = False
        result = {"id": f"b{number}", "type": key, "from_name": "label", "to_name": "signal", "value": value}
        tasks.setdefault(band.recording, []).append(result)
    content = [{"data": {"recording": name}, "annotations": [{"result": found}]} for name, found in tasks.items()]
    with write_atomically(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


LABEL_STUDIO = LabelFormat("label-studio", (".json",), _read, _write, many=True)
