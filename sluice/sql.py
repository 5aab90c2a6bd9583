"""SQL lives in `.sql` files: named queries, each with a line that says why it is as it is.

-- name_of_query --
-- Why it exists, or why it is written this way.
SELECT ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sluice.errors import SluiceError

_NAME = re.compile(r"^-- (\w+) --[ \t]*$", re.MULTILINE)


class QueryFileInvalid(SluiceError):
    """{path}: {problem} Write each query as "-- name --", a line of why, and the statement."""

    code = "QUERY_FILE_INVALID"


@cache
def load_queries(path: Path) -> Mapping[str, str]:
    """The queries of one file by name, comments included: they show in the server's log.

    Raises:
        QueryFileInvalid: a name occurs twice, or a query has no line of why or no statement.
    """
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    queries: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        lines = text.strip().splitlines()
        if name in queries:
            raise QueryFileInvalid(path=path.name, problem=f"{name} occurs twice.")
        if not lines or not lines[0].startswith("-- "):
            raise QueryFileInvalid(path=path.name, problem=f"{name} does not say why.")
        if all(line.startswith("--") or not line.strip() for line in lines):
            raise QueryFileInvalid(path=path.name, problem=f"{name} has no statement.")
        queries[name] = text.strip()
    return queries
