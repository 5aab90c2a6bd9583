"""A contact as PostgreSQL has it, read as the row rules see it: text under field names, absent for null."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from sluice.contact import CUSTOM, Contact, join_tags

TEXTS = (
    "first_name",
    "last_name",
    "email",
    "phone",
    "phone_formatted",
    "company",
    "title",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "source",
    "notes",
    "dnc_reason",
)
"""Columns that are text on both sides."""


class StoredRow(Protocol):
    """A row of `contacts`: its columns by name."""

    def __getitem__(self, name: str, /) -> Any: ...


def contact_of(row: StoredRow) -> Contact:
    """The contact in a row of `contacts`; its content columns, `id`, `version` and `modified_at` are read."""
    values = {name: value for name in TEXTS if (value := row[name])}
    if row["tags"]:
        values["tags"] = join_tags(row["tags"])
    if row["last_contact_date"]:
        values["last_contact_date"] = row["last_contact_date"].isoformat()
    if row["custom_fields"] != "{}":
        values |= _custom_fields(row["custom_fields"])
    if row["do_not_call"]:
        values["do_not_call"] = "true"
    if row["dnc_list_id"]:
        values["dnc_list_id"] = str(row["dnc_list_id"])
    return Contact(row["id"].bytes, values, row["version"], row["modified_at"])


def _custom_fields(text: str) -> dict[str, str]:
    """Custom fields as text; a value that an application stored as something else shows as its JSON."""
    found = msgspec.json.decode(text)
    return {
        f"{CUSTOM}{name}": shown
        for name, value in found.items()
        if (shown := value if isinstance(value, str) else msgspec.json.encode(value).decode())
    }
