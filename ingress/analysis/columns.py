"""What each column of a file holds: filled, empty, different values, its likely kind, what breaks it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ingress.analysis.distinct import Distinct
from sluice.values.country import parse_country
from sluice.values.email import Email, parse_email
from sluice.values.phone import Phone, parse_phone
from sluice.values.times import parse_time

SAMPLES = 5
"""Different values that are shown of a column (S1-017), and values that are no such kind."""
GUESSED_FROM = 1_000
"""Filled cells of a column that decide what kind it is."""
MOST = 0.8
"""Share of them that has to be of a kind for the column to be: real columns have some dirt in them."""
JUDGED = 1_000
"""Characters of a value that decide what kind it is: no kind has values as long."""
EARLY_BYTES = 16 * 1024 * 1024
"""All values that wait for the kind of their column; beyond it the fullest column is guessed from fewer."""
SHOWN = 200
"""Characters of a value that is shown."""
SUMMARY_BYTES = 1024 * 1024
"""All values that are shown, as JSON: of very many columns less is shown of each."""
TEXT = "text"

_NUMBER = re.compile(r"[-+]?(\d{1,3}([,. ]\d{3})+|\d+)([.,]\d+)?\s?%?")
_URL = re.compile(r"(https?://|www\.)\S+|([a-z0-9-]+\.)+(com|org|net|io|de|fr|uk)(/\S*)?", re.IGNORECASE)
_BOOLEANS = frozenset({"true", "false", "yes", "no", "y", "n", "t", "f", "ja", "nein", "oui", "non", "si"})

Check = Callable[[str], bool]


def _is_phone(region: str) -> Check:
    def check(value: str) -> bool:
        found = parse_phone(value, region, "lenient")
        return type(found) is Phone and bool(found.e164)

    return check


def kinds(region: str) -> Mapping[str, Check]:
    """The kinds that are told apart, the narrower before the wider: ten digits are a phone and a number."""
    return {
        "email": lambda value: type(parse_email(value)) is Email,
        "phone": _is_phone(region),
        "boolean": lambda value: value.casefold() in _BOOLEANS,
        "number": lambda value: _NUMBER.fullmatch(value) is not None,
        "date": lambda value: parse_time(value) is not None,
        "url": lambda value: _URL.fullmatch(value) is not None,
        "country": lambda value: parse_country(value) is not None,
    }


@dataclass(slots=True)
class ColumnFacts:
    """One column so far. `failing` are (source line, value) that are not of the column's kind."""

    name: str
    filled: int = 0
    empty: int = 0
    samples: list[str] = field(default_factory=list)
    kind: str = TEXT
    valid: int = 0
    failing: list[tuple[int, str]] = field(default_factory=list)
    guessed: bool = False
    early: list[tuple[Sequence[int], Sequence[str]]] = field(default_factory=list)
    early_bytes: int = 0

    def as_json(self, unique: int, value_bytes: int) -> dict[str, object]:
        """`ColumnStats` of S1, and the kind with what breaks it; a value takes so many bytes at most."""
        return {
            "filled": self.filled,
            "empty": self.empty,
            "unique": unique,
            "samples": [_shortened(value, value_bytes) for value in self.samples],
            "type": self.kind,
            "validShare": round(self.valid / self.filled, 4) if self.filled else None,
            "failing": [
                {"line": line, "value": _shortened(value, value_bytes)} for line, value in self.failing
            ],
        }


def _shortened(value: str, most_bytes: int) -> str:
    while (size := len(msgspec.json.encode(value))) > most_bytes:
        value = value[: len(value) * most_bytes // size]
    return value


class Columns:
    """All columns of one file; `add` its rows in order, then ask for `summary`. Close it, or use `with`."""

    def __init__(self, names: Sequence[str], region: str) -> None:
        self.facts = [ColumnFacts(name) for name in names]
        self._kinds = kinds(region)
        self._distinct = Distinct(len(names))
        self._early_bytes = 0

    def __enter__(self) -> Columns:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary file."""
        self._distinct.__exit__(None, None, None)

    def add(self, rows: Sequence[Sequence[str]], lines: Sequence[int]) -> None:
        """Take in rows, each with at least as many cells as there are columns, and their source lines."""
        for index, (facts, cells) in enumerate(zip(self.facts, zip(*rows, strict=False), strict=False)):
            blank = cells.count("")
            values = [value for value in cells if value] if blank else cells
            facts.filled += len(values)
            facts.empty += blank
            if values:
                self._distinct.add(index, values)
                kept = [line for line, value in zip(lines, cells, strict=True) if value] if blank else lines
                self._look(facts, kept, values)
        while self._early_bytes > EARLY_BYTES:
            self._guess(max(self.facts, key=lambda facts: facts.early_bytes))

    def summary(self) -> dict[str, dict[str, object]]:
        """`columnSummary` of S1, by column."""
        found = {}
        value_bytes = SUMMARY_BYTES // (2 * SAMPLES * max(1, len(self.facts)))
        for index, facts in enumerate(self.facts):
            if not facts.guessed:
                self._guess(facts)
            found[facts.name] = facts.as_json(self._distinct.count(index), value_bytes)
        return found

    def _look(self, facts: ColumnFacts, lines: Sequence[int], values: Sequence[str]) -> None:
        if len(facts.samples) < SAMPLES:
            fresh = dict.fromkeys([*facts.samples, *(value[:SHOWN] for value in values)])
            facts.samples = list(fresh)[:SAMPLES]
        if facts.guessed:
            self._check(facts, lines, values)
            return
        judged = [value[:JUDGED] for value in values]
        size = sum(map(sys.getsizeof, judged)) + 8 * len(judged)
        facts.early.append((lines, judged))
        facts.early_bytes += size
        self._early_bytes += size
        if facts.filled >= GUESSED_FROM:
            self._guess(facts)

    def _guess(self, facts: ColumnFacts) -> None:
        early, facts.early, facts.guessed = facts.early, [], True
        self._early_bytes -= facts.early_bytes
        facts.early_bytes = 0
        looked_at = [value for _, values in early for value in values][:GUESSED_FROM]
        for kind, check in self._kinds.items():
            if looked_at and sum(map(check, looked_at)) >= MOST * len(looked_at):
                facts.kind = kind
                break
        for lines, values in early:
            self._check(facts, lines, values)

    def _check(self, facts: ColumnFacts, lines: Sequence[int], values: Sequence[str]) -> None:
        check = self._kinds.get(facts.kind)
        if check is None:
            facts.valid += len(values)
            return
        passed = [check(value[:JUDGED]) for value in values]
        facts.valid += sum(passed)
        if len(facts.failing) < SAMPLES and not all(passed):
            failed = [index for index, each in enumerate(passed) if not each]
            facts.failing += [(lines[index], values[index][:SHOWN]) for index in failed]
            del facts.failing[SAMPLES:]
