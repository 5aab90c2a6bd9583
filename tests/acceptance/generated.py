"""Generated files and options, from small pools of values, so that identities collide all the time."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.acceptance.oracle import Job, Options

HEADERS = {
    "email": "E-mail Address",
    "phone": "Phone",
    "first_name": "First Name",
    "last_name": "Last Name",
    "company": "Company",
    "title": "Job Title",
    "city": "City",
    "zip": "Zip",
    "tags": "Tags",
    "notes": "Notes",
    "modified_at": "modified_at",
}
"""Canonical field to the column's name in the file."""

NUMBERS = [f"212647{1000 + n}" for n in range(12)]
"""Ten digits that libphonenumber calls valid in the United States."""

LISTED = [f"+1{number}" for number in NUMBERS[:3]]
"""Numbers that every generated organization has on its company's Do-Not-Call list."""

EMAILS = [f"person{n}@example.com" for n in range(12)]


def _spelt(number: str) -> st.SearchStrategy[str]:
    area, exchange, line = number[:3], number[3:6], number[6:]
    return st.sampled_from(
        [number, f"({area}) {exchange}-{line}", f"+1{number}", f"1-{area}-{exchange}-{line}"]
    )


def _several(values: Sequence[str]) -> st.SearchStrategy[str]:
    """Two values in one cell, as Google joins them."""
    return st.sampled_from([f"{one} ::: {other}" for one in values for other in values])


def _long(broken: str, valid: str) -> st.SearchStrategy[str]:
    """A valid value at the last place at which one is looked for, and behind it."""
    return st.sampled_from([" ::: ".join([broken] * count + [valid]) for count in (19, 20)])


_BAD_NUMBERS = ["555-CALL", "12345", "+1 212", "0000000000"]
_BAD_EMAILS = ["no-at-sign", "two@@example.com", "trailing@example."]
_phones = st.one_of(
    st.just(""),
    st.sampled_from(NUMBERS).flatmap(_spelt),
    st.sampled_from(NUMBERS).flatmap(_spelt),
    st.sampled_from(_BAD_NUMBERS),
    _several([*NUMBERS[:5], *_BAD_NUMBERS]) | _long("12", NUMBERS[0]),
)
_emails = st.one_of(
    st.just(""),
    st.sampled_from(EMAILS),
    st.sampled_from(EMAILS).map(str.upper),
    st.sampled_from(_BAD_EMAILS),
    _several([*EMAILS[:5], *_BAD_EMAILS]) | _long("x", EMAILS[0]),
)
_cells = {
    "email": _emails,
    "phone": _phones,
    "first_name": st.sampled_from(["", "Ana", "Bo", "  Cy ", "Dé", "x" * 101]),
    "last_name": st.sampled_from(["", "Ng", 'O"Hara', "Li, Wei"]),
    "company": st.sampled_from(["", "Acme", "Line\nbreak"]),
    "title": st.sampled_from(["", "CEO"]),
    "city": st.sampled_from(["", "Oslo"]),
    "zip": st.sampled_from(["", "04001"]),
    "tags": st.sampled_from(["", "vip", "new;vip", "a; b", "vip ::: c"]),
    "notes": st.sampled_from(["", "=1+1", "zero"]),
    "modified_at": st.sampled_from(
        ["", "2020-01-01T00:00:00Z", "2021-06-01T00:00:00Z", "2022-01-01T00:00:00Z"]
    ),
}


@st.composite
def _rows(draw: st.DrawFn, columns: tuple[str, ...]) -> dict[str, str] | None:
    if draw(st.integers(0, 29)) == 0:
        return None
    return {name: draw(_cells[name]) for name in columns}


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """One file and its options."""
    optional = draw(st.lists(st.sampled_from(list(HEADERS)[2:]), unique=True, max_size=6))
    columns = ("email", "phone", *optional)
    # Left to itself the library makes mostly files of a few rows.
    size = draw(st.sampled_from([1, 5, 15, 30]))
    rows = draw(st.lists(_rows(columns), min_size=size, max_size=size))
    options = Options(
        on_duplicate=draw(st.sampled_from(["skip", "overwrite", "fill_blanks", "merge_newest"])),
        match_on=draw(st.sampled_from(["email", "phone", "either"])),
        phone_check=draw(st.sampled_from(["strict", "lenient", "off"])),
        dnc_policy=draw(st.sampled_from(["flag", "exclude"])),
        blanks=draw(st.sampled_from(["keep", "keep", "clear"])),
        exclude_rows=tuple(draw(st.lists(st.integers(1, len(rows)), unique=True, max_size=2))),
    )
    return Job(rows=rows, options=options, columns=columns)


@dataclass(frozen=True)
class Round:
    """Jobs that one organization runs at the same time."""

    organization: int
    jobs: tuple[Job, ...]


def rounds(organizations: int) -> st.SearchStrategy[Round]:
    """Rounds of one to four jobs; sometimes the same file twice."""
    at_once = st.lists(jobs(), min_size=1, max_size=3).map(
        lambda found: (*found, found[0]) if len(found) == 2 else tuple(found)
    )
    return st.builds(Round, organization=st.integers(0, organizations - 1), jobs=at_once)


def to_csv(job: Job) -> bytes:
    """The file: a broken row has more cells than the header."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([HEADERS[name] for name in job.columns])
    for row in job.rows:
        cells = ["x"] * (len(job.columns) + 1) if row is None else [row[name] for name in job.columns]
        writer.writerow(cells)
    return out.getvalue().encode()
