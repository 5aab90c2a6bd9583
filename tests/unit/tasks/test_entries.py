"""Reading the numbers of a Do-Not-Call file, and naming lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.dnc import BadLine, Entry, read_entries, slug_of

NUMBER = "+14155552671"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("+14155552671\n", ""),
        ("(415) 555-2671", ""),
        ('"415-555-2671","asked us, twice"\n', "asked us, twice"),
        ("415.555.2671;complaint\r\n", "complaint"),
        ("4155552671\tletter of 3 May", "letter of 3 May"),
        ("1 415 555 2671 | court", "court"),
        ('+14155552671,"never closed', "never closed"),
    ],
)
def test_a_line_gives_its_number_and_reason(line: str, reason: str) -> None:
    """Whatever separates them and however the number is spelt, it is one E.164 number."""
    assert list(read_entries([line], "US")) == [Entry(NUMBER, reason)]


def test_header_and_blank_lines_are_no_numbers() -> None:
    """Only a first line that names its column is a header."""
    lines = ["Phone Number,Reason\n", "\n", "  \n", f"{NUMBER}\n", "phone\n"]
    assert list(read_entries(lines, "US")) == [Entry(NUMBER, ""), BadLine(5, "Invalid phone number format")]


def test_bad_lines_are_named_and_the_rest_is_read() -> None:
    """The line counts from 1 in the file, header and blank lines included."""
    lines = ["phone\n", "12\n", "\n", f"{NUMBER}\n", "unknown\n"]
    found = list(read_entries(lines, "US"))
    assert [each.line for each in found if isinstance(each, BadLine)] == [2, 5]
    assert [each for each in found if isinstance(each, Entry)] == [Entry(NUMBER, "")]


@given(st.text(max_size=40))
def test_no_line_can_swallow_the_next(line: str) -> None:
    """An open quote, a separator or anything else ends with its line: no listed number is ever lost."""
    found = list(read_entries([line, NUMBER], "US"))
    assert found[-1] == Entry(NUMBER, "")
    assert len(found) <= 2


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("California State DNC", "california-state-dnc"),
        ("Federal DNC Registry", "federal-dnc-registry"),
        ("  Do   not / call ", "do-not-call"),
    ],
)
def test_a_lists_slug_is_its_name_for_addresses(name: str, slug: str) -> None:
    """The seeded lists are found by their names."""
    assert slug_of(name) == slug


def test_two_names_do_not_share_a_slug_by_losing_letters() -> None:
    """Numbers must not end up in another list because its name is not English."""
    names = [
        "名单",
        "列表",
        "---",
        "!!!",
        "Kunden é",
        "Kunden e",
        "x" * 150 + "1",
        "x" * 150 + "2",
        "Опт",
        "опт 2",
    ]
    slugs = [slug_of(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(0 < len(slug) <= 100 for slug in slugs)
