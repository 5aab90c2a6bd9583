"""Makes docs/requirements.md: which row of the requirements checklist is proven by which test.

    python -m tests.requirements_report           writes the page
    python -m tests.requirements_report --check   fails when it is out of date

The tests are read, not run: their `requirement` markers are taken from the source, on a test, on a class and
on a whole module (`pytestmark`). A marker with an id that is no row of the checklist is an error.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs" / "requirements.md"


@dataclass(frozen=True, slots=True)
class Source:
    """One part of the checklist: rows `prefix-001` up to `prefix-<count>`."""

    prefix: str
    title: str
    count: int
    digits: int

    def ids(self) -> list[str]:
        """Every row's id, in order."""
        return [f"{self.prefix}-{number:0{self.digits}d}" for number in range(1, self.count + 1)]


SOURCES = (
    Source("S0", "CSV import endpoint", 47, 3),
    Source("S1", "Upload wizard", 134, 3),
    Source("S2", "Address books by OAuth", 83, 3),
    Source("S3", "Phone numbers and SMS recipients", 65, 3),
    Source("S4", "Multi-tenant contact management", 128, 3),
    Source("B", "Streaming architecture", 7, 2),
    Source("K", "Settled conflicts", 44, 2),
    Source("T", "Defects not to be copied", 23, 2),
)


class MarkerInvalid(Exception):
    """A marker in a test that the report cannot be made from."""


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """A test that names rows: its file below `tests/`, its name."""

    file: str
    test: str


def proofs(directory: Path = TESTS) -> dict[str, list[Proof]]:
    """Row id to the tests that name it.

    Raises:
        MarkerInvalid: an id is no row of the checklist, or is not written out in the source.
    """
    known = {row for source in SOURCES for row in source.ids()}
    found: dict[str, set[Proof]] = defaultdict(set)
    for path in sorted(directory.rglob("test_*.py")):
        file = path.relative_to(directory).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=file)
        for test, ids in _marked(tree.body, file, _module_ids(tree, file)):
            if unknown := sorted(set(ids) - known):
                raise MarkerInvalid(
                    f"{file}: {test} names {', '.join(unknown)}, which the checklist has not."
                )
            for row in ids:
                found[row].add(Proof(file, test))
    return {row: sorted(tests) for row, tests in found.items()}


def _marked(
    body: Iterable[ast.stmt], file: str, inherited: tuple[str, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            ids = inherited + _decorator_ids(node.decorator_list, file)
            yield from ((f"{node.name}::{test}", rows) for test, rows in _marked(node.body, file, ids))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield node.name, inherited + _decorator_ids(node.decorator_list, file)


def _decorator_ids(decorators: Iterable[ast.expr], file: str) -> tuple[str, ...]:
    return tuple(row for each in decorators for row in _ids(each, file))


def _module_ids(tree: ast.Module, file: str) -> tuple[str, ...]:
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)
    ]
    marks = [mark for value in values for mark in (value.elts if isinstance(value, ast.List) else [value])]
    return tuple(row for mark in marks for row in _ids(mark, file))


def _ids(mark: ast.expr, file: str) -> tuple[str, ...]:
    """The ids of a `pytest.mark.requirement(...)`, nothing for any other decorator."""
    if not (isinstance(mark, ast.Call) and ast.unparse(mark.func).endswith("mark.requirement")):
        return ()
    ids = []
    for argument in mark.args:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            raise MarkerInvalid(f"{file}:{mark.lineno}: write the row's id out, so that it can be found.")
        ids.append(argument.value)
    return tuple(ids)


def page(proven: Mapping[str, list[Proof]]) -> str:
    """The whole page."""
    rows = [row for source in SOURCES for row in source.ids()]
    lines = [
        "# Requirements and their tests",
        "",
        "Made by `make requirements` from the markers in the tests. A row is proven by the tests that name",
        "it; rows without a test are listed last in each section.",
        "",
        f"{sum(row in proven for row in rows)} of {len(rows)} rows are named by a test.",
    ]
    for source in SOURCES:
        lines += _section(source, proven)
    return "\n".join((*lines, ""))


def _section(source: Source, proven: Mapping[str, list[Proof]]) -> list[str]:
    named = [row for row in source.ids() if row in proven]
    unnamed = [row for row in source.ids() if row not in proven]
    lines = ["", f"## {source.prefix}: {source.title} ({len(named)} of {source.count})"]
    if named:
        lines += ["", "| Row | Tests |", "|---|---|"]
    for row in named:
        tests = "<br>".join(f"`{proof.test}` ({proof.file})" for proof in proven[row])
        lines.append(f"| {row} | {tests} |")
    if unnamed:
        lines += ["", f"Not named yet: {', '.join(unnamed)}"]
    return lines


def main() -> None:
    """Write the page, or with `--check` fail when it is out of date."""
    try:
        made = page(proofs())
    except MarkerInvalid as error:
        sys.exit(str(error))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
        sys.exit("docs/requirements.md is out of date: run `make requirements`.")


if __name__ == "__main__":
    main()
