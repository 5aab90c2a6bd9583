"""The rules that a caller adds to a field or a source column: required, pattern, one of, shortest, longest.

A rule on a field judges what the contact would get, a rule on a column what the file has, without the blanks
around it. A blank value breaks no rule but `required`.

Patterns come from callers and meet text from files, so both may be hostile. They are RE2's: it has no
backtracking, so its time is linear in the text whatever the pattern. Linear is not yet little (a large
pattern costs 4 ms on 1,000 characters), so the patterns of a job have a size together, and no text beyond
`MAX_MATCHED` characters matches any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import re2

from sluice.contact import FIELD_LENGTHS
from sluice.errors import MappingInvalid, RulesInvalid
from sluice.events import ColumnRule
from sluice.mapping.reading import Reading
from sluice.mapping.stored import storable_bytes
from sluice.values.headers import column_index, named_field, shown

MAX_RULES = 100
MAX_PATTERN = 200
MAX_ONE_OF = 1_000
MAX_LENGTH = 1_000_000
MAX_STORED_BYTES = 64 * 1024
"""All rules together, as JSON: they travel with every batch."""

MAX_MATCHED = 500
"""Characters of the longest text that is held against a pattern; longer text does not match."""

MAX_PROGRAM = 10_000
"""RE2's instructions of all patterns of a job. A full batch of the worst such patterns takes a second;
letters
of every script (`\\p{L}`) are 1,200 of them, and `[0-9]+` is 6."""

_MEMORY_BYTES = 512 * 1024
"""What one pattern may take in memory, compiled and at work; RE2 refuses what needs more."""

TAKES = (
    "a JSON array of up to 100 rules, each with a field or a column and some of required, pattern, one_of, "
    "min_length, max_length"
)


class _Given(ColumnRule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule as callers write it."""


def read_rules(value: Any) -> list[ColumnRule]:
    """The rules of a JSON value. Raises RulesInvalid, naming the rule and what is wrong with it."""
    if not isinstance(value, list) or len(value) > MAX_RULES:
        raise RulesInvalid(problem=f"The rules have to be {TAKES}.")
    if storable_bytes(value) > MAX_STORED_BYTES:
        raise RulesInvalid(problem=f"The rules take more than {MAX_STORED_BYTES // 1024} KB or hold no text.")
    rules = [_read_rule(number, each) for number, each in enumerate(value, 1)]
    size = sum(_compiled(rule.pattern).programsize for rule in rules if rule.pattern)
    if size > MAX_PROGRAM:
        raise RulesInvalid(
            problem=f"The patterns are too large together: {size} steps where {MAX_PROGRAM} are allowed. "
            "Repeat less in them."
        )
    return rules


def _read_rule(number: int, value: Any) -> ColumnRule:
    try:
        given = msgspec.convert(value, _Given)
    except msgspec.ValidationError as error:
        raise RulesInvalid(problem=f"Rule {number} cannot be read: {str(error)[:200]}.") from None
    if problem := _problem(given):
        raise RulesInvalid(problem=f"Rule {number} {problem}.")
    try:
        field = named_field(given.field) if given.field else ""
    except MappingInvalid:
        field = given.field
    if field and field not in FIELD_LENGTHS:
        known = ", ".join(FIELD_LENGTHS)
        raise RulesInvalid(
            problem=f'Rule {number} names the field "{shown(field)}", which does not exist. '
            f"Use one of {known}, or name a column."
        )
    return ColumnRule(
        field=field,
        column=given.column,
        required=given.required,
        pattern=given.pattern,
        one_of=given.one_of,
        min_length=given.min_length,
        max_length=given.max_length,
    )


def _problem(rule: ColumnRule) -> str:
    """What is wrong with one rule by itself, as the rest of a sentence; empty: nothing."""
    if bool(rule.field) == bool(rule.column):
        return "has to name either a field or a column"
    if not (rule.required or rule.pattern or rule.one_of or rule.min_length or rule.max_length):
        return "demands nothing"
    if not (0 <= rule.min_length <= MAX_LENGTH and 0 <= rule.max_length <= MAX_LENGTH):
        return f"has a length that is not between 0 and {MAX_LENGTH}"
    if 0 < rule.max_length < rule.min_length:
        return "has a max_length below its min_length"
    if len(rule.one_of) > MAX_ONE_OF:
        return f"allows more than {MAX_ONE_OF} values"
    if len(rule.pattern) > MAX_PATTERN:
        return f"has a pattern of more than {MAX_PATTERN} characters"
    if rule.pattern:
        try:
            _compiled(rule.pattern)
        except re2.error as error:
            reason = error.args[0] if error.args else ""
            text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
            return f'has a pattern that cannot be used ("{shown(text)}"); it takes RE2\'s syntax'
    return ""


# Patterns of the jobs that run now. Each takes a quarter of a megabyte at the most (measured: 25 MB in all).
@lru_cache(maxsize=128)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY_BYTES
    options.log_errors = False
    options.never_capture = True
    # Bytes, because for text the library counts the characters of every match.
    return re2.compile(pattern.encode(), options)


def refuse_unknown_columns(rules: Sequence[ColumnRule], columns: Sequence[str]) -> None:
    """Raise RulesInvalid for a rule on a column that the file does not have."""
    for rule in rules:
        if rule.column:
            try:
                column_index(rule.column, columns)
            except MappingInvalid:
                known = ", ".join(f'"{shown(column)}"' for column in columns[:20])
                raise RulesInvalid(
                    problem=f'A rule names the column "{shown(rule.column)}", but the file has {known}.'
                ) from None


def apply_rules(
    rules: Sequence[ColumnRule],
    reading: Reading,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    label: Callable[[str], str],
) -> None:
    """Add to the reading's faults where its rows break a rule."""
    for rule in rules:
        if rule.column:
            name, said = rule.column, shown(rule.column)
            values = _cells(columns, rows, rule.column)
        else:
            name, said = rule.field, label(rule.field)
            values = reading.columns.get(rule.field) or [""] * reading.row_count
        # A column repeats its values, and holding one against a pattern takes 3 µs.
        broken: Mapping[str, list[tuple[str, str]]] = {
            value: list(_broken(rule, value, said)) for value in set(values)
        }
        if not any(broken.values()):
            continue
        for index, value in enumerate(values):
            for code, message in broken[value]:
                reading.note(index, name, code, message, value)


def _cells(columns: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> list[str]:
    try:
        at = column_index(name, columns)
    except MappingInvalid:
        return [""] * len(rows)
    return [row[at].strip() if at < len(row) else "" for row in rows]


def _broken(rule: ColumnRule, value: str, said: str) -> Iterator[tuple[str, str]]:
    """Code and sentence of each demand that a value does not meet."""
    if not value:
        if rule.required:
            yield "required", f"{said} is required"
        return
    if rule.pattern and (len(value) > MAX_MATCHED or not _compiled(rule.pattern).fullmatch(value.encode())):
        yield "pattern", f"{said} does not have the form that is asked for"
    if rule.one_of and value not in rule.one_of:
        some = ", ".join(f'"{shown(each)}"' for each in rule.one_of[:5])
        more = f" or {len(rule.one_of) - 5} others" if len(rule.one_of) > 5 else ""
        yield "one_of", f"{said} is none of the values allowed: {some}{more}"
    if rule.min_length and len(value) < rule.min_length:
        yield "too_short", f"{said} is shorter than {rule.min_length} characters"
    if rule.max_length and len(value) > rule.max_length:
        yield "too_long", f"{said} is longer than {rule.max_length} characters"
