"""Proposals: what was chosen before, then what the names say, then what the values show; no field twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.mapping.content import content_of
from sluice.mapping.plan import recognised
from sluice.mapping.proposals import Proposal, header_set_key, propose
from sluice.values.headers import SOURCE_FIELDS

EMAILS = ["ann@example.com", "bob@example.org", "n/a", "cy@example.net", "di@example.com"]
PHONES = ["(212) 647-1000", "+1 212 647 1001", "", "212.647.1002"]


def proposed(
    columns: Sequence[str],
    samples: Mapping[str, Sequence[str]] | None = None,
    remembered: Mapping[str, str | None] | None = None,
) -> dict[str, tuple[str | None, str | None]]:
    """Column to field and reason."""
    found = propose(columns, samples or {}, remembered)
    assert [each.column for each in found] == list(columns)
    return {each.column: (each.field, each.reason) for each in found}


def test_each_reason_has_its_case() -> None:
    """A field's own name, an alias of it, and values that can be one thing only; the rest stays custom."""
    columns = ["firstName", "Nachname", "Spalte 3", "Shoe size"]
    assert proposed(columns, {"Spalte 3": EMAILS, "Shoe size": ["42", "7"]}) == {
        "firstName": ("first_name", "exact"),
        "Nachname": ("last_name", "alias"),
        "Spalte 3": ("email", "content"),
        "Shoe size": (None, "content"),
    }


def test_a_known_export_speaks_for_its_columns() -> None:
    """The sentence names the program, so that a person knows why."""
    columns = ["First Name", "Last Name", "Email Address", "Position", "Connected On"]
    found = propose(columns, {})
    assert [each.reason for each in found] == ["dialect", "dialect", "dialect", "dialect", None]
    assert "LinkedIn" in found[3].sentence


def test_what_was_chosen_before_wins() -> None:
    """The same columns in another spelling and order are mapped as before, left out or kept included."""
    remembered = {"E-Mail": "", "Contact": "email", "Name": "firstName", "Gone": "no_such_field"}
    columns = ["name", "CONTACT", "e_mail", "Phone", "Gone"]
    assert proposed(columns, {"e_mail": EMAILS}, remembered) == {
        "name": ("first_name", "remembered"),
        "CONTACT": ("email", "remembered"),
        "e_mail": ("", "remembered"),
        "Phone": (None, "remembered"),
        "Gone": (None, "remembered"),
    }


def test_values_that_contradict_a_name_weigh_more() -> None:
    """A column that is called e-mail and holds none gives way to one that holds them."""
    found = proposed(["Email", "Contact"], {"Email": ["yes", "no", "yes"], "Contact": EMAILS})
    assert found["Contact"] == ("email", "content")
    assert found["Email"][0] is None


def test_no_field_is_proposed_twice() -> None:
    """The better column has it; the other stays a custom field, and its sentence says what it holds."""
    found = propose(["Work", "Email"], {"Work": EMAILS, "Email": EMAILS})
    assert [each.field for each in found] == [None, "email"]
    assert "e-mail" in found[0].sentence


def test_a_fax_is_no_phone() -> None:
    """Its values look the same, and nobody answers them."""
    assert proposed(["Fax", "Email"], {"Fax": PHONES})["Fax"][0] is None


@pytest.mark.parametrize(
    ("samples", "kind"),
    [
        (EMAILS, "email"),
        (["a@example.com ::: b@example.com"], "email"),
        (PHONES, "phone"),
        (["2024-05-31", "1 May 2024", "25/12/2024"], "date"),
        (["Germany", "France", "USA", "Österreich"], "country"),
        (["04001", "94043-1234"], "us_zip"),
        (["https://example.com/a", "www.example.org"], "url"),
        (["1", "2.5", "-3"], "number"),
        (["Ann", "Bob"], "text"),
        (["ann@example.com", "Bob", "Cy"], "text"),
        (["", " "], None),
    ],
)
def test_values_show_their_kind(samples: list[str], kind: str | None) -> None:
    """Most of the values decide; a few that are something else, or nothing, do not."""
    found = content_of(samples)
    assert (found.kind if found else None) == kind


def test_the_key_of_a_header_knows_neither_order_nor_spelling() -> None:
    """The next month's export is remembered although somebody moved its columns."""
    key = header_set_key(["First Name", "E-Mail", "PLZ"])
    assert key == header_set_key(["e_mail", "plz", "FIRSTNAME"])
    assert key != header_set_key(["First Name", "E-Mail"])
    assert key != header_set_key(["First Name", "E-Mail", "PLZ", "PLZ (2)"])
    assert header_set_key(["---"]) != header_set_key(["+++"])


HEADERS = st.one_of(
    st.sampled_from(
        ["Email", "E-Mail 2", "Phone", "Mobile", "Name", "Vorname", "Labels", "E-mail 1 - Value"]
    ),
    st.text(max_size=12),
)
CELLS = st.one_of(st.sampled_from([*EMAILS, *PHONES, "2024-01-02", "DE", "04001"]), st.text(max_size=20))


@st.composite
def files(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    columns = draw(st.lists(HEADERS, max_size=8, unique=True))
    return columns, {column: draw(st.lists(CELLS, max_size=5)) for column in columns}


@settings(deadline=None)
@given(files())
def test_proposals_are_whole_and_the_same_each_time(file: tuple[list[str], dict[str, list[str]]]) -> None:
    """One for each column in order, no field twice, a sentence and a confidence for each, and no chance."""
    columns, samples = file
    found = propose(columns, samples)
    assert found == propose(columns, samples)
    assert [each.column for each in found] == columns
    fields = [each.field for each in found if each.field]
    assert len(set(fields)) == len(fields)
    assert set(fields) <= SOURCE_FIELDS
    assert all(0 <= each.confidence <= 1 and each.sentence.endswith(".") for each in found)


@settings(deadline=None)
@given(files(), st.data())
def test_the_remembered_mapping_always_wins(
    file: tuple[list[str], dict[str, list[str]]], data: st.DataObject
) -> None:
    """Whatever names and values say, what was chosen before is what is proposed."""
    columns, samples = file
    fields = data.draw(st.permutations(["email", "phone", "city", "notes", "zip", "", "", None]))
    remembered = dict(zip(columns, fields, strict=False))
    assert [each.field for each in propose(columns, samples, remembered)] == [
        remembered[column] for column in columns
    ]


@settings(deadline=None)
@given(st.lists(HEADERS, max_size=8, unique=True))
def test_without_values_the_proposals_are_the_mapping_that_would_be_taken(columns: list[str]) -> None:
    """Who takes the proposals gets what an import without a mapping would do."""
    taken = {at[0]: field for field, at in recognised(columns).items()}
    found: list[Proposal] = propose(columns, {})
    assert {index: each.field for index, each in enumerate(found) if each.field} == taken
