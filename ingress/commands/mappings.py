"""What an organization chose for the columns of its files: remembered by header, and saved under names."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from ingress.authentication import Principal
from ingress.database import Pooled, Record, statements
from ingress.services import Services
from sluice.errors import NotFound, OptionInvalid, Refused
from sluice.mapping import stored
from sluice.mapping.proposals import header_set_key

MAX_TEMPLATES = 100
MAX_NAME = 255

_SQL = statements("mappings")


class TooManyTemplates(Refused):
    """An organization has {limit} mapping templates at most. Delete one that is not needed any more."""

    code = "CONFLICT"
    status = 409


@dataclass(frozen=True, slots=True)
class Template:
    """A mapping saved under a name; `mapping` is JSON in the form in which it was given."""

    id: uuid.UUID
    name: str
    mapping: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


async def remember(
    connection: Pooled, principal: Principal, columns: Sequence[str], mapping: Any, now: datetime
) -> None:
    """Keep a checked mapping, JSON or its text, as the organization's last choice for these columns."""
    given = stored.parse_json(mapping) if isinstance(mapping, str) else mapping
    await connection.execute(
        _SQL["remember_mapping"],
        principal.organization_id,
        header_set_key(columns),
        msgspec.json.encode(given).decode(),
        principal.user_id,
        now,
    )


class Templates:
    """An organization's mapping templates."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def all(self, principal: Principal) -> Sequence[Template]:
        """All of them, by name."""
        async with self._acting(principal) as connection:
            return [_template(row) for row in await connection.fetch(_SQL["templates"])]

    async def save(self, principal: Principal, name: object, mapping: object) -> tuple[Template, bool]:
        """Save a mapping under a name, in the place of one that has it; it, and whether it is new.

        Raises PermissionDenied, OptionInvalid, MappingInvalid, TooManyTemplates.
        """
        principal.require("imports:run")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name.strip()) <= MAX_NAME:
            allowed = f"a name of up to {MAX_NAME} printable characters"
            raise OptionInvalid(field="name", value=str(name)[:100], allowed=allowed)
        stored.read_mapping(mapping)
        async with self._acting(principal) as connection:
            if await connection.fetchval(_SQL["count_other_templates"], name.strip()) >= MAX_TEMPLATES:
                raise TooManyTemplates(limit=MAX_TEMPLATES)
            row = await connection.fetchrow(
                _SQL["save_template"],
                principal.organization_id,
                name.strip(),
                msgspec.json.encode(mapping).decode(),
                principal.user_id,
                self._services.clock.now(),
            )
        assert row is not None
        return _template(row), row["is_new"]

    async def delete(self, principal: Principal, template_id: uuid.UUID) -> None:
        """Forget one. Raises PermissionDenied, NotFound."""
        principal.require("imports:run")
        async with self._acting(principal) as connection:
            if await connection.fetchval(_SQL["delete_template"], template_id) is None:
                raise NotFound(what="mapping template")

    def _acting(self, principal: Principal) -> AbstractAsyncContextManager[Pooled]:
        return self._services.database.acting_for(principal.organization_id, principal.user_id)


def _template(row: Record) -> Template:
    return Template(
        row["id"], row["name"], msgspec.json.decode(row["mapping"]), row["created_at"], row["updated_at"]
    )
