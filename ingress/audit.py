"""Who tried what: one entry for every attempt to authenticate and every act worth answering for (S0-008).

Each entry is a log line at once and a row of `audit_log` soon after: rows wait in memory and are written
together, so no request waits for them and none fails because of them. What a killed process had not written
(at most `FLUSH_SECONDS` of it), and what an outage made too much to hold, is in the log alone.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import structlog

from ingress.database import Database, statements
from sluice.clock import Clock
from sluice.errors import DatabaseUnavailable

FLUSH_SECONDS = 0.5
MAX_WAITING = 20_000
AT_ONCE = 500

log = structlog.get_logger("sluice.audit")
_SQL = statements("audit")


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from. The address is that of the connection: headers can say anything (T-09)."""

    address: str | None
    user_agent: str | None
    request_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit log."""

    action: str
    caller: Caller
    created_at: datetime
    organization_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    resource: str | None = None
    resource_id: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


class Audit:
    """Takes entries without waiting and writes them behind the requests' backs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._more = asyncio.Event()

    def record(
        self,
        action: str,
        caller: Caller,
        *,
        organization_id: uuid.UUID | None = None,
        user_id: uuid.UUID | None = None,
        resource: str | None = None,
        resource_id: str | None = None,
        **details: str,
    ) -> None:
        """Log the entry now and keep it for the table."""
        log.info(
            action,
            request_id=caller.request_id,
            organization_id=str(organization_id) if organization_id else None,
            user_id=str(user_id) if user_id else None,
            resource=resource,
            resource_id=resource_id,
            **details,
        )
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            log.warning("audit entry kept in the log only")
        entry = Entry(
            action, caller, self._clock.now(), organization_id, user_id, resource, resource_id, details
        )
        self._waiting.append(entry)
        self._more.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._more.wait()
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except DatabaseUnavailable:
                log.warning("audit entries wait for the database", waiting=len(self._waiting))

    async def flush(self) -> None:
        """Write what waits. Raises DatabaseUnavailable, and then keeps it."""
        self._more.clear()
        while self._waiting:
            entries = list(islice(self._waiting, AT_ONCE))
            try:
                await self._write(entries)
            except BaseException:
                self._more.set()
                raise
            for entry in entries:
                # An overflow may have taken it from the other end meanwhile.
                if self._waiting and self._waiting[0] is entry:
                    self._waiting.popleft()

    async def _write(self, entries: list[Entry]) -> None:
        async with self._database.acting_for(None, None) as connection:
            await connection.execute(
                _SQL["record"],
                [entry.organization_id for entry in entries],
                [entry.user_id for entry in entries],
                [entry.action for entry in entries],
                [entry.resource for entry in entries],
                [_storable(entry.resource_id) for entry in entries],
                [_storable(json.dumps(dict(entry.details))) for entry in entries],
                [entry.caller.address for entry in entries],
                [_storable(entry.caller.user_agent) for entry in entries],
                [entry.caller.request_id for entry in entries],
                [entry.created_at for entry in entries],
            )


def _storable(text: str | None) -> str | None:
    """Text that PostgreSQL takes: a header may hold what it does not."""
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:1000]
