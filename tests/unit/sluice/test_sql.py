"""Queries are named, say why, and are complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.sql import QueryFileInvalid, load_queries

WHOLE = "-- What this file is for.\n\n-- first --\n-- Why.\nSELECT 1;\n\n-- second --\n-- Why.\nSELECT 2\n"


def test_queries_are_found_by_name(tmp_path: Path) -> None:
    """Each name leads to its statement with its line of why."""
    path = tmp_path / "queries.sql"
    path.write_text(WHOLE)
    assert load_queries(path) == {"first": "-- Why.\nSELECT 1;", "second": "-- Why.\nSELECT 2"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (WHOLE + "-- first --\n-- Why.\nSELECT 3", "first occurs twice"),
        ("-- mute --\nSELECT 1", "mute does not say why"),
        ("-- idle --\n-- Why.\n", "idle has no statement"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """The error names the file and the query."""
    path = tmp_path / "queries.sql"
    path.write_text(text)
    with pytest.raises(QueryFileInvalid, match=problem):
        load_queries(path)
