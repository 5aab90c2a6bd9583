"""Dates and times: free text to an aware UTC time, or nothing.

Read are ISO 8601 (RFC 3339) dates and times, the dates of mail headers (RFC 5322), the seconds or
milliseconds since 1970 that providers send (10 or 13 digits), and the written forms that can mean one day
only:

- the year first, with `-`, `/` or `.`: 2024/5/6;
- day, month and year between dots, as all who use dots write it: 6.5.2024;
- with slashes or hyphens, only if one number is above 12 or both are equal: 25/12/2024, 12/25/2024,
  5/5/2024;
- with the month's English name: 6 May 2024, May 6, 2024, 06-May-2024.

A date may be followed by a time, with seconds, AM or PM, and Z, UTC, GMT or an offset. A time without a
zone is UTC, a date without a time is its midnight. Nothing is guessed: 05/06/2024 is the fifth of June to
one half of the world and the sixth of May to the other, 5.6.24 has no century, EST is two zones; they are
answered by None. So is every time before 1900: nobody was contacted then, and programs write 0001-01-01 or
1899-12-30 for "never".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_MAX_TEXT = 64
"""The longest form above is a mail date of some 40 characters; nothing longer is looked at."""

_FIRST_YEAR = 1900

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            ("jan", "january"),
            ("feb", "february"),
            ("mar", "march"),
            ("apr", "april"),
            ("may",),
            ("jun", "june"),
            ("jul", "july"),
            ("aug", "august"),
            ("sep", "sept", "september"),
            ("oct", "october"),
            ("nov", "november"),
            ("dec", "december"),
        ),
        start=1,
    )
    for name in names
}

_EPOCH = re.compile(r"\d{10}|\d{13}", re.ASCII)
_START = datetime(1970, 1, 1, tzinfo=UTC)

_TIME = (
    r"(?:(?:\s+|,\s*|T)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[AP]\.?M\.?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_DATES = tuple(
    re.compile(_WEEKDAY + date + _TIME, re.ASCII | re.IGNORECASE)
    for date in (
        r"(?P<year>\d{4})(?P<by>[-/.])(?P<month>\d{1,2})(?P=by)(?P<day>\d{1,2})",
        r"(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>\d{4})",
        r"(?P<first>\d{1,2})(?P<by>[-/])(?P<second_number>\d{1,2})(?P=by)(?P<year>\d{4})",
        r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[- ](?P<month>[a-z]{3,9})\.?,?[- ](?P<year>\d{4})",
        r"(?P<month>[a-z]{3,9})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})",
    )
)


def parse_time(text: str) -> datetime | None:
    """The time that `text` names, in UTC; None for text that names none, or more than one."""
    text = text.strip()
    if not text or len(text) > _MAX_TEXT:
        return None
    try:
        if _EPOCH.fullmatch(text):
            return _from_epoch(text)
        found = _from_iso(text) or _from_written(text)
        return found.astimezone(UTC) if found and found.year >= _FIRST_YEAR else None
    except (ValueError, OverflowError):
        # A 30 February, a 25th hour, or a time that UTC would put outside the years 1 to 9999.
        return None


_FORM_TOKENS = re.compile(r"YYYY|YY|MMMM|MMM|MM|M|DD|D|HH|H|hh|h|mm|ss|A|%[YymdbBHIMSp]|[^A-Za-z%]|[Tt](?=H)")
"""What a date's form is made of: one token, one directive of strptime, or one sign that stands for itself."""

_DIRECTIVES = {
    "YYYY": "%Y", "YY": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%m", "DD": "%d", "D": "%d",
    "HH": "%H", "H": "%H", "hh": "%I", "h": "%I", "mm": "%M", "ss": "%S", "A": "%p",
}  # fmt: skip
_DAY = ({"%Y", "%y"}, {"%m", "%b", "%B"}, {"%d"})
_MAX_FORM = 40


@lru_cache(maxsize=256)
def time_reader(form: str) -> Callable[[str], datetime | None]:
    """A reader of dates written in one form: `DD/MM/YYYY`, `D MMM YY hh:mm A`, or strptime's `%d/%m/%Y`.

    The form names year, month and day, once each; a time without a zone is UTC. What the reader is given in
    another form is None. Raises ValueError with half a sentence for a form that cannot be.
    """
    tokens = _FORM_TOKENS.findall(form)
    if len(form) > _MAX_FORM or "".join(tokens) != form:
        raise ValueError("is no form of a date; write it like DD/MM/YYYY or %d/%m/%Y")
    directives = [_DIRECTIVES.get(token, token) for token in tokens]
    told = [each for each in directives if len(each) == 2]
    if len(set(told)) < len(told) or any(len(part.intersection(told)) != 1 for part in _DAY):
        raise ValueError("has to name year, month and day, once each")
    if len({"%H", "%I"}.intersection(told)) == 2 or ("%p" in told) != ("%I" in told):
        raise ValueError("has to name the hour once, as HH or as hh with A")
    written = "".join(directives)

    def read(text: str) -> datetime | None:
        if len(text) > _MAX_TEXT:
            return None
        try:
            found = datetime.strptime(text, written).replace(tzinfo=UTC)
        except ValueError:
            return None
        return found if found.year >= _FIRST_YEAR else None

    return read


def _from_epoch(text: str) -> datetime:
    seconds, milliseconds = int(text[:10]), int(text[10:] or 0)
    return _START + timedelta(seconds=seconds, milliseconds=milliseconds)


def _from_iso(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _from_written(text: str) -> datetime | None:
    for pattern in _DATES:
        if match := pattern.fullmatch(text):
            return _assembled(match.groupdict())
    return None


def _assembled(parts: dict[str, str | None]) -> datetime | None:
    month, day = _month_and_day(parts)
    hour = _hour(int(parts["hour"] or 0), parts["half"])
    if not month or hour is None:
        return None
    return datetime(
        int(parts["year"] or 0),
        month,
        day,
        hour,
        int(parts["minute"] or 0),
        int(parts["second"] or 0),
        int((parts["fraction"] or "0").ljust(6, "0")[:6]),
        tzinfo=_zone(parts["zone"]),
    )


def _month_and_day(parts: dict[str, str | None]) -> tuple[int, int]:
    """Month and day; month 0 where the text does not tell."""
    if "first" in parts:
        first, second = int(parts["first"] or 0), int(parts["second_number"] or 0)
        if first > 12 or first == second:
            return second, first
        return (first, second) if second > 12 else (0, 0)
    month, day = parts["month"] or "", int(parts["day"] or 0)
    return (int(month) if month.isdigit() else _MONTHS.get(month.lower(), 0)), day


def _hour(hour: int, half: str | None) -> int | None:
    """The hour of the day; None for an hour that a twelve-hour clock does not show."""
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        return None
    return hour % 12 + (12 if half[0] in "Pp" else 0)


def _zone(text: str | None) -> timezone:
    if text is None or text[0] not in "+-":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(-offset if text[0] == "-" else offset)
