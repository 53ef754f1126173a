"""TextGrid of Praat, in its long and its short text form.

Times are seconds, ends are exclusive. An interval without text is unlabelled. A file holds one recording; each
interval tier is an annotator. Point tiers hold no bands and are left out. Source: Praat manual, *TextGrid file
formats*: numbers, quoted strings and flags count, all other words are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from segcrf.data.files import write_atomically
from segcrf.data.formats.base import (
    Band,
    LabelFormat,
    check_side_by_side,
    format_seconds,
    make_table,
    parse_seconds,
    read_text,
    recording_of,
    to_bands,
)
from segcrf.data.readers import TableError

__all__ = ["PRAAT"]

_TOKEN = re.compile(r'"((?:[^"]|"")*)"|<(\w+)>|![^\n]*|[^\s"]+')
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class _Tokens:
    """Values of a file, one after another, with the line of the last one."""

    def __init__(self, text: str, file: Path) -> None:
        self._file, self._found, self.row = file, self._scan(text), 1

    def _scan(self, text: str) -> Iterator[tuple[str, str]]:
        before = 0
        for match in _TOKEN.finditer(text):
            self.row += text.count("\n", before, match.start())
            before = match.start()
            if match[1] is not None:
                yield "text", match[1].replace('""', '"')
            elif match[2] is not None:
                yield "flag", match[2]
            elif _NUMBER.fullmatch(match[0]):
                yield "number", match[0]

    def take(self, kind: str, what: str) -> str:
        """Return the next value.

        Args:
            kind: text, flag or number.
            what: it means, for the error.
        """
        found, value = next(self._found, ("the end of the file", ""))
        if found != kind:
            got = f"{found} {value}".strip()[:80]
            raise TableError(what, got, f"a {kind}", "save the TextGrid again", file=self._file, row=self.row)
        return value

    def skip_span(self) -> None:
        """Pass over the start and the end of the whole grid or of a tier, which its intervals repeat."""
        for what in ("xmin", "xmax"):
            self.take_number(what)

    def take_number(self, what: str) -> float:
        """Return the next number."""
        return parse_seconds(self.take("number", what), what, self._file, self.row)


def _read(file: Path, sampling_rate: float | None) -> Any:
    text = read_text(file)
    if text.startswith("ooBinaryFile"):
        raise TableError("", "a binary TextGrid", "text", "save it as a text file in Praat", file=file)
    tokens = _Tokens(text, file)
    kinds = [tokens.take("text", "file type"), tokens.take("text", "object class")]
    if kinds != ["ooTextFile", "TextGrid"]:
        raise TableError("header", repr(kinds)[:80], "ooTextFile and TextGrid", "give a TextGrid", file=file)
    tokens.skip_span()
    if tokens.take("flag", "tiers") != "exists":
        return make_table([], file)
    bands: list[Band] = []
    tiers = 0
    for _ in range(int(tokens.take_number("number of tiers"))):
        tier, own = _read_tier(tokens, recording_of(file))
        tiers += tier
        bands += own
    if tiers < 2:  # one tier is one annotation; the name of the tier says nothing more
        bands = [band._replace(annotator="") for band in bands]
    return make_table([band for band in bands if band.label], file)


def _read_tier(tokens: _Tokens, recording: str) -> tuple[bool, list[Band]]:
    """Return whether a tier has intervals, and these."""
    kind, name = tokens.take("text", "class of the tier"), tokens.take("text", "name of the tier")
    tokens.skip_span()
    bands: list[Band] = []
    for _ in range(int(tokens.take_number("number of intervals"))):
        start = tokens.take_number("xmin")
        end = tokens.take_number("xmax") if kind == "IntervalTier" else start
        row = tokens.row
        bands.append(Band(row, recording, start, end, tokens.take("text", "text").strip(), name))
    return kind == "IntervalTier", bands


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = check_side_by_side(to_bands(table, file), "a tier of Praat")
    first, last = (min(0.0, bands[0].start), bands[-1].end) if bands else (0.0, 1.0)
    rows: list[tuple[float, float, str]] = []
    at = first
    for band in bands:
        if band.start > at:
            rows.append((at, band.start, ""))
        rows.append((band.start, band.end, band.label))
        at = band.end
    rows = rows or [(first, last, "")]
    span = [f"xmin = {format_seconds(first)}", f"xmax = {format_seconds(last)}"]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", *span, "tiers? <exists>", "size = 1"]
    lines += ["item []:", "    item [1]:", '        class = "IntervalTier"', '        name = "labels"']
    lines += [f"        {line}" for line in (*span, f"intervals: size = {len(rows)}")]
    for number, (start, end, label) in enumerate(rows, start=1):
        text = label.replace('"', '""')
        lines += [f"        intervals [{number}]:", f"            xmin = {format_seconds(start)}"]
        lines += [f"            xmax = {format_seconds(end)}", f'            text = "{text}"']
    with write_atomically(file) as temporary:
        temporary.write_bytes(("\n".join(lines) + "\n").encode())


PRAAT = LabelFormat("praat", (".textgrid",), _read, _write)
