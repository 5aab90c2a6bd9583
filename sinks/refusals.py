"""What an error of a write means: whose fault it is decides what is done about it (D6 step 5, D7)."""

from __future__ import annotations

from enum import Enum

import asyncpg

from sluice.errors import RowRejected, Unavailable
from sluice.outcome import Drop, FieldFault, Outcome


class Cause(Enum):
    """Why a write did not succeed."""

    CHANGED = "what was decided on has changed: judge anew"
    ROW = "the row itself cannot be stored: isolate it"
    OUTAGE = "the database cannot be used: wait"
    OWN = "something of ours: try again, then isolate it"


CHANGED_STATES = ("23505", "23503", "40")
"""A unique identity or a referred row changed hands meanwhile; a deadlock or a failed serialization."""
ROW_STATES = ("22", "23", "54")
"""Data, integrity and program limit exceptions: the same row would be refused every time."""


def cause_of(error: BaseException) -> Cause:
    """Classify an error of a write."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith(CHANGED_STATES):
            return Cause.CHANGED
        return Cause.ROW if state.startswith(ROW_STATES) else Cause.OUTAGE
    if isinstance(error, (RowRejected, UnicodeError)):
        return Cause.ROW
    if isinstance(error, (asyncpg.InterfaceError, OSError, TimeoutError, Unavailable)):
        return Cause.OUTAGE
    return Cause.OWN


def failed(error: BaseException) -> Drop:
    """The outcome of a row that cannot be stored."""
    if isinstance(error, asyncpg.PostgresError):
        message = f"The database refused the row: {error.args[0] if error.args else error.sqlstate}"
        return Drop(Outcome.FAILED, (FieldFault("", f"database_{error.sqlstate}", message),))
    if isinstance(error, RowRejected):
        return Drop(Outcome.FAILED, (FieldFault("", error.code.lower(), error.message),))
    message = f"The row could not be processed ({type(error).__name__}). It was set aside for inspection."
    return Drop(Outcome.FAILED, (FieldFault("", "processing_failed", message),))
