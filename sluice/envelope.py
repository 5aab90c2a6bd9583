"""A batch's headers: they tell of it when its value cannot be decoded, and must agree when it can (D1)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated

import msgspec

from sluice.errors import MessageContradictory
from sluice.events import RowsRead, RowsResolved, SourcePosition

MAX_ROWS = 500
"""Rows of a batch (D1); headers that claim more are not believed."""

MOST = (1 << 63) - 1
Number = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
"""What Avro's long and PostgreSQL's bigint hold, and no sender makes negative."""
Headers = Iterable[tuple[str, bytes | None]]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers say of their batch."""

    organization_id: uuid.UUID
    job_id: uuid.UUID
    run: Number
    lease_epoch: Number
    batch_no: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    first_row_no: Annotated[int, msgspec.Meta(ge=1, le=MOST)]
    row_count: Annotated[int, msgspec.Meta(ge=0, le=MAX_ROWS)]
    start: SourcePosition
    end: SourcePosition
    is_last: bool


def envelope_of(headers: Headers) -> Envelope | None:
    """The batch that headers describe, None when they describe none."""
    told = {name: value.decode("utf-8", "replace") for name, value in headers if value is not None}
    try:
        facts = {
            **told,
            "start": _position(told["start"]),
            "end": _position(told["end"]),
            "is_last": told["is_last"].lower() == "true",
        }
        return msgspec.convert(facts, Envelope, strict=False)
    except (KeyError, ValueError):
        return None


def _position(text: str) -> SourcePosition:
    part_no, byte_offset, line, row_no = msgspec.convert(text.split(":"), list[Number], strict=False)
    return SourcePosition(part_no=part_no, byte_offset=byte_offset, line=line, row_no=row_no)


def check_agreement(headers: Headers, batch: RowsRead | RowsResolved) -> None:
    """Check what a batch says of itself against its headers; one that is missing says nothing.

    A value that was damaged into another valid one is found out by this where it matters most: whose batch
    it is, which one, and which rows it holds.

    Raises:
        MessageContradictory: they disagree.
    """
    told = dict(headers)
    for name, fact in (
        ("job_id", batch.job_id),
        ("batch_no", batch.batch_no),
        ("organization_id", batch.organization_id),
        ("run", batch.run),
        ("lease_epoch", batch.lease_epoch),
        ("first_row_no", batch.first_row_no),
        ("row_count", len(batch.rows)),
        ("start", position_text(batch.start)),
        ("end", position_text(batch.end)),
        ("is_last", "true" if batch.is_last else "false"),
    ):
        held = told.get(name)
        if held is not None and held != str(fact).encode():
            raise MessageContradictory(header=name)


def position_text(position: SourcePosition) -> str:
    """A position as headers carry it: part:byte:line:row."""
    return f"{position.part_no}:{position.byte_offset}:{position.line}:{position.row_no}"
