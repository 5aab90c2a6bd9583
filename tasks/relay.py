"""The outbox relay: records that were written with a database transaction, sent to their topics.

1. One relay at a time: an advisory lock of the session, which PostgreSQL releases when the session ends. The
   others ask for it again every second and take over.
2. Read the oldest records. 3. Encode each; one that cannot be encoded goes to its topic's dead letters and
   does not hold up the rest. 4. Send them in order and await every acknowledgement. 5. Delete them.

A crash, or an outage, between 4 and 5 repeats the whole batch in the same order: delivery is at least once,
`ce_id` stays the same, and `version` orders what belongs to one contact. While a relay that lost its session
still sends its last batch, the next one may send the same records: that is a repetition too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sluice.avro import Codec
from sluice.broker import make_producer
from sluice.cloudevents import Headers, cloud_headers
from sluice.errors import BrokerUnavailable
from sluice.events import EVENTS, ContactChanged
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from sluice.topics import MAX_MESSAGE_BYTES, TOPICS
from tasks.outage import all_well, pause
from tasks.postgres import Connection, connected, statements

LOCK = 7_583_002_115
"""Advisory lock of all relays on one database: any number, but the same for ever and no other's."""

BATCH_RECORDS = 500
MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - 64 * 1024
"""What a topic takes, less the room for key and headers."""

POLL_SECONDS = 0.2
TAKE_OVER_SECONDS = 1.0
"""How long a dead relay's work stands still at most, once PostgreSQL has noticed that its session ended."""

log = structlog.get_logger("sluice.relay")


@dataclass(frozen=True, slots=True)
class Message:
    """One outbox record, ready to be sent; `problem` says why it is a dead letter."""

    record_id: int
    origin: str
    topic: str
    key: bytes
    value: bytes
    headers: Headers
    problem: str | None = None


class Relay:
    """Relays until it is told to stop. `active` is true while it holds the lock."""

    def __init__(self, settings: Settings, codec: Codec, telemetry: Telemetry) -> None:
        self._settings = settings
        self._codec = codec
        self._telemetry = telemetry
        self.active = False

    async def run(self, stopping: asyncio.Event) -> None:
        """One session: take over, then relay.

        Raises:
            DatabaseUnavailable, BrokerUnavailable: an outage; call again, nothing was lost.
        """
        async with connected(self._settings) as connection:
            if not await self._take_over(connection, stopping):
                return
            producer = make_producer(self._settings)
            try:
                await _start(producer)
                self.active = True
                all_well(self._telemetry, "database", "broker", "registry")
                log.info("relay_active")
                while not stopping.is_set():
                    if await self.relay_once(connection, producer) < BATCH_RECORDS:
                        await pause(stopping, POLL_SECONDS)
            finally:
                self.active = False
                await producer.stop()

    async def _take_over(self, connection: Connection, stopping: asyncio.Event) -> bool:
        while not stopping.is_set():
            if await connection.fetchval(statements("outbox")["take_over"], LOCK):
                return True
            await pause(stopping, TAKE_OVER_SECONDS)
        return False

    async def relay_once(self, connection: Connection, producer: AIOKafkaProducer) -> int:
        """Send and delete up to one batch of records; how many there were."""
        sql = statements("outbox")
        records = await connection.fetch(sql["next_records"], BATCH_RECORDS)
        if not records:
            return 0
        messages = [encode(self._codec, dict(record)) for record in records]
        await self._send(producer, messages)
        await connection.execute(sql["delete_sent"], [message.record_id for message in messages])
        for message in messages:
            self._account(message)
        return len(messages)

    async def _send(self, producer: AIOKafkaProducer, messages: Sequence[Message]) -> None:
        """Hand all over, in order, and await every acknowledgement: then all of them are on disk."""
        try:
            acknowledgements = [
                await producer.send(
                    message.topic, key=message.key, value=message.value, headers=message.headers
                )
                for message in messages
            ]
            await asyncio.gather(*acknowledgements)
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable from error

    def _account(self, message: Message) -> None:
        if message.problem is None:
            self._telemetry.count("sluice_outbox_events_total", topic=message.origin)
            return
        self._telemetry.count("sluice_dead_letters_total", topic=message.origin)
        log.error(
            "outbox_record_refused",
            record_id=message.record_id,
            topic=message.origin,
            problem=message.problem,
        )


def encode(codec: Codec, record: Mapping[str, Any]) -> Message:
    """An outbox record as a message of its topic, or of the topic's dead letters when it cannot be one.

    The event is JSON as msgspec reads it into the topic's record: bytes are base64.
    """
    topic, text = record["topic"], record["event"]
    plain = Message(record["id"], topic, topic, record["key"].encode(), text.encode(), [])
    try:
        event = msgspec.json.decode(text, type=EVENTS[topic])
        value = codec.encode(topic, event)
    except msgspec.ValidationError as error:
        # It names the field and the types, never a value.
        return dead_letter(plain, f"{EVENTS[topic].__name__}: {error}")
    # fastavro raises whatever its C code meets; whichever it is, this record alone is at fault.
    except Exception as error:
        return dead_letter(plain, f"{EVENTS[topic].__name__}: {type(error).__name__} while encoding it")
    if len(value) > MAX_VALUE_BYTES:
        return dead_letter(plain, f"{EVENTS[topic].__name__}: {len(value)} bytes are too many")
    return replace(plain, value=value, headers=_headers(topic, event))


def dead_letter(message: Message, problem: str) -> Message:
    """The message for the topic's dead letters: the record's own bytes, and what was wrong with them.

    What is too large for a topic is too large for its dead letters, so the bytes are cut there.
    """
    return replace(
        message,
        topic=TOPICS[message.origin].dead_letters,
        value=message.value[:MAX_VALUE_BYTES],
        headers=[
            ("dead_letter_error", problem.encode()),
            ("dead_letter_topic", message.origin.encode()),
            ("dead_letter_outbox_id", str(message.record_id).encode()),
            ("dead_letter_by", b"tasks"),
        ],
        problem=problem,
    )


def _headers(topic: str, event: msgspec.Struct) -> Headers:
    if not isinstance(event, ContactChanged):
        return []
    return cloud_headers(
        topic,
        event_id=event.event_id,
        organization_id=event.organization_id,
        subject=event.contact_id,
        time_ms=event.changed_at,
    )


async def _start(producer: AIOKafkaProducer) -> None:
    try:
        await producer.start()
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable from error
