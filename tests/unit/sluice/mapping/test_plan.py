"""The plan: what a dialect says goes before aliases, and every column that is kept has a name of its own."""

from __future__ import annotations

import pytest

from sluice.mapping.plan import Input, plan_of, recognised
from sluice.mapping.stored import Mapped, read_mapping

OUTLOOK = [
    "E-mail Address",
    "E-mail 2 Address",
    "Mobile Phone",
    "Home Phone",
    "Title",
    "Work Email",
    "Birthday",
]


def named(columns: list[str], mapped: Mapped | None = None) -> dict[str, str]:
    """Each input's name, with the columns it is made of."""
    plan = plan_of(columns, mapped or Mapped())
    return {each.field: "+".join(columns[index] for index in each.columns) for each in plan.inputs}


@pytest.mark.requirement("K-10")
def test_a_dialect_goes_before_aliases() -> None:
    """Its columns are all of a field's; what it calls custom is custom; the rest goes by name."""
    assert named([*OUTLOOK, "Vorname"]) == {
        "email": "E-mail Address+E-mail 2 Address",
        "phone": "Mobile Phone+Home Phone",
        "custom_fields.Title": "Title",
        "custom_fields.Work Email": "Work Email",
        "custom_fields.Birthday": "Birthday",
        "first_name": "Vorname",
    }


def test_a_mapping_knows_no_dialect() -> None:
    """Only what the caller says is mapped, one column a field unless he ranks them."""
    found = named(OUTLOOK, read_mapping({"E-mail 2 Address": "email", "Title": ""}))
    assert found["email"] == "E-mail 2 Address"
    assert found["custom_fields.E-mail Address"] == "E-mail Address"
    assert "Title" not in found.values()


def test_further_columns_keep_their_names() -> None:
    """What they have left is a custom field of their own name; joined columns have nothing left."""
    mapping = {"fields": {"phone": {"columns": ["B", "A"]}, "notes": {"join": ["C", "D"]}}}
    plan = plan_of(["A", "B", "C", "D"], read_mapping(mapping))
    assert [(each.field, each.columns, each.kept) for each in plan.inputs] == [
        ("phone", (1, 0), ("custom_fields.A",)),
        ("notes", (2, 3), ()),
    ]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["custom_fields.X", "X"], ["custom_fields.X", "custom_fields.X_2"]),
        (["X_2", "custom_fields.X", "X"], ["custom_fields.X_2", "custom_fields.X", "custom_fields.X_3"]),
        (["", "Record ID"], ["custom_fields.column_1", "custom_fields.Record ID"]),
    ],
)
def test_no_custom_field_has_two_columns(columns: list[str], names: list[str]) -> None:
    """A column that an export has named so keeps its name; the next of that name gets its number."""
    assert [each.field for each in plan_of(columns, Mapped()).inputs] == names


def test_a_column_takes_no_name_that_the_mapping_has_given() -> None:
    """Otherwise one of the two would be lost."""
    mapping = read_mapping({"fields": {"custom_fields.B": "A"}})
    assert plan_of(["A", "B"], mapping).inputs == (
        Input("custom_fields.B", (0,), (), mapping.sources[0]),
        Input("custom_fields.B_2", (1,)),
    )


def test_an_id_that_an_import_does_not_use_is_a_custom_field() -> None:
    """Under its column's name, or its own where the value is fixed."""
    by_column = read_mapping({"fields": {"provider_id": "Key"}})
    fixed = read_mapping({"fields": {"provider_id": {"value": "7"}, "custom_fields.provider_id": "Key"}})
    assert list(named(["Key"], by_column)) == ["custom_fields.Key"]
    assert list(named(["Key"], fixed)) == ["custom_fields.provider_id", "custom_fields.provider_id_2"]


def test_the_usual_columns_are_recognised_as_ever() -> None:
    """Without a dialect each field has its best column."""
    assert recognised(["Home Phone", "Mobile Phone", "Email"]) == {"phone": (1,), "email": (2,)}
