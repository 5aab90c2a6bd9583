"""Dates and times: what can mean one moment is read, what can mean two is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.values.times import parse_time

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
DAY = datetime(2024, 5, 6, tzinfo=UTC)
MOMENT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.requirement("S0-016")
@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-05-06", DAY),
        (" 20240506 ", DAY),
        ("2024/5/6", DAY),
        ("6.5.2024", DAY),
        ("06. 05. 2024", DAY),
        ("May 6, 2024", DAY),
        ("May 6th 2024", DAY),
        ("6 May 2024", DAY),
        ("06-MAY-2024", DAY),
        ("Monday, 6 May 2024", DAY),
        ("2024-05-06T07:08:09Z", MOMENT),
        ("2024-05-06 07:08:09", MOMENT),
        ("2024-05-06T09:08:09+02:00", MOMENT),
        ("2024-05-06T07:08:09.000+0000", MOMENT),
        ("2024-05-06 07:08:09 UTC", MOMENT),
        ("Mon, 06 May 2024 09:08:09 +0200", MOMENT),
        ("06.05.2024 07:08:09", MOMENT),
        ("1714979289", MOMENT),
        ("1714979289250", MOMENT + timedelta(milliseconds=250)),
        ("25/12/2024", datetime(2024, 12, 25, tzinfo=UTC)),
        ("12/25/2024", datetime(2024, 12, 25, tzinfo=UTC)),
        ("12/25/2024 12:05 AM", datetime(2024, 12, 25, 0, 5, tzinfo=UTC)),
        ("12/25/2024, 1:05:06 pm", datetime(2024, 12, 25, 13, 5, 6, tzinfo=UTC)),
        ("5/5/2024", datetime(2024, 5, 5, tzinfo=UTC)),
        ("2023-12-31T23:30:00-01:00", datetime(2024, 1, 1, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_from_its_usual_forms(text: str, time: datetime) -> None:
    """ISO 8601, mail dates, epochs and the written forms with one meaning give one UTC time."""
    found = parse_time(text)
    assert found == time
    assert found is not None
    assert found.utcoffset() == timedelta(0)


@pytest.mark.requirement("S0-016")
@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "n/a",
            "yesterday",
            "2024",
            "12",
            "5/6/2024",
            "05-06-2024",
            "5.6.24",
            "31.2.2024",
            "2024-13-01",
        ),
        *("0000-00-00", "0001-01-01T00:00:00", "1899-12-30", "13/13/2024", "6 Foo 2024", "2024-05-06 25:00"),
        *("12/25/2024 13:05 PM", "12/25/2024 0:05 AM", "2024-05-06 07:08 EST", "9999-12-31T23:59:59-05:00"),
        *("2024-05-06T07:08:09+99:99", "٢٠٢٤-٠٥-٠٦", "2024-05-06" * 100, "17149792891", "\x002024-05-06"),
    ],
)
def test_what_names_no_moment_or_two_is_not_guessed(text: str) -> None:
    """Impossible, ambiguous and never-dates are answered by None."""
    assert parse_time(text) is None


@given(st.integers(0, 250_000_000_000_000_000).map(lambda n: EARLIEST + timedelta(microseconds=n)))
def test_every_time_survives_its_own_iso_form(time: datetime) -> None:
    """What programs write as ISO 8601 is read back to the microsecond."""
    assert parse_time(time.isoformat()) == time


@given(st.text(alphabet="0123456789-/.: TZAPMapm+,JanMyuecdtl", max_size=30))
def test_no_text_makes_it_fail(text: str) -> None:
    """Whatever a cell holds, the answer is a time in UTC or none."""
    found = parse_time(text)
    assert found is None or found.utcoffset() == timedelta(0)
