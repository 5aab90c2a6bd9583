"""The form's fields as options: what is taken, what is refused, in the door's own words."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.commands.options import (
    CONTACTS_IMPORT,
    V1_IMPORTS,
    FormOptions,
    OptionsContradict,
    OptionUnknown,
    excluded_rows,
    job_options,
    read_options,
    require_columns,
)
from ingress.formats.inspect import inspect_head
from ingress.reading.job import StoredOptions, event_options
from sluice.errors import FileHasNoColumn, MappingInvalid, OptionInvalid, Refused, RulesInvalid


@pytest.mark.requirement("S0-003", "K-26")
def test_each_door_has_its_defaults() -> None:
    """S0 and /v1 match by e-mail and skip; S0 requires an e-mail, /v1 either identity."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    contacts = job_options(read_options({}, CONTACTS_IMPORT), CONTACTS_IMPORT, now)
    assert (contacts.on_duplicate, contacts.match_on, contacts.phone_check) == ("skip", "email", "strict")
    assert (contacts.required, contacts.missing_email) == (["email"], "invalid")
    canonical = job_options(read_options({}, V1_IMPORTS), V1_IMPORTS, now)
    assert canonical.required == []
    assert (canonical.dnc_policy, canonical.blanks, canonical.mode) == ("flag", "keep", "partial")
    assert canonical.created_at == int(now.timestamp() * 1000)


def test_values_are_taken_in_the_forms_that_people_send() -> None:
    """Empty is not given; lists, objects, delimiters and truth values as text."""
    options = read_options(
        {
            "on_duplicate": "",
            "match_on": "either",
            "dry_run": "true",
            "delimiter": "tab",
            "region": "no",
            "mapping": '{"Mail": "email", "Junk": null}',
            "exclude_rows": " 3, 1,3 ",
        },
        V1_IMPORTS,
    )
    assert (options.on_duplicate, options.match_on, options.dry_run) == ("skip", "either", True)
    assert (options.delimiter, options.region) == ("\t", "NO")
    assert excluded_rows(options) == [1, 3]
    asked = job_options(options, V1_IMPORTS, datetime(2026, 1, 1, tzinfo=UTC))
    assert asked.mapping == {"Mail": "email", "Junk": ""}
    assert excluded_rows(read_options({"exclude_rows": "[2, 1]"}, V1_IMPORTS)) == [1, 2]


@pytest.mark.requirement("S0-034", "K-19")
@pytest.mark.parametrize(
    ("fields", "field", "allowed"),
    [
        ({"on_duplicate": "replace"}, "on_duplicate", "skip"),
        ({"match_on": "name"}, "match_on", "phone"),
        ({"dry_run": "maybe"}, "dry_run", "true or false"),
        ({"exclude_rows": "1;2"}, "exclude_rows", "row numbers from 1"),
        ({"exclude_rows": '["1"]'}, "exclude_rows", "row numbers from 1"),
        ({"exclude_rows": "0"}, "exclude_rows", "row numbers from 1"),
        ({"exclude_rows": "1," * 10_000 + "1"}, "exclude_rows", "up to 10000 row numbers"),
        ({"exclude_rows": "[" * 5000}, "exclude_rows", "row numbers from 1"),
        ({"mapping": "email"}, "mapping", "JSON object"),
        ({"mapping": "[1]"}, "mapping", "JSON object"),
        ({"encoding": "u" * 41}, "encoding", "name of an encoding"),
        ({"region": "USA"}, "region", "two letters"),
        ({"delimiter": ",,"}, "delimiter", "one character"),
        ({"delimiter": "a"}, "delimiter", "one character"),
        ({"delimiter": '"'}, "delimiter", "one character"),
        ({"delimiter": "\0"}, "delimiter", "one character"),
        ({"list_id": "x"}, "list_id", "UUID"),
        ({"list_name": "  "}, "list_name", "printable"),
        ({"list_name": "a\0b"}, "list_name", "printable"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, str], field: str, allowed: str) -> None:
    """Field, value and what is allowed, for the error object's details."""
    with pytest.raises(OptionInvalid) as refused:
        read_options(fields, V1_IMPORTS)
    assert refused.value.facts["field"] == field
    assert refused.value.facts["value"] == fields[field][:100]
    assert allowed.lower() in str(refused.value.facts["allowed"]).lower()
    assert "should" not in refused.value.message


@pytest.mark.parametrize("mapping", [None, {"n" * 5000: "email"}, {"Name": "f" * 5000}, {"c" * 5000: "shoe"}])
def test_no_name_makes_a_refusal_long(mapping: dict[str, str | None] | None) -> None:
    """Columns and the mapping's names are repeated by their first 100 characters."""
    content = f"Name,{'c' * 5000}\nAnn,x\n".encode()
    head = inspect_head(content, complete=True)
    with pytest.raises(Refused) as refused:
        require_columns(head.columns, FormOptions(mapping=mapping), V1_IMPORTS)
    assert "c" * 101 not in refused.value.message
    assert len(refused.value.message) < 800


RICH = (
    """{"fields": {"email": "Mail", "notes": {"join": ["A", "B"]}}, "unmapped": "drop", "ignored": ["C"]}"""
)
RULES = """[{"column": "A", "required": true}, {"field": "email", "pattern": "[a-z@.]+"}]"""


def test_a_rich_mapping_and_rules_travel_with_the_job() -> None:
    """What the form says is what every batch carries, by way of the job as it is stored."""
    options = read_options({"mapping": RICH, "rules": RULES}, V1_IMPORTS)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    asked = job_options(options, V1_IMPORTS, now)
    assert asked.mapping == {"C": ""}
    assert [(source.field, source.columns) for source in asked.sources] == [
        ("email", ["Mail"]),
        ("notes", ["A", "B"]),
    ]
    assert asked.unmapped == "drop"
    assert [(rule.column, rule.field, rule.required, rule.pattern) for rule in asked.rules] == [
        ("A", "", True, ""),
        ("", "email", False, "[a-z@.]+"),
    ]
    stored = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(asked)), type=StoredOptions)
    assert event_options(stored, now) == asked


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"mapping": '{"Mail": 1}'}, MappingInvalid, '"Mail"'),
        ({"mapping": '{"Mail": "email", "Mail": "phone"}'}, MappingInvalid, "named twice"),
        ({"mapping": '{"fields": {"shoe": "A"}}'}, MappingInvalid, '"shoe"'),
        ({"rules": '[{"column": "A"}]'}, RulesInvalid, "demands nothing"),
        ({"rules": "{}"}, OptionInvalid, "JSON array"),
        ({"rules": "[" * 5000}, OptionInvalid, "JSON array"),
    ],
)
def test_a_wrong_mapping_or_rule_is_refused_with_the_form(
    fields: dict[str, str], error: type[Refused], named: str
) -> None:
    """Before any row is read, with 422 and a sentence."""
    with pytest.raises(error, match=named) as refused:
        read_options(fields, V1_IMPORTS)
    assert refused.value.status == 422


def test_mapping_and_rules_have_to_fit_the_file() -> None:
    """What they say of columns is held against the header, and a mapped e-mail is an e-mail column."""
    head = inspect_head(b"Mail,A,B,C\na@b.de,1,2,3\n", complete=True).columns
    require_columns(head, read_options({"mapping": RICH, "rules": RULES}, V1_IMPORTS), V1_IMPORTS)
    stray = read_options({"rules": '[{"column": "Shoe", "required": true}]'}, V1_IMPORTS)
    with pytest.raises(RulesInvalid, match='"Shoe"'):
        require_columns(head, stray, V1_IMPORTS)
    without_email = read_options({"mapping": '{"fields": {"notes": "Mail"}}'}, V1_IMPORTS)
    with pytest.raises(FileHasNoColumn):
        require_columns(head, without_email, V1_IMPORTS)


def test_the_contacts_door_speaks_of_its_own_field() -> None:
    """Its field has another name and fewer values, and other doors' fields are unknown."""
    assert read_options({"duplicate_handling": "overwrite"}, CONTACTS_IMPORT).on_duplicate == "overwrite"
    with pytest.raises(OptionInvalid, match="use skip or overwrite"):
        read_options({"duplicate_handling": "merge_newest"}, CONTACTS_IMPORT)
    with pytest.raises(OptionUnknown, match="duplicate_handling"):
        read_options({"on_duplicate": "skip"}, CONTACTS_IMPORT)


def test_options_that_exclude_each_other_are_refused() -> None:
    """A list has one name or one id."""
    fields = {"list_name": "Friends", "list_id": "00000000-0000-4000-8000-000000000000"}
    with pytest.raises(OptionsContradict, match="not by both"):
        read_options(fields, V1_IMPORTS)


@given(
    st.dictionaries(st.sampled_from([*FormOptions.model_fields, "other"]), st.text(max_size=30), max_size=5)
)
def test_any_form_is_options_or_a_refusal(fields: dict[str, str]) -> None:
    """Hostile text in any field ends in a 4xx with a sentence, never in another error."""
    refusal: Refused | None = None
    try:
        read_options(fields, V1_IMPORTS)
    except Refused as refused:
        refusal = refused
    assert refusal is None or (refusal.status == 422 and refusal.message.endswith("."))
