"""A schema change that breaks readers is refused with the field named."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from sluice.avro import SCHEMAS
from sluice.compatibility import breaking_change

OLD: dict[str, Any] = {
    "type": "record",
    "name": "Thing",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "n", "type": "int"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "extra", "type": {"type": "map", "values": "int"}, "default": {}},
        {
            "name": "inner",
            "type": {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "long"}]},
        },
    ],
}


def changed(index: int, **changes: Any) -> dict[str, Any]:
    new = deepcopy(OLD)
    new["fields"][index] |= changes
    return new


def added(**field: Any) -> dict[str, Any]:
    new = deepcopy(OLD)
    new["fields"].append(field)
    return new


def removed(index: int) -> dict[str, Any]:
    new = deepcopy(OLD)
    del new["fields"][index]
    return new


INNER = {"type": "record", "name": "Inner", "fields": [{"name": "x", "type": "string"}]}
BREAKING = {
    "a new field without default": (added(name="new", type="string"), "field new"),
    "another type": (changed(0, type="long"), "field id"),
    "a narrower type": (changed(5, type=INNER), "field inner.x"),
    "null no more allowed": (changed(2, type="string"), "field note"),
    "an option less in a union": (changed(2, type=["null", "long"]), "field note"),
    "other items": (changed(3, type={"type": "array", "items": "long"}), "field tags[]"),
    "other values": (changed(4, type={"type": "map", "values": "string"}), "field extra[]"),
    "an array to a map": (changed(3, type={"type": "map", "values": "string"}), "field tags"),
    "a record to a text": (changed(5, type="string"), "field inner"),
}
HARMLESS = {
    "nothing": OLD,
    "a new field with default": added(name="new", type="string", default=""),
    "a wider type": changed(1, type="long"),
    "another doc": changed(0, doc="The id."),
}
BREAKS_OLD_READERS = {
    "a field removed": (removed(0), "field id"),
    "null newly allowed": (changed(0, type=["null", "string"]), "field id"),
    "a wider type": (changed(1, type="long"), "field n"),
}


@pytest.mark.requirement("B-02")
@pytest.mark.parametrize(("new", "named"), BREAKING.values(), ids=BREAKING.keys())
@pytest.mark.parametrize("both", [True, False])
def test_a_breaking_change_names_the_field(new: dict[str, Any], named: str, both: bool) -> None:
    """The sentence says which field, down to the one inside a record or a list."""
    problem = breaking_change(OLD, new, both=both)
    assert problem is not None
    assert problem.startswith(f"{named} ")
    assert problem.endswith(".")


@pytest.mark.parametrize("new", HARMLESS.values(), ids=HARMLESS.keys())
def test_a_harmless_change_passes(new: dict[str, Any]) -> None:
    """New readers read what old writers wrote."""
    assert breaking_change(OLD, new, both=False) is None


@pytest.mark.requirement("B-02")
@pytest.mark.parametrize(("new", "named"), BREAKS_OLD_READERS.values(), ids=BREAKS_OLD_READERS.keys())
def test_public_topics_also_keep_old_readers(new: dict[str, Any], named: str) -> None:
    """Both ways for subscribers that we do not upgrade, one way between our own roles."""
    assert breaking_change(OLD, new, both=False) is None
    problem = breaking_change(OLD, new, both=True)
    assert problem is not None
    assert problem.startswith(f"{named} ")


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.avsc")), ids=lambda path: path.stem)
def test_every_schema_is_compatible_with_itself(path: Any) -> None:
    """The check knows every shape that our schemas use, types used again by name included."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    assert breaking_change(schema, schema, both=True) is None
