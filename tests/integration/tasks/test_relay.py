"""The outbox relay on a real database and a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest

from sluice.avro import Codec
from sluice.errors import BrokerUnavailable, DatabaseUnavailable
from sluice.events import ContactChanged, DncChanged
from sluice.settings import Settings
from sluice.telemetry import Telemetry
from tasks import relay as relay_module
from tasks.relay import Relay
from tests.integration.stack import Servers
from tests.integration.tasks.conftest import Topic, eventually

INSERT = "INSERT INTO outbox (topic, key, event) VALUES ($1, $2, $3::text::jsonb)"


def changed(number: int, contact: str = "c1") -> ContactChanged:
    return ContactChanged(
        event_id=f"event-{number}",
        organization_id="o1",
        contact_id=contact,
        version=number,
        action="updated",
        changed_fields=["city"],
        changed_at=1_767_225_600_000 + number,
    )


async def put(database: Any, *events: ContactChanged) -> None:
    for event in events:
        await database.execute(
            INSERT, "contacts.changed.v1", event.contact_id, msgspec.json.encode(event).decode()
        )


async def left(database: Any) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM outbox")
    return count


async def until_empty(database: Any) -> None:
    async def is_empty() -> bool:
        return await left(database) == 0

    await eventually(is_empty)


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[asyncio.Task[None]]:
    """The relay at work for the length of a block."""
    stopping = asyncio.Event()
    work = asyncio.create_task(relay.run(stopping))
    try:
        yield work
    finally:
        stopping.set()
        await asyncio.wait([work], timeout=10)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@pytest.mark.requirement("B-07")
async def test_records_arrive_in_order_with_headers_and_are_gone(
    database: Any, settings: Settings, codec: Codec
) -> None:
    """More than two batches of one contact's changes: each once, in order, decodable, then deleted."""
    events = [changed(number) for number in range(1, 1203)]
    await put(database, *events)
    telemetry = Telemetry("tasks")
    async with Topic(settings, "contacts.changed.v1") as topic:
        async with running(Relay(settings, codec, telemetry)):
            await until_empty(database)
        messages = await topic.read(len(events))
    decoded = [codec.decode("contacts.changed.v1", ContactChanged, each.value) for each in messages]
    assert decoded == events
    assert {each.key for each in messages} == {b"c1"}
    assert [dict(each.headers)["ce_id"].decode() for each in messages] == [each.event_id for each in events]
    assert b'sluice_outbox_events_total{topic="contacts.changed.v1"} 1202.0' in telemetry.text()


async def test_a_record_that_cannot_be_encoded_holds_up_nobody(
    database: Any, settings: Settings, codec: Codec
) -> None:
    """It lies in the dead letters with its own bytes and its reason; the ones around it arrive."""
    await put(database, changed(1))
    await database.execute(INSERT, "contacts.changed.v1", "c9", '{"version": "none"}')
    await put(database, changed(2))
    telemetry = Telemetry("tasks")
    async with (
        Topic(settings, "contacts.changed.v1") as topic,
        Topic(settings, "contacts.changed.v1.dlq") as dead_letters,
    ):
        async with running(Relay(settings, codec, telemetry)):
            await until_empty(database)
        assert [each.key for each in await topic.read(2)] == [b"c1", b"c1"]
        (dead,) = await dead_letters.read(1)
    assert msgspec.json.decode(dead.value) == {"version": "none"}
    assert dead.key == b"c9"
    assert b"$.version" in dict(dead.headers)["dead_letter_error"]
    assert b'sluice_dead_letters_total{topic="contacts.changed.v1"} 1.0' in telemetry.text()


async def test_a_record_for_a_topic_that_is_not_relayed_is_refused_at_once(database: Any) -> None:
    """Its writer's transaction fails; it could never be sent."""
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(INSERT, "imports.rows-read.v1", "k", "{}")


async def test_one_relay_works_at_a_time_and_the_next_takes_over(
    database: Any, settings: Settings, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first lives the second waits; when it is gone, however, the second goes on."""
    monkeypatch.setattr(relay_module, "TAKE_OVER_SECONDS", 0.05)
    first, second = (Relay(settings, codec, Telemetry("tasks")) for _ in range(2))
    async with running(first) as first_work, running(second):
        await eventually(lambda: first.active or second.active)
        await put(database, changed(1))
        await until_empty(database)
        assert first.active != second.active
        if second.active:
            return
        first_work.cancel()
        await asyncio.gather(first_work, return_exceptions=True)
        await put(database, changed(2))
        await until_empty(database)
        assert second.active


async def test_a_crash_between_send_and_delete_repeats_and_loses_nothing(
    database: Any, settings: Settings, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: the same events again, under the same ids, so that a consumer can drop them."""

    class Crash(Exception):
        """kill -9 in the worst moment."""

    real_send = Relay._send

    async def send_then_crash(self: Relay, *arguments: Any) -> None:
        await real_send(self, *arguments)
        raise Crash

    await put(database, changed(1), changed(2))
    async with Topic(settings, "contacts.changed.v1") as topic:
        with monkeypatch.context() as patched:
            patched.setattr(Relay, "_send", send_then_crash)
            with pytest.raises(Crash):
                await Relay(settings, codec, Telemetry("tasks")).run(asyncio.Event())
        assert await left(database) == 2
        async with running(Relay(settings, codec, Telemetry("tasks"))):
            await until_empty(database)
        messages = await topic.read(4)
    ids = [dict(each.headers)["ce_id"] for each in messages]
    assert ids == [b"event-1", b"event-2", b"event-1", b"event-2"]


async def test_a_record_committed_late_is_sent_although_its_id_is_small(
    database: Any, settings: Settings, codec: Codec
) -> None:
    """Ids are given before commit, so a slow transaction's record appears behind larger ids."""
    slow = await asyncpg.connect(settings.sink_database_url.get_secret_value())
    try:
        transaction = slow.transaction()
        await transaction.start()
        await put(slow, changed(1, "slow"))
        await put(database, changed(2, "fast"))
        relay = Relay(settings, codec, Telemetry("tasks"))
        async with Topic(settings, "contacts.changed.v1") as topic, running(relay):
            (fast,) = await topic.read(1)
            await transaction.commit()
            (late,) = await topic.read(1)
    finally:
        await slow.close()
    assert (fast.key, late.key) == (b"fast", b"slow")


async def test_a_dnc_change_reaches_its_topic(database: Any, settings: Settings, codec: Codec) -> None:
    """Topics that are not public carry no CloudEvents headers."""
    event = DncChanged(list_id="l1", organization_id=None, version=2, changed_at=5)
    await database.execute(INSERT, "dnc.changed.v1", "l1", msgspec.json.encode(event).decode())
    async with Topic(settings, "dnc.changed.v1") as topic:
        async with running(Relay(settings, codec, Telemetry("tasks"))):
            await until_empty(database)
        (message,) = await topic.read(1)
    assert codec.decode("dnc.changed.v1", DncChanged, message.value) == event
    assert message.headers == ()


async def test_the_largest_record_that_is_not_refused_is_taken_by_the_broker(
    database: Any, settings: Settings, codec: Codec
) -> None:
    """Relay and topic agree on the limit; else one record would hold up all others for ever."""
    room = relay_module.MAX_VALUE_BYTES - 100
    event = DncChanged(list_id="x" * room, organization_id=None, version=1, changed_at=1)
    larger = msgspec.structs.replace(event, list_id="x" * (relay_module.MAX_VALUE_BYTES + 1))
    for each in (event, larger):
        await database.execute(INSERT, "dnc.changed.v1", "large", msgspec.json.encode(each).decode())
    async with (
        Topic(settings, "dnc.changed.v1") as topic,
        Topic(settings, "dnc.changed.v1.dlq") as dead_letters,
    ):
        async with running(Relay(settings, codec, Telemetry("tasks"))):
            await until_empty(database)
        (message,) = await topic.read(1)
        (dead,) = await dead_letters.read(1)
    assert len(message.value) > room
    assert len(dead.value) == relay_module.MAX_VALUE_BYTES


@pytest.mark.requirement("S0-037")
async def test_a_dependency_that_is_away_is_an_outage(database: Any, stack: Servers, codec: Codec) -> None:
    """Each is named as what it is, so it is waited for; the record stays."""
    await put(database, changed(1))
    no_database = stack.settings(SINK_DATABASE_URL="postgresql://sluice@127.0.0.1:1/sluice")
    no_broker = stack.settings(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    with pytest.raises(DatabaseUnavailable):
        await Relay(no_database, codec, Telemetry("tasks")).run(asyncio.Event())
    with pytest.raises(BrokerUnavailable):
        await Relay(no_broker, codec, Telemetry("tasks")).run(asyncio.Event())
    assert await left(database) == 1


async def test_a_lost_session_is_an_outage_and_ends_the_lock(
    database: Any, stack: Servers, settings: Settings, codec: Codec
) -> None:
    """The database ends the session; the relay says so, and another one can take over."""
    relay = Relay(settings, codec, Telemetry("tasks"))
    owner = await asyncpg.connect(stack.env["MIGRATE_DATABASE_URL"])
    try:
        async with running(relay) as work:
            await eventually(lambda: relay.active)
            await owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1",
                relay_module.LOCK & 0xFFFFFFFF,
            )
            with pytest.raises(DatabaseUnavailable):
                await asyncio.wait_for(work, 10)
    finally:
        await owner.close()
    assert not relay.active
    await put(database, changed(1))
    async with running(Relay(settings, codec, Telemetry("tasks"))):
        await until_empty(database)
