"""Contacts out of PostgreSQL as the row rules see them: text under field names, absent for null."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from sinks.judging import Stored
from sluice.stored import contact_of

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # it is generic only to the type checker


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
