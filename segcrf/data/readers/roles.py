"""Roles of columns by their names: the usual names, other spellings, and units in headers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from segcrf.data.readers.columns import Columns

__all__ = ["is_time_name", "recognise_columns"]

_UNIT = re.compile(r"\s*[\[(]([^\])]*)[\])]\s*$")
_TIMES = (
    "time", "timestamp", "datetime", "date time", "time stamp", "date and time", "zeit", "zeitstempel", "temps",
    "tiempo", "uhrzeit", "elapsed time", "local time", "utc time", "unix time", "unixtime", "epoch", "seconds",
    "time s", "time sec", "time ms", "time us", "time ns", "timestamp s", "timestamp ms", "timestamp us",
    "timestamp ns",
)  # fmt: skip


def recognise_columns(columns: Columns, available: Sequence[str]) -> tuple[Columns, list[str]]:
    """Return the roles of columns as a table spells them, and what was recognised.

    A role without a column takes the usual name in any case, and times also other names for them. A named column that
    is not there takes the only one that differs in case or in its unit, such as ``acc [g]`` for ``acc``. Two different
    units are two columns.

    Args:
        columns: as they are known; open roles are None.
        available: names of the table's columns.

    Returns:
        The columns with ``channels`` as open as before.

    Raises:
        InputError: a column has two roles.

    Example:
        >>> recognise_columns(Columns(channels=("acc",)), ["Time [ms]", "acc [g]"])[0]
        Columns(recording=None, time='Time [ms]', label=None, channels=('acc [g]',), targets=())
    """
    notes: list[str] = []

    def spelled(name: str) -> str:
        found = _find(name, available)
        if found != name:
            notes.append(f"column {found!r} is taken for {name!r}")
        return found

    roles: dict[str, str | None] = {}
    for role in ("recording", "time", "label"):
        given = getattr(columns, role)
        if given is None and role not in available:
            usual = [name for name in available if _plain(name) == role]
            if role == "time" and not usual:
                usual = sorted((n for n in available if _plain(n) in _TIMES), key=lambda n: _TIMES.index(_plain(n)))
            given = usual[0] if usual and (role == "time" or len(usual) == 1) else None
            if given is not None:
                notes.append(f"column {given!r} holds the {role}s (otherwise: --{role})")
        roles[role] = spelled(given) if given else given
    channels = None if columns.channels is None else tuple(map(spelled, columns.channels))
    found = dataclasses.replace(columns, **roles, channels=channels, targets=tuple(map(spelled, columns.targets)))
    return found, notes


def is_time_name(name: str) -> bool:
    """Return whether a column is called like one of times.

    Args:
        name: of the column.

    Example:
        >>> is_time_name("Time (ms)"), is_time_name("rise time")
        (True, False)
    """
    return _plain(name) in _TIMES


def _unit_of(name: str) -> str | None:
    """Return the unit in a column's name, or None."""
    found = _UNIT.search(name)
    return found[1].strip() if found else None


def _plain(name: str) -> str:
    """Return a name in lower case, without its unit and with blanks for other marks."""
    return re.sub(r"[\s_.\-]+", " ", _UNIT.sub("", name)).strip().casefold()


def _find(name: str, available: Sequence[str]) -> str:
    """Return the column of a name, or the only one that differs from it in case or unit; else the name itself."""
    if name in available:
        return name
    unit = _unit_of(name)
    close = [n for n in available if _plain(n) == _plain(name) and (unit is None or _unit_of(n) in (None, unit))]
    return close[0] if len(close) == 1 else name
