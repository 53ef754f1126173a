"""Annotations of ELAN (.eaf), in XML.

Times are whole milliseconds, ends are exclusive. A file holds one recording; each tier with annotations in time is an
annotator. Annotations that refer to others have no time of their own and are left out, as are those at time slots
without a value. Source: EAF 3.0, Max Planck Institute for Psycholinguistics.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from segcrf._validation import InputError
from segcrf.data.files import write_atomically
from segcrf.data.formats.base import (
    Band,
    LabelFormat,
    check_characters,
    make_table,
    parse_seconds,
    read_text,
    recording_of,
    to_bands,
)
from segcrf.data.readers import TableError

__all__ = ["ELAN"]

_LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
# XML has no way to write these.
_CONTROLS = "".join(map(chr, {*range(32), 0xFFFE, 0xFFFF} - {9, 10}))


def _read(file: Path, sampling_rate: float | None) -> Any:
    root = _parse(file)
    slots = {
        slot.get("TIME_SLOT_ID", ""): parse_seconds(slot.get("TIME_VALUE"), "TIME_VALUE", file, number) / 1000
        for number, slot in enumerate(root.iter("TIME_SLOT"), start=1)
        if slot.get("TIME_VALUE") is not None
    }
    tiers = [tier for tier in root.iter("TIER") if tier.find(".//ALIGNABLE_ANNOTATION") is not None]
    bands: list[Band] = []
    for tier in tiers:
        name = tier.get("TIER_ID", "") if len(tiers) > 1 else ""
        for annotation in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = (slots.get(annotation.get(f"TIME_SLOT_REF{side}", "")) for side in (1, 2))
            label = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
            if start is not None and end is not None and label:
                bands.append(Band(len(bands) + 1, recording_of(file), start, end, label, name))
    return make_table(bands, file)


def _parse(file: Path) -> ET.Element:
    """Return the root of an XML file. A document type, which could define entities, is rejected."""
    text = read_text(file)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        advice = "save the file in ELAN, which writes none"
        raise TableError("", "a document type or entity", "XML without them", advice, file=file)
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError, RecursionError) as error:
        got = f"a file that is not readable as XML ({error})"
        raise TableError("", got, "a file of ELAN", "copy or save the file again", file=file) from error
    if root.tag != "ANNOTATION_DOCUMENT":
        got = f"the element {root.tag[:80]!r}"
        raise TableError("", got, "ANNOTATION_DOCUMENT", "give a file of ELAN", file=file)
    return root


def _write(table: Any, file: Path, sampling_rate: float | None) -> None:
    bands = to_bands(table, file)
    check_characters(bands, _CONTROLS, "XML", recordings=False)
    about = {"AUTHOR": "", "DATE": "1970-01-01T00:00:00Z", "FORMAT": "3.0", "VERSION": "3.0", _LOCATION: _SCHEMA}
    root = ET.Element("ANNOTATION_DOCUMENT", about)
    ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    order = ET.SubElement(root, "TIME_ORDER")
    tier = ET.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": "default-lt", "TIER_ID": "labels"})
    for number, band in enumerate(bands, start=1):
        times = [round(1000 * band.start), round(1000 * band.end)]
        if times[0] == times[1]:
            got, advice = f"a band from {band.start:g} to {band.end:g}", "leave it out, or write .csv"
            raise InputError("bands", got, "a band of a millisecond or more, as ELAN holds it", advice)
        refs = {f"TIME_SLOT_REF{side}": f"ts{2 * number - 2 + side}" for side in (1, 2)}
        for slot, time in zip(refs.values(), times, strict=True):
            ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(time)})
        outer = ET.SubElement(tier, "ANNOTATION")
        inner = ET.SubElement(outer, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{number}", **refs})
        ET.SubElement(inner, "ANNOTATION_VALUE").text = band.label
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "default-lt", "TIME_ALIGNABLE": "true"}
    ET.SubElement(root, "LINGUISTIC_TYPE", kind)
    with write_atomically(file) as temporary:
        ET.ElementTree(root).write(temporary, encoding="UTF-8", xml_declaration=True)


ELAN = LabelFormat("elan", (".eaf",), _read, _write)
