"""What kind of values a column has, judged by samples of them: by reading them as the import would."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple

from sluice.values.country import parse_country
from sluice.values.email import Email, parse_email
from sluice.values.phone import Phone, parse_phone
from sluice.values.times import parse_time

Kind = Literal["email", "phone", "url", "date", "country", "us_zip", "number", "text"]

ODD_ONES = 5
"""One sample in so many may be something else: lists hold an "n/a" and a typing mistake here and there."""

MOST_SAMPLES = 100
"""So many samples tell as much as all; reading more would only take time."""

_URL = re.compile(r"(?:https?://|www\.)[^\s/]+\.[^\s]+", re.IGNORECASE)
_US_ZIP = re.compile(r"\d{5}(?:-\d{4})?", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:[.,]\d{1,20})?%?", re.ASCII)
_LONGEST_COUNTRY = 60
_LONGEST = 1_000
_FEWEST_DIGITS = 5


class Content(NamedTuple):
    """What most of the samples are, and the share of them that is. `text` has a share of 1."""

    kind: Kind
    share: float


def content_of(samples: Sequence[str], region: str = "US") -> Content | None:
    """The kind of the samples that are not blank, None where all are; numbers are dialled in `region`."""
    given = _given(samples)
    if not given:
        return None
    spare = len(given) // ODD_ONES
    for kind, is_kind in _kinds(region):
        others = 0
        for text in given:
            others += not is_kind(text)
            if others > spare:
                break
        else:
            return Content(kind, 1 - others / len(given))
    return Content("text", 1.0)


def share_of(kind: Kind, samples: Sequence[str], region: str = "US") -> float | None:
    """The share of samples of one kind among those that are not blank; None where all are."""
    given = _given(samples)
    is_kind = dict(_kinds(region))[kind]
    return sum(map(is_kind, given)) / len(given) if given else None


def _given(samples: Sequence[str]) -> list[str]:
    """The samples to be read: a value of any length is a value, but no kind's is longer than these."""
    found = (text[:_LONGEST] for sample in samples if (text := sample.strip()))
    return list(islice(found, MOST_SAMPLES))


def _kinds(region: str) -> Sequence[tuple[Kind, Callable[[str], bool]]]:
    """The kinds in the order of the asking: a ZIP is a number too, and seconds since 1970 are a date."""
    return (
        ("email", lambda text: "@" in text and any(map(_is_email, _values(text)))),
        ("url", lambda text: _URL.fullmatch(text) is not None),
        ("us_zip", lambda text: _US_ZIP.fullmatch(text) is not None),
        ("date", lambda text: not text.isdigit() and parse_time(text) is not None),
        ("phone", lambda text: any(_is_phone(one, region) for one in _values(text))),
        ("number", lambda text: _NUMBER.fullmatch(text) is not None),
        ("country", lambda text: len(text) <= _LONGEST_COUNTRY and parse_country(text) is not None),
    )


def _values(text: str) -> Sequence[str]:
    return [one.strip() for one in text.split(":::")] if ":::" in text else (text,)


def _is_email(text: str) -> bool:
    return type(parse_email(text)) is Email


def _is_phone(text: str, region: str) -> bool:
    # Without these digits it is none, and the library need not say so (25 µs).
    return (
        sum(map(str.isdigit, text)) >= _FEWEST_DIGITS and type(parse_phone(text, region, "strict")) is Phone
    )


FIELD_OF_KIND: Mapping[str, tuple[str, float]] = {
    "email": ("email", 0.8),
    "phone": ("phone", 0.8),
    "country": ("country", 0.7),
    "us_zip": ("zip", 0.5),
}
"""The field that values of a kind point to, and how surely: a name says more than values, and five digits
may be any number. A date points to none: it may be a birthday as well as the last contact."""

KIND_OF_FIELD: Mapping[str, Kind] = {"email": "email", "phone": "phone"}
"""The kind that a field's values have to be, whatever the column is called."""

NAMES: Mapping[str, str] = {
    "email": "e-mail addresses",
    "phone": "phone numbers",
    "url": "web addresses",
    "date": "dates",
    "country": "countries",
    "us_zip": "United States ZIP codes",
    "number": "numbers",
    "text": "text",
}
"""The kinds for people."""
