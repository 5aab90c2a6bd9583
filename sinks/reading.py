"""Contacts out of PostgreSQL as the row rules see them: text under field names, absent for null."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from sinks.judging import Stored
from sluice.contact import CUSTOM, Contact, join_tags

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # it is generic only to the type checker

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


class StoredContacts(Stored):
    """The look-up, with what only the writer needs: custom fields as the database holds them."""

    def __init__(self, records: Iterable[asyncpg.Record]) -> None:
        rows = list(records)
        super().__init__(contact_of(row) for row in rows)
        self.custom: dict[bytes, dict[str, Any]] = {
            row["id"].bytes: msgspec.json.decode(row["custom_fields"])
            for row in rows
            if row["custom_fields"] != "{}"
        }


def contact_of(row: asyncpg.Record) -> Contact:
    """One row of the query `holders`."""
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
