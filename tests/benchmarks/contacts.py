"""The files that are imported: realistic rows, every e-mail and phone once."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator

HEADER = [
    "First Name", "Last Name", "Email", "Phone", "Company", "Job Title", "Address", "City", "State", "Zip",
    "Country",
]  # fmt: skip
FIELDS = [
    "first_name", "last_name", "email", "phone", "company", "title", "address", "city", "state", "zip",
    "country",
]  # fmt: skip
TITLE = HEADER.index("Job Title")

_FIRST = ["Ana", "Bo", "Chloë", "Dmitri", "Eve", "Farid", "Grace", "Hiro", "Inès", "José"]
_LAST = ["Nguyen", "Smith", "García", "O'Neil", "Müller", "Kim", "Okafor", "Rossi", "Silva", "Young"]
_CITIES = [("Austin", "TX"), ("Boston", "MA"), ("Chicago", "IL"), ("Denver", "CO"), ("Miami", "FL")]
_AREAS = ("212", "310", "415", "512", "617")

LISTED_EVERY = 100
"""One row of so many has a number that the company's Do-Not-Call list holds."""


def number_of(row: int) -> str:
    """The phone of a row, in E.164."""
    return f"+1{_AREAS[row % len(_AREAS)]}{2_000_000 + row}"


def contacts(rows: int, first: int = 0) -> Iterator[list[str]]:
    """Rows from number `first` on; US numbers in the notations that people use."""
    chance = random.Random(first)
    for number in range(first, first + rows):
        given, family = chance.choice(_FIRST), chance.choice(_LAST)
        city, state = chance.choice(_CITIES)
        yield [
            given,
            family,
            f"{given[:2].lower()}{number}@example{number % 40}.com",
            _as_written(number_of(number), number % 3),
            f"Company {number % 5000}",
            "Manager",
            f"{number % 999} Main Street",
            city,
            state,
            f"{number % 99999:05d}",
            "US",
        ]


def _as_written(number: str, notation: int) -> str:
    digits = number[2:]
    return (digits, f"({digits[:3]}) {digits[3:6]}-{digits[6:]}", number)[notation]


def contacts_file(rows: int, first: int = 0, *, changed_every: int = 0) -> bytes:
    """The rows as CSV; with `changed_every` one row of so many has another job title."""
    return _csv(HEADER, _changed(contacts(rows, first), changed_every))


def _changed(rows: Iterator[list[str]], every: int) -> Iterator[list[str]]:
    for index, row in enumerate(rows):
        if every and index % every == 0:
            row[TITLE] = "Director"
        yield row


def noted_file(size_bytes: int) -> tuple[bytes, int]:
    """Contacts with a note each, about `size_bytes` in all (some 290 bytes a row), and how many there are."""
    note = "Met at the spring fair; asked for the price list, and for a call in the second week of May. " * 2
    each = len(_csv([*HEADER, "Notes"], [[*row, note] for row in contacts(1_000)])) / 1_000
    rows = int(size_bytes / each)
    return _csv([*HEADER, "Notes"], ([*row, note] for row in contacts(rows))), rows


def _csv(header: list[str], rows: Iterator[list[str]] | list[list[str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def listed_numbers(rows: int, count: int) -> list[str]:
    """A company's list of `count` numbers: one row of `LISTED_EVERY` is on it, the rest are no contact's."""
    ours = [number_of(row) for row in range(0, rows, LISTED_EVERY)]
    return ours + [f"+1702{2_000_000 + index}" for index in range(count - len(ours))]
