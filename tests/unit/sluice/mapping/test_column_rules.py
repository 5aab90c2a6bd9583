"""The caller's rules: each broken one is a fault with a code and a sentence, and no rule is a weapon."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import RulesInvalid
from sluice.mapping.column_rules import MAX_PROGRAM, read_rules, refuse_unknown_columns
from streams.batch import Batch
from streams.steps.normalize import normalize
from streams.steps.validate import validate
from tests.unit.streams.batches import make_read, run_steps

COLUMNS = ["Email", "First Name", "Shoe size"]


def judged(row: list[str], *rules: dict[str, Any], **options: Any) -> Batch:
    read = make_read(COLUMNS, [row], rules=read_rules(list(rules)), **options)
    return run_steps(read, [normalize, validate])


def faults(batch: Batch) -> list[tuple[str, str, str]]:
    return [
        (fault.field, fault.code, fault.message)
        for refusal in batch.refusals.values()
        for fault in refusal.faults
    ]


@pytest.mark.requirement("S0-017")
@pytest.mark.parametrize(
    ("row", "rule", "expected"),
    [
        (
            ["a@b.de", "", "42"],
            {"field": "first_name", "required": True},
            ("required", "First name is required"),
        ),
        (
            ["a@b.de", "x", " "],
            {"column": "Shoe size", "required": True},
            ("required", "Shoe size is required"),
        ),
        (
            ["a@b.de", "x", "4 2"],
            {"column": "Shoe size", "pattern": "[0-9]+"},
            ("pattern", "Shoe size does not have the form that is asked for"),
        ),
        (
            ["a@b.de", "x", "47"],
            {"column": "Shoe size", "one_of": ["42", "43"]},
            ("one_of", 'Shoe size is none of the values allowed: "42", "43"'),
        ),
        (
            ["a@b.de", "x", "47"],
            {"column": "Shoe size", "one_of": ["1", "2", "3", "4", "5", "6", "7"]},
            ("one_of", 'Shoe size is none of the values allowed: "1", "2", "3", "4", "5" or 2 others'),
        ),
        (
            ["a@b.de", "Bo", ""],
            {"field": "firstName", "min_length": 3},
            ("too_short", "First name is shorter than 3 characters"),
        ),
        (
            ["a@b.de", "Bobo", ""],
            {"field": "firstName", "max_length": 3},
            ("too_long", "First name is longer than 3 characters"),
        ),
        (["A@B.de", "x", ""], {"field": "email", "pattern": r"[a-z.@]+"}, None),
        (["A@B.de", "x", ""], {"column": "Email", "pattern": r"[A-Z.@a-z]+"}, None),
        (["a@b.de", "Ünal", ""], {"field": "first_name", "pattern": r"\p{L}{4}", "max_length": 4}, None),
        (["a@b.de", "", ""], {"field": "first_name", "pattern": "x", "min_length": 3, "one_of": ["x"]}, None),
        (["a@b.de", "x", " 42 "], {"column": "Shoe size", "pattern": "42", "one_of": ["42"]}, None),
    ],
)
def test_a_rule_judges_a_field_or_a_column(
    row: list[str], rule: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    """A field as the contact would get it, a column as the file has it; a blank breaks `required` alone."""
    name = rule.get("column") or "first_name"
    assert faults(judged(row, rule)) == ([(name, *expected)] if expected else [])


def test_every_broken_rule_is_reported() -> None:
    """With the pipeline's own faults, so that a person mends a row once."""
    batch = judged(
        ["broken", "B", "x"],
        {"field": "first_name", "min_length": 2, "pattern": "[a-z]+"},
        {"column": "Shoe size", "one_of": ["42"], "max_length": 3},
    )
    assert [code for _, code, _ in faults(batch)] == ["email_invalid", "pattern", "too_short", "one_of"]
    assert batch.refusals[0].outcome == "invalid"


def test_a_row_that_is_too_short_has_a_blank() -> None:
    """The cell is not there, which is as good as blank."""
    assert faults(judged(["a@b.de"], {"column": "Shoe size", "required": True})) == [
        ("Shoe size", "required", "Shoe size is required")
    ]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({}, "JSON array"),
        ([{"field": "email", "required": True}] * 101, "up to 100 rules"),
        ([{"field": "email"}], "Rule 1 demands nothing"),
        ([{"required": True}], "Rule 1 has to name either"),
        ([{"field": "email", "column": "Email", "required": True}], "either a field or a column"),
        ([{"field": "shoe", "required": True}], '"shoe"'),
        ([{"field": "full_name", "required": True}], '"full_name"'),
        ([{"field": "email", "requierd": True}], "requierd"),
        ([{"column": "A", "min_length": 5, "max_length": 2}], "max_length below"),
        ([{"column": "A", "min_length": -1}], "not between 0"),
        ([{"column": "A", "min_length": 2**31}], "not between 0"),
        ([{"column": "A", "pattern": "x" * 201}], "200 characters"),
        ([{"column": "A", "pattern": "(x"}], r"cannot be used.*missing"),
        ([{"column": "A", "pattern": r"(a)\1"}], "cannot be used"),
        ([{"column": "A", "pattern": "(?=x)"}], "cannot be used"),
        ([{"column": "A", "pattern": r"(\p{L}{50}){4}"}], "cannot be used"),
        ([{"column": "A", "pattern": r".{900}"}] * 2, "too large together"),
        ([{"column": "A", "one_of": ["x"] * 1001}], "more than 1000 values"),
        ([{"column": "A", "one_of": ["x" * 1000] * 100}], "64 KB"),
        ([{"column": "A", "one_of": ["\0"]}], "no text"),
        (["email"], "Rule 1 cannot be read"),
        ([{"column": "A", "required": True}, 7], "Rule 2 cannot be read"),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(value: Any, named: str) -> None:
    """By its number, with what is wrong and what is allowed."""
    with pytest.raises(RulesInvalid, match=named) as refused:
        read_rules(value)
    assert len(refused.value.message) < 800


def test_a_rule_on_a_column_that_is_not_there_is_refused() -> None:
    """Otherwise it would silently judge nothing, or refuse every row."""
    rules = read_rules([{"column": "Shoe", "required": True}])
    with pytest.raises(RulesInvalid, match='"Shoe", but the file has "Email"'):
        refuse_unknown_columns(rules, COLUMNS)
    refuse_unknown_columns(rules, ["Shoe "])


HOSTILE = [r"(a+)+$", r"(a|aa)+", r"(.*a){20}", r"(x+x+)+y", r"(a|b|ab|ba){1000}", r"(.*a.{200}b.{200})*"]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_no_pattern_takes_for_ever(pattern: str) -> None:
    """The classics that stop a backtracking engine for years take a moment here, whatever the text."""
    rules = read_rules([{"column": "Email", "pattern": pattern}])
    read = make_read(COLUMNS, [["ab" * 250 + "!"], ["a" * 500 + "!"], ["a" * 5_000_000]], rules=rules)
    started = time.thread_time()
    batch = run_steps(read, [normalize, validate])
    assert time.thread_time() - started < 1
    assert "pattern" in {fault.code for fault in batch.refusals[2].faults}


def test_the_size_of_patterns_is_bounded_in_all() -> None:
    """A hundred small patterns are fine; their bound is on what they cost together."""
    assert len(read_rules([{"column": "A", "pattern": f"[0-9]{{{n}}}"} for n in range(1, 51)])) == 50
    assert MAX_PROGRAM < 2 * 7_000


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
RULES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "field": st.sampled_from(["email", "phone", "shoe", ""]),
            "column": st.sampled_from(["Email", "Shoe size", ""]),
            "required": st.booleans(),
            "pattern": st.text("ab()[]{}*+?|\\.^$1,:<>P", max_size=10),
            "one_of": st.lists(st.text(max_size=3), max_size=3),
            "min_length": st.integers(-1, 4),
            "max_length": st.integers(-1, 4),
        },
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=300)
@given(st.one_of(JSON, RULES), st.lists(st.lists(st.text(max_size=6), max_size=4), max_size=3))
def test_no_rule_ever_breaks_a_batch(value: Any, rows: list[list[str]]) -> None:
    """Either it is refused in a sentence, or every row has a verdict."""
    try:
        rules = read_rules(value)
    except RulesInvalid:
        return
    run_steps(make_read(COLUMNS, rows, rules=rules), [normalize, validate])
