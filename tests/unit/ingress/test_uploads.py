"""What is counted and named while a file comes in."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.uploads import LineEnds, object_key
from sluice.clock import FakeClock


def counted(pieces: list[bytes]) -> int:
    """The line ends of a file that comes in these pieces."""
    lines = LineEnds()
    for piece in pieces:
        lines.count(piece)
    return lines.total


@given(st.lists(st.text(alphabet="ab\r\n,", max_size=12).map(str.encode), max_size=8))
def test_line_ends_are_counted_exactly_however_the_file_is_cut(pieces: list[bytes]) -> None:
    """LF, CRLF and CR are one end each, also when a CRLF is cut in two."""
    text = b"".join(pieces).decode()
    ends = sum(line.endswith("\n") for line in io.StringIO(text, newline=None))
    assert counted(pieces) == ends


@given(st.text(max_size=40), st.sampled_from(["utf-16-le", "utf-16-be", "utf-8"]))
def test_line_ends_are_never_too_few_in_any_encoding(text: str, encoding: str) -> None:
    """A file may be read once too often, but never have more rows than were thought possible."""
    text = text.replace("\ud800", "").encode("utf-8", "ignore").decode()
    ends = sum(line.endswith("\n") for line in io.StringIO(text, newline=None))
    assert counted([text.encode(encoding)]) >= ends


@pytest.mark.parametrize(
    ("filename", "ending"),
    [
        ("contacts.csv", "contacts.csv"),
        ("My contacts (2).csv", "My_contacts__2_.csv"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("é\x00\n.csv", "___.csv"),
        ("", "upload"),
        ("x" * 500 + ".csv", "x" * 96 + ".csv"),
    ],
)
def test_an_objects_key_holds_time_chance_and_a_harmless_name(filename: str, ending: str) -> None:
    """Every character outside letters, digits, dot and hyphen becomes an underscore (S1-037)."""
    key = object_key(filename, FakeClock())
    assert re.fullmatch(r"uploads/1767225600000-[0-9a-z]{1,13}-[A-Za-z0-9._-]+", key)
    assert key.endswith("-" + ending)
    assert object_key(filename, FakeClock()) != key
