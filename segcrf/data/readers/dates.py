"""Dates and times of day as people write them, as seconds."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from segcrf.data.readers.dependencies import import_pandas
from segcrf.data.readers.dialect import DATE_ORDERS, Dialect
from segcrf.data.readers.errors import TableError

__all__ = ["is_clock", "is_dated", "parse_clock", "parse_dates", "to_utc"]

Array = npt.NDArray[Any]

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(T.*| .*)?")
_TIME = (
    r"(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2}(?:[.,]\d*)?))?\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)
_NUMBERS = rf"(?P<a>\d{{1,4}})(?P<mark>[./-])(?P<b>\d{{1,2}})[./-](?P<c>\d{{1,4}})\.?(?:[T,\s]+{_TIME})?"
_NAMED = (
    r"(?:[A-Za-z]{3,9}\.?,?\s+)?(?P<a>\d{1,2})[-.\s]+(?P<b>[^\W\d_]{3,9})\.?[-,\s]+(?P<c>\d{4})"
    rf"(?:[T,\s]+{_TIME})?"
)
_CLOCK = r"(?P<h>\d+):(?P<m>\d{2}):(?P<s>\d{2}(?:[.,]\d*)?)\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
_MONTHS = {
    name: number
    for names in (
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "january february march april may june july august september october november december",
        "jan feb mär apr mai jun jul aug sep okt nov dez",
        "januar februar märz april mai juni juli august september oktober november dezember",
    )
    for number, name in enumerate(names.split(), start=1)
}
_EXPECTED = "a date and time such as 2024-05-31 23:59:59"


def is_dated(word: str) -> bool:
    """Return whether a cell begins like a date.

    Args:
        word: the text of the cell.

    Example:
        >>> [is_dated(word) for word in ("2024-05-31", "31.05.2024 10:00", "31 May 2024", "10:00:00", "3.14")]
        [True, True, True, False, False]
    """
    word = word.strip()
    return any(re.fullmatch(form, word) for form in (_ISO, _NUMBERS, _NAMED))


def is_clock(word: str) -> bool:
    """Return whether a cell is a time of day, or a duration in hours, minutes and seconds.

    Args:
        word: the text of the cell.

    Example:
        >>> is_clock("10:00:05.25 PM"), is_clock("10.5")
        (True, False)
    """
    return re.fullmatch(_CLOCK, word.strip()) is not None


def parse_dates(raw: Any, file: object, dialect: Dialect) -> tuple[Array, list[str]]:
    """Return dates as seconds since 1970 UTC, and what was recognised.

    Dates with points are day.month.year. Dates with slashes or hyphens need a day above 12, or ``dialect.dates``. A
    date without a time zone is in ``dialect.time_zone``, or in UTC.

    Args:
        raw: a series of text, indexed by row; its name is the column.
        file: the table, for errors.
        dialect: what the user states.

    Raises:
        TableError: a cell is no date, or the order of day and month is unknown.
    """
    words = raw.str.strip()
    if words.str.fullmatch(_ISO).fillna(False).all():
        parsed = import_pandas().to_datetime(
            words.str.replace(",", ".", regex=False), errors="coerce", utc=True, format="ISO8601"
        )
        _check_all(parsed.isna().to_numpy(), raw, file)
        seconds = parsed.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]").astype(np.int64) / 1e9
        naive = ~words.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$").to_numpy() | (words.str.len() <= 10).to_numpy()
        return to_utc(seconds, naive, raw, file, dialect), []
    parts = words.str.extract(f"^(?:{_NUMBERS})$")
    named = bool(parts["a"].isna().all())
    if named:
        parts = words.str.extract(f"^(?:{_NAMED})$")
    _check_all(parts["a"].isna().to_numpy(), raw, file)
    if named:
        months = parts["b"].str.lower().map(_MONTHS)
        _check_all(months.isna().to_numpy(), raw, file)
        order, notes = "dmy", []
        a, b, c = _whole(parts["a"]), months.to_numpy(dtype=np.int64), _whole(parts["c"])
    else:
        a, b, c = (_whole(parts[name]) for name in "abc")
        order, notes = _find_order(parts, raw, file, dialect)
    day, month, year = {"dmy": (a, b, c), "mdy": (b, a, c), "ymd": (c, b, a)}[order]
    year = np.where(year < 100, 2000 + year, year)
    days, wrong = _days(year, month, day)
    time, wrong_time = _seconds_of_day(parts)
    _check_all(wrong | wrong_time, raw, file)
    zone, naive = _offsets(parts["zone"])
    return to_utc(days * 86400.0 + time - zone, naive, raw, file, dialect), notes


def parse_clock(raw: Any, file: object) -> tuple[Array, list[str]]:
    """Return times of day, or durations, as seconds; after midnight they go on beyond 24 hours.

    Args:
        raw: a series of text, indexed by row; its name is the column.
        file: the table, for errors.

    Raises:
        TableError: a cell is no time.
    """
    parts = raw.str.strip().str.extract(f"^(?:{_CLOCK})$")
    _check_all(parts["h"].isna().to_numpy(), raw, file, "a time such as 23:59:59.5")
    seconds, wrong = _seconds_of_day(parts, limit=10**6)
    _check_all(wrong, raw, file, "a time such as 23:59:59.5")
    midnights = np.concatenate([[0], np.cumsum(np.diff(seconds) < -43200)])
    notes = [f"column {raw.name!r} passes midnight, and goes on beyond 24 hours"] if midnights[-1] else []
    return seconds + 86400.0 * midnights, notes


def _find_order(parts: Any, raw: Any, file: object, dialect: Dialect) -> tuple[str, list[str]]:
    """Return the order of day, month and year that the cells prove or the user states."""
    if (parts["a"].str.len() == 4).all():
        return "ymd", []
    if dialect.dates is not None:
        return dialect.dates, []
    short = bool((parts["c"].str.len() < 4).any())
    if (parts["mark"] == ".").all():
        century = ", in the years 2000 to 2099" if short else ""
        return "dmy", [f"dates in column {raw.name!r} are read as day.month.year{century}"]
    first, second = _whole(parts["a"]) > 12, _whole(parts["b"]) > 12
    if not short and first.any() != second.any():
        order, place = ("dmy", first) if first.any() else ("mdy", second)
        proof = raw.iloc[int(np.flatnonzero(place)[0])]
        names = "day, month, year" if order == "dmy" else "month, day, year"
        return order, [f"dates in column {raw.name!r} are read as {names}, which {proof!r} proves"]
    row, word = int(raw.index[0]), str(raw.iloc[0])
    a, b, c = (str(parts[name].iloc[0]) for name in "abc")
    readings = f"day {a}, month {b} or day {b}, month {a}"
    if short:
        readings = f"day {a}, month {b}, year {c} or month {a}, day {b}, year {c} or year {a}, month {b}, day {c}"
    orders = "--dates dmy, --dates mdy" + (", --dates ymd" if short else "")
    got, expected = f"{word!r}, which is {readings}", "dates with one reading"
    error = TableError(f"column {raw.name!r}", got, expected, f"state the order: {orders}", file=file, row=row)
    raise error.fixed_by(*(("--dates", order) for order in (DATE_ORDERS if short else DATE_ORDERS[:2])))


def _whole(column: Any) -> Array:
    return column.to_numpy(dtype=object, na_value="0").astype(np.int64)


def _days(year: Array, month: Array, day: Array) -> tuple[Array, Array]:
    """Return days since 1970, and where there is no such day."""
    months = np.clip(month, 1, 12)
    begin = (12 * (year - 1970) + months - 1).astype("datetime64[M]")
    length = (begin + 1).astype("datetime64[D]") - begin.astype("datetime64[D]")
    wrong = (month != months) | (day < 1) | (day > length.astype(np.int64))
    return begin.astype("datetime64[D]").astype(np.int64) + day - 1, wrong


def _seconds_of_day(parts: Any, limit: int = 24) -> tuple[Array, Array]:
    """Return seconds since midnight, and where there is no such time."""
    hour, minute = _whole(parts["h"]), _whole(parts["m"])
    second = parts["s"].str.replace(",", ".", regex=False).fillna("0").to_numpy(dtype=object).astype(np.float64)
    half = parts["half"].str[:1].str.lower().fillna("").to_numpy(dtype=object)
    wrong = (hour >= limit) | (minute >= 60) | (second >= 61.0) | ((half != "") & ((hour < 1) | (hour > 12)))
    hour = np.where(half == "p", hour % 12 + 12, np.where(half == "a", hour % 12, hour))
    return hour * 3600.0 + minute * 60.0 + second, wrong


def _offsets(zone: Any) -> tuple[Array, Array]:
    """Return seconds east of UTC, and where no zone is stated."""
    fields = zone.str.extract(r"^([+-])(\d{2}):?(\d{2})$")
    sign = np.where((fields[0] == "-").fillna(False).to_numpy(dtype=bool), -1.0, 1.0)
    return sign * (_whole(fields[1]) * 3600.0 + _whole(fields[2]) * 60.0), zone.isna().to_numpy()


def to_utc(seconds: Array, naive: Array, raw: Any, file: object, dialect: Dialect) -> Array:
    """Return seconds since 1970 UTC, with dates that state no zone in the one that the user states.

    Args:
        seconds: (N,) since 1970, as if all dates were UTC.
        naive: (N,) whether a date states no zone.
        raw: the column of dates, for errors.
        file: the table, for errors.
        dialect: with the zone that the user states.

    Raises:
        TableError: there is no such zone, or a time that does not exist in it.
    """
    if dialect.time_zone is None or not naive.any():
        return seconds
    pd = import_pandas()
    local = pd.Series((np.round(seconds * 1e9)).astype("datetime64[ns]"))
    try:
        there = local.dt.tz_localize(dialect.time_zone, ambiguous="infer").dt.tz_convert("UTC").dt.tz_localize(None)
    except Exception as error:  # zones and their jumps have errors of several packages
        got, expected = f"{dialect.time_zone!r} ({' '.join(str(error).split())})", "a time zone that has these times"
        raise TableError(f"column {raw.name!r}", got, expected, "state another --time-zone", file=file) from error
    return np.where(naive, there.to_numpy(dtype="datetime64[ns]").astype(np.int64) / 1e9, seconds)


def _check_all(wrong: Array, raw: Any, file: object, expected: str = _EXPECTED) -> None:
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        got = "no time" if import_pandas().isna(raw.iloc[first]) else repr(raw.iloc[first])
        advice = "correct the value" if got != "no time" else "fill it in"
        raise TableError(f"column {raw.name!r}", got, expected, advice, file=file, row=int(raw.index[first]))
