"""Bytes to events that are sound: what an agent may rely on without asking again."""

from __future__ import annotations

import uuid

from sluice.avro import Codec
from sluice.errors import MessageUndecodable
from sluice.events import BatchApplied, IdentitiesChanged, RowsRead
from sluice.rules import MatchOn, OnDuplicate
from sluice.topics import BATCH_APPLIED, IDENTITIES_CHANGED, ROWS_READ


def decode_rows_read(codec: Codec, value: bytes | None) -> RowsRead:
    """A batch whose ids are ids, whose options are known and whose indexes lie within it.

    Raises:
        MessageUndecodable: its bytes, or what they say, make no batch.
    """
    read = codec.decode(ROWS_READ.name, RowsRead, value)
    _require_ids(read.organization_id, read.job_id)
    count = len(read.rows)
    if read.batch_no < 1 or read.first_row_no < 1 or len(read.lines) != count:
        raise MessageUndecodable(problem="its numbers and its rows do not agree.")
    if not all(0 <= index < count for index in (*read.excluded, *(fault.index for fault in read.faults))):
        raise MessageUndecodable(problem="it names a row that it does not have.")
    try:
        OnDuplicate(read.options.on_duplicate), MatchOn(read.options.match_on)
    except ValueError as error:
        raise MessageUndecodable(problem="its options are not known.") from error
    return read


def decode_identities_changed(codec: Codec, value: bytes | None) -> IdentitiesChanged:
    """Changes of an organization.

    Raises:
        MessageUndecodable: its bytes, or what they say, make no change.
    """
    changed = codec.decode(IDENTITIES_CHANGED.name, IdentitiesChanged, value)
    _require_ids(changed.organization_id)
    return changed


def decode_batch_applied(codec: Codec, value: bytes | None) -> BatchApplied:
    """An applied batch.

    Raises:
        MessageUndecodable: its bytes make none.
    """
    applied = codec.decode(BATCH_APPLIED.name, BatchApplied, value)
    _require_ids(applied.job_id, applied.organization_id)
    return applied


def _require_ids(*ids: str) -> None:
    try:
        for each in ids:
            uuid.UUID(each)
    except ValueError as error:
        raise MessageUndecodable(problem="an id in it is no UUID.") from error
