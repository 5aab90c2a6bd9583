"""What asyncpg raises when PostgreSQL is away: every border to it waits for the same things (D7)."""

from __future__ import annotations

import asyncpg

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # What a connection raises that breaks between two of its states: measured with backends that were ended
    # while a statement was on its way. Nobody waited for it, and what did not ended for good.
    asyncpg.InternalClientError,
)
"""The connection cannot be used. Nothing is known of the statement."""

AWAY_STATES = ("08", "25006", "40", "53", "55P03", "57", "58")
"""SQLSTATEs of a server that cannot do it now: connection lost, read only, deadlock, out of disk or memory,
a lock not given in time, cancelled or shutting down, the system around it."""


def is_away(error: BaseException) -> bool:
    """Whether an error says that the database cannot do it now; one that is wrong for ever is not that."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(AWAY_STATES)
    return isinstance(error, AWAY)
