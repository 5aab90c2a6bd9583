"""What an error of a write means: whose fault it is decides what is done about it (D6 step 5, D7)."""

from __future__ import annotations

from enum import Enum

import asyncpg

from sluice.errors import RowRejected, Unavailable
from sluice.outcome import Drop, FieldFault, Outcome
from sluice.postgres import AWAY


class Cause(Enum):
    """Why a write did not succeed."""

    CHANGED = "what was decided on has changed: judge anew"
    CONTENDED = "others were in the way: try the whole group again, and wait if that does not help"
    ROW = "the row itself cannot be stored: isolate it"
    OUTAGE = "the database cannot be used: wait"
    OWN = "something of ours: try again, then isolate it"


CHANGED_STATES = ("23505", "23503")
"""A unique identity or a referred row changed hands meanwhile."""
CONTENDED_STATES = ("40",)
"""A deadlock or a failed serialization: no row is at fault, and only letting go of all locks resolves it."""
ROW_STATES = ("22", "23", "54")
"""Data, integrity and program limit exceptions: the same row would be refused every time."""


def cause_of(error: BaseException) -> Cause:
    """Classify an error of a write."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith(CHANGED_STATES):
            return Cause.CHANGED
        if state.startswith(CONTENDED_STATES):
            return Cause.CONTENDED
        return Cause.ROW if state.startswith(ROW_STATES) else Cause.OUTAGE
    # A ValueError of the client is a value that it cannot send: too large for its column, for one.
    if isinstance(error, (RowRejected, UnicodeError)) or _is_unsendable(error):
        return Cause.ROW
    if isinstance(error, (*AWAY, Unavailable)):
        return Cause.OUTAGE
    return Cause.OWN


def _is_unsendable(error: BaseException) -> bool:
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def failed(error: BaseException) -> Drop:
    """The outcome of a row that cannot be stored."""
    if isinstance(error, asyncpg.PostgresError):
        message = f"The database refused the row: {error.args[0] if error.args else error.sqlstate}"
        return Drop(Outcome.FAILED, (FieldFault("", f"database_{error.sqlstate}", message),))
    if isinstance(error, RowRejected):
        return Drop(Outcome.FAILED, (FieldFault("", error.code.lower(), error.message),))
    message = f"The row could not be processed ({type(error).__name__}). It was set aside for inspection."
    return Drop(Outcome.FAILED, (FieldFault("", "processing_failed", message),))
