"""Facts about columns: true counts in bounded memory, and a kind that real columns may break at times."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.analysis.columns import Columns
from ingress.analysis.distinct import Distinct


def summary_of(name: str, values: list[str], piece: int = 500) -> dict[str, object]:
    with Columns([name], "US") as columns:
        for at in range(0, len(values), piece):
            part = values[at : at + piece]
            columns.add([[value] for value in part], range(at + 2, at + 2 + len(part)))
        return columns.summary()[name]


@pytest.mark.requirement("S1-017", "S1-075", "S1-076")
@given(st.lists(st.sampled_from(["", "a", "b", "c", "Ä", "a b"])), st.integers(1, 7))
def test_filled_empty_and_unique_are_counted_truly(values: list[str], piece: int) -> None:
    """Whatever pieces the rows come in: the seed only estimated the number of different values (T-05)."""
    found = summary_of("x", values, piece)
    filled = [value for value in values if value]
    assert found["filled"] == len(filled)
    assert found["empty"] == len(values) - len(filled)
    assert found["unique"] == len(set(filled))
    assert found["samples"] == list(dict.fromkeys(filled))[:5]


@pytest.mark.requirement("S1-076", "S1-127")
def test_unique_counts_of_large_columns_are_exact_and_take_little_memory() -> None:
    """A hundred thousand different values in each of four columns, counted from a file."""
    chance = Random(5)
    with Distinct(4) as distinct:
        tracemalloc.start()
        for start in range(0, 100_000, 500):
            for column in range(4):
                numbers = range(start, start + 500) if column else [chance.randrange(50) for _ in range(500)]
                distinct.add(column, [f"value {number}" for number in numbers])
        counts = [distinct.count(column) for column in range(4)]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert counts == [50, 100_000, 100_000, 100_000]
    assert peak < 5_000_000, "a set of one column's values alone takes 10 MB"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["ana@example.com", "bo@example.org"], "email"),
        (["(415) 555-2671", "+44 20 7946 0958"], "phone"),
        (["4155552671", "2125551234"], "phone"),
        (["2024-05-03", "3 May 2024"], "date"),
        (["12", "1,000.50", "-3"], "number"),
        (["yes", "No"], "boolean"),
        (["https://example.com/a", "www.example.org"], "url"),
        (["Germany", "US"], "country"),
        (["Ana", "Bo"], "text"),
        ([], "text"),
    ],
)
def test_a_column_has_the_kind_of_most_of_its_values(values: list[str], kind: str) -> None:
    """By its content: what the header says is not asked here."""
    assert summary_of("x", values)["type"] == kind


def test_what_breaks_the_kind_is_named_with_its_line() -> None:
    """One bad address among many is an example of what fails, also behind the rows that decided the kind."""
    values = [f"p{number}@example.com" for number in range(2_000)]
    values[3], values[1_900] = "not an address", "another"
    found = summary_of("Email", values)
    assert (found["type"], found["validShare"]) == ("email", 0.999)
    assert found["failing"] == [
        {"line": 5, "value": "not an address"},
        {"line": 1_902, "value": "another"},
    ]


def test_long_cells_wait_for_the_kind_of_their_column_in_little_memory() -> None:
    """A thousand rows of 255 KB are looked at by their beginnings, and counted by all of them."""
    with Columns(["Notes"], "US") as columns:
        tracemalloc.start()
        for number in range(999):
            columns.add([["x" * 255_000 + str(number)]], [number])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found = columns.summary()["Notes"]
    assert peak < 5_000_000
    assert (found["unique"], found["filled"], found["type"]) == (999, 999, "text")


def test_very_many_columns_wait_in_bounded_memory() -> None:
    """Of a thousand columns with long values a kind is guessed from fewer; a nearly blank one waits on."""
    names = [f"c{number}" for number in range(1_000)]
    with Columns(names, "US") as columns:
        tracemalloc.start()
        for row in range(60):
            filled = [f"{'x' * 600}{row}{number}" for number in range(999)]
            columns.add([[*filled, "ana@example.com" if row == 50 else ""]], [row])
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found = columns.summary()
    assert held < 25_000_000
    assert found["c0"]["filled"] == 60
    assert found["c999"]["type"] == "email"
