"""Step 6: what one Kafka transaction holds, from a group's stored results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from sinks.batch import Unreadable
from sinks.contract import Applied, Sink, Written
from sinks.imported_events import WRITTEN, ImportedEvents
from sluice.avro import Codec
from sluice.dead_letters import KEPT_KEY_BYTES, KEPT_VALUE_BYTES, dead_letter_headers
from sluice.telemetry import Telemetry
from sluice.topics import BATCH_APPLIED, CONTACTS_IMPORTED, IDENTITIES_CHANGED, ROWS_RESOLVED
from sluice.transactions import Record


class Publications:
    """Encodes groups, lazily: where the producer runs, so that it does not hold up the loop."""

    def __init__(self, codec: Codec, telemetry: Telemetry) -> None:
        self._codec = codec
        self._telemetry = telemetry
        self._events = ImportedEvents(codec.prefix(CONTACTS_IMPORTED.name))

    async def parts(self, sink: Sink, written: Written) -> AsyncIterator[Iterable[Record]]:
        """A group's records, in parts that are each small enough for memory."""
        if written.dead or written.identities:
            yield [*map(dead_letter, written.dead), *self._corrections(written)]
        if written.judged:
            async for applied in sink.results(written):
                yield self.records([applied])
        else:
            yield self.records(written.applied)

    def records(self, results: Iterable[Applied]) -> Iterator[Record]:
        """Each batch's events, then its answer."""
        for applied in results:
            yield from self._events.records(applied)
            if applied.answer is not None:
                value = self._codec.encode(BATCH_APPLIED.name, applied.answer)
                yield BATCH_APPLIED.name, applied.answer.job_id, value, []
            if applied.batch is not None and (events := sum(map(applied.letters.count, WRITTEN))):
                self._telemetry.count("sluice_events_published_total", events)

    def _corrections(self, written: Written) -> Iterator[Record]:
        topic = IDENTITIES_CHANGED.name
        for event in written.identities:
            yield topic, event.organization_id, self._codec.encode(topic, event), []


def dead_letter(message: Unreadable) -> Record:
    """A message that nobody could use, with what was wrong and where it came from."""
    value = message.value
    headers = dead_letter_headers(
        message.headers,
        topic=ROWS_RESOLVED,
        partition=message.position.partition,
        offset=message.position.offset,
        size_bytes=len(value or b""),
        problem=message.problem,
        by="sink",
    )
    key = message.key if message.key is None else message.key[:KEPT_KEY_BYTES]
    return ROWS_RESOLVED.dead_letters, key, value if value is None else value[:KEPT_VALUE_BYTES], [*headers]
