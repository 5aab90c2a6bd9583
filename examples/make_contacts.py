"""Writes `contacts.csv` and `do-not-call.csv`: 1,000 rows that meet every row rule a file can meet.

The same files every time. Nobody is in them: names are made up, addresses end in example.com, and numbers are
of the range 555-0100 to 555-0199, which North America keeps for fiction.

    python examples/make_contacts.py
"""

from __future__ import annotations

import csv
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).resolve().parent
ROWS = 1000
HEADER = (
    "First Name", "Last Name", "E-mail", "Mobile", "Company", "Job Title", "City", "State", "Zip", "Country",
    "Tags", "Notes", "Updated At", "Favourite Colour",
)  # fmt: skip

EXCLUDED = 3
NO_IDENTITY = 8
INVALID = 16
SUPPRESSED = 20
CONFLICTS = 12
DUPLICATES = 60

FIRST = [
    "Ada", "Alan", "Amélie", "Anselm", "Asha", "Björn", "Carmen", "Chen", "Dolores", "Edsger", "Emil",
    "Faisal", "Grace", "Hana", "Inès", "João", "Kateryna", "Linus", "Margaret", "Noor", "Olga", "Paulo",
    "Quentin", "Radia", "Søren", "Tim", "Ursula", "Vint", "Wanjiru", "Xóchitl", "Yuki", "Zoë",
]  # fmt: skip
LAST = [
    "Abadi", "Berg", "Castillo", "D'Souza", "Endo", "Fischer", "García", "Hopper", "Ivanova", "Jansen",
    "Kowalski", "Liskov", "Müller", "Nguyen", "O'Brien", "Petrov", "Quist", "Rossi", "Smith-Jones", "Tanaka",
    "Underwood", "Väisänen", "Wirth", "Xu", "Yilmaz", "Zhang",
]  # fmt: skip
PLACES = (
    ("San Francisco", "CA", "94103", "415"),
    ("New York", "NY", "10001", "212"),
    ("Chicago", "IL", "60601", "312"),
    ("Seattle", "WA", "98101", "206"),
    ("Miami", "FL", "33101", "305"),
    ("Boston", "MA", "02108", "617"),
    ("Las Vegas", "NV", "89101", "702"),
    ("Denver", "CO", "80202", "303"),
    ("Austin", "TX", "78701", "512"),
    ("Los Angeles", "CA", "90012", "213"),
)
COMPANIES = ("Northwind, Inc.", 'The "Blue" Room', "Ångström & Sons", "Contoso", "Fabrikam; Partners", "")
TITLES = ("Engineer", "Head of Sales", "Buyer", "CTO", "Account Manager", "")
COLOURS = ("green", "blue", "", "ochre")
SPELLINGS = ("({0}) {1}-{2}", "{0}-{1}-{2}", "+1 {0} {1} {2}", "{0}.{1}.{2}", "1{0}{1}{2}", "{0}{1}{2}")
FAULTS = (
    {"E-mail": "no-at-sign.example.com"},
    {"E-mail": "two@@example.com"},
    {"E-mail": "ends.in.a.dot.@example.com"},
    {"Mobile": "555-01"},
    {"Mobile": "+1 000 555 0100"},
    {"Mobile": "call the office"},
    {"E-mail": "both wrong", "Mobile": "12"},
    {"State": "a state whose name is far longer than any state's name is allowed to be"},
)

Row = dict[str, str]
T = TypeVar("T")


def people() -> Iterator[Row]:
    """Up to 1,000 different people: no address and no number twice."""
    names = shuffled(product(FIRST, LAST))
    for index, (first, last) in enumerate(names * 2):
        city, state, code, area = PLACES[index % len(PLACES)]
        line = f"{100 + index // len(PLACES):04d}"
        plain = re.sub(r"[^a-z0-9.]", "", unicodedata.normalize("NFKD", f"{first}.{last}.{index}").lower())
        yield {
            "First Name": first,
            "Last Name": last,
            "E-mail": f"{plain}@example.com",
            "Mobile": SPELLINGS[index % len(SPELLINGS)].format(area, "555", line),
            "Company": COMPANIES[index % len(COMPANIES)],
            "Job Title": TITLES[index % len(TITLES)],
            "City": city,
            "State": state,
            "Zip": code,
            "Country": ("US", "United States", "usa")[index % 3],
            "Tags": ("customer", "customer;newsletter", "")[index % 3],
            "Notes": "Met at the fair,\nwants a call back" if index % 50 == 7 else "",
            "Updated At": f"2026-01-{1 + index % 28:02d}T09:30:00Z",
            "Favourite Colour": COLOURS[index % len(COLOURS)],
        }


def contacts(person: Iterator[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of the file in order, and those of them whose numbers are on the Do-Not-Call list.

    The first 100 rows are complete and sound; what refers to an earlier row refers to one of them.
    """
    first = [next(person) for _ in range(100)]
    listed = [next(person) for _ in range(SUPPRESSED)]
    special = [
        *({**next(person), "Last Name": "Test"} for _ in range(EXCLUDED)),
        *({**next(person), "E-mail": "", "Mobile": ""} for _ in range(NO_IDENTITY)),
        *({**next(person), **FAULTS[index % len(FAULTS)]} for index in range(INVALID)),
        *(
            {**row, "Mobile": first[CONFLICTS + index]["Mobile"]}
            for index, row in enumerate(first[:CONFLICTS])
        ),
    ]
    again = [
        {**row, "City": "Portland", "State": "OR", "Tags": "moved", "Updated At": "2026-02-14T12:00:00Z"}
        for row in first[-DUPLICATES:]
    ]
    rest = special + again + listed
    rest += [_thinned(next(person), index) for index in range(ROWS - len(first) - len(rest))]
    return first + shuffled(rest), listed


def shuffled(items: Iterable[T]) -> list[T]:
    """In another order, the same every time."""
    mixed = list(items)
    random.Random(1815).shuffle(mixed)  # noqa: S311 - nothing secret is drawn
    return mixed


def _thinned(row: Row, index: int) -> Row:
    """Some people have no number, and some no address."""
    if index % 9 == 4:
        return {**row, "Mobile": ""}
    return {**row, "E-mail": ""} if index % 11 == 5 else row


def main() -> None:
    """Write both files and say which rows are to be excluded."""
    rows, listed = contacts(people())
    with (HERE / "contacts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
    with (HERE / "do-not-call.csv").open("w", encoding="utf-8", newline="") as file:
        plain = csv.writer(file, lineterminator="\r\n")
        plain.writerow(["phone", "reason"])
        plain.writerows([row["Mobile"], "Asked not to be called"] for row in listed)
    tests = [number for number, row in enumerate(rows, start=1) if row["Last Name"] == "Test"]
    print(f"{len(rows)} rows; the test entries are rows {', '.join(map(str, tests))}")


if __name__ == "__main__":
    main()
