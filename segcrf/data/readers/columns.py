"""The roles of a table's columns, and how a model keeps them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segcrf._validation import InputError
from segcrf.data.readers.errors import TableError
from segcrf.data.readers.table import listing

__all__ = ["Columns", "check_channel_columns", "columns_from_config", "columns_to_config"]

# A header cell without a name, as pandas reads it.
_NAMELESS = re.compile(r"Unnamed: \d+|")


@dataclass(frozen=True)
class Columns:
    """The roles of the columns of a long table.

    Args:
        recording: column that names the recording; None: the whole file is one recording.
        time: column of times, strictly increasing in each recording; None: frames are counted.
        label: column of classes, text or integers.
        channels: columns of the signal; None: every column without another role.
        targets: columns of regression targets.

    Example:
        >>> Columns(label="state", channels=("ax", "ay")).used()
        ('state', 'ax', 'ay')
    """

    recording: str | None = None
    time: str | None = None
    label: str | None = None
    channels: tuple[str, ...] | None = None
    targets: tuple[str, ...] = ()

    def used(self) -> tuple[str, ...]:
        """Return every column that is read, in a fixed order."""
        single = tuple(name for name in (self.recording, self.time, self.label) if name is not None)
        return single + (self.channels or ()) + self.targets

    def resolve(self, available: Sequence[str]) -> Columns:
        """Return the same roles, with the usual names and the channels filled in.

        A role that was not given takes the column called ``recording``, ``time`` or ``label`` if there is one. An
        empty name means that the table has no such column, or that it is not to be used. Channels default to all
        other columns, but a column of these three names is a channel only if ``channels`` names it.

        Args:
            available: the names of the table's columns.

        Returns:
            Roles. Only a role without a column is None.

        Raises:
            InputError: a column has two roles.

        Example:
            >>> Columns().resolve(["recording", "ax", "label"])
            Columns(recording='recording', time=None, label='label', channels=('ax',), targets=())
        """
        roles = {role: _usual_name(getattr(self, role), role, available) for role in ("recording", "time", "label")}
        taken = {*roles, *roles.values(), *self.targets}
        channels = self.channels
        if channels is None:
            channels = tuple(name for name in available if name not in taken)
        resolved = dataclasses.replace(self, **roles, channels=channels)
        resolved.check_distinct()
        return resolved

    def check_distinct(self) -> None:
        """Check that no column has two roles: a channel that is also the label would give the answer away.

        Raises:
            InputError: a column has two roles.
        """
        used = self.used()
        for name in used:
            if used.count(name) > 1:
                advice = "name another column, or leave one role out"
                raise InputError(f"column {name!r}", f"{used.count(name)} roles", "one role", advice)

    def without_answers(self) -> Columns:
        """Return the columns that a prediction needs: neither label nor targets."""
        return dataclasses.replace(self, label=None, targets=())


def check_channel_columns(channels: Sequence[str], available: Sequence[str], file: object) -> None:
    """Check channels that were chosen by default: all columns without another role.

    Args:
        channels: the chosen columns.
        available: all columns of the table.
        file: the table, for the error.

    Raises:
        TableError: there is no channel, or a channel has no name.
    """
    if not channels:
        got = f"no column for the signal: {listing(available)} all have another role"
        raise TableError("header", got, "one column of numbers at least", file=file)
    for name in channels:
        if _NAMELESS.fullmatch(name):
            got = "no name in the header (are these row numbers that pandas wrote?)"
            advice = "name or remove it, or choose --channels"
            raise TableError(f"column {available.index(name) + 1}", got, "a name for every channel", advice, file=file)


def columns_to_config(columns: Columns, sampling_rate: float | None) -> dict[str, Any]:
    """Return the columns and the sampling rate of the training table as a model keeps them.

    Args:
        columns: with every role resolved.
        sampling_rate: frames per unit of the time column; None without one.
    """
    return {"columns": dataclasses.asdict(columns), "sampling_rate": sampling_rate}


def columns_from_config(content: Mapping[str, Any] | None, file: object) -> tuple[Columns, float | None]:
    """Return the inverse of :func:`columns_to_config`.

    Args:
        content: what it returned; None for a model that was saved from Python: its columns stay open.
        file: where the content was read, for the error.

    Returns:
        The columns, and frames per unit of the time column.

    Raises:
        TableError: there is something else in the content.
    """
    if content is None:
        return Columns(), None
    try:
        rate: Any = content["sampling_rate"]
        columns = _parse_columns(content["columns"])
    except (KeyError, TypeError, AttributeError) as error:
        got, advice = f"damaged columns ({error!r})", "fit the model again"
        raise TableError("", got, "columns of a model", advice, file=file) from error
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate < float("inf")):
        got, advice = f"a sampling rate of {rate!r}", "fit the model again"
        raise TableError("", got, "a positive number", advice, file=file)
    return columns, rate


def _parse_columns(content: Mapping[str, Any]) -> Columns:
    known = {name: content[name] for name in ("recording", "time", "label")}
    return Columns(**known, channels=tuple(content["channels"]), targets=tuple(content["targets"]))


def _usual_name(given: str | None, role: str, available: Sequence[str]) -> str | None:
    if given is None:
        return role if role in available else None
    return given or None
