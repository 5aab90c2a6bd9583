"""Bytes to events that are sound: what an agent may rely on without asking again."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import structlog

from sluice.avro import Codec
from sluice.envelope import Headers, check_agreement
from sluice.errors import MessageUndecodable, RegistryUnavailable
from sluice.events import BatchApplied, IdentitiesChanged, RowsRead
from sluice.rules import MatchOn, OnDuplicate
from sluice.telemetry import Telemetry
from sluice.topics import BATCH_APPLIED, IDENTITIES_CHANGED, ROWS_READ
from streams.patience import Patience

log = structlog.get_logger(__name__)


class NewerSchemas:
    """Schemas that were pushed since the start; a registry that is away is waited for (D7)."""

    def __init__(self, codec: Codec, telemetry: Telemetry, gives_up: Callable[[], bool]) -> None:
        self._codec = codec
        self._patience = Patience("registry", telemetry, gives_up)

    async def learn(self, value: bytes | None) -> None:
        """Return when the schema of a message is known, or the registry has said that there is none.

        Raises:
            GivenUp: the process stops, or its partitions move, before the registry is back.
        """
        while True:
            try:
                await self._codec.learn(value)
            except RegistryUnavailable as error:
                log.warning("registry_waited_for", cause=type(error.__cause__).__name__)
                await self._patience.wait()
            else:
                self._patience.answered()
                return


def decode_rows_read(codec: Codec, value: bytes | None, headers: Headers = ()) -> RowsRead:
    """A batch whose ids are ids, whose options are known and whose indexes lie within it.

    Raises:
        MessageUndecodable: its bytes, or what they say, make no batch.
        MessageContradictory: it is not the batch that its headers name.
    """
    read = codec.decode(ROWS_READ.name, RowsRead, value)
    _require_ids(read.organization_id, read.job_id)
    check_agreement(headers, read)
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
