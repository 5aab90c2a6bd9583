"""`sluice events`: the public topics, decoded, as they are committed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import click
import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from cli import output
from sluice.avro import Codec, load_codec
from sluice.broker import make_follower
from sluice.cloudevents import rfc3339
from sluice.errors import BrokerUnavailable, MessageUndecodable
from sluice.events import EVENTS, ContactChanged, ContactImported
from sluice.settings import Settings, load_settings
from sluice.topics import TOPICS

PUBLIC = tuple(name for name, topic in TOPICS.items() if topic.public)


@click.command()
@click.option(
    "--topic",
    "topics",
    type=click.Choice(sorted(TOPICS)),
    multiple=True,
    help="Which; repeatable. [default: all public ones]",
)
@click.option("--from-start", is_flag=True, help="Begin with the oldest event that is kept.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def events(topics: Sequence[str], from_start: bool, count: int | None, as_json: bool) -> None:
    """Show events as they are committed, until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_tail(load_settings(), topics or PUBLIC, from_start, count, as_json))


async def _tail(
    settings: Settings, topics: Sequence[str], from_start: bool, count: int | None, as_json: bool
) -> None:
    codec = await load_codec(settings.schema_registry_url)
    if not as_json:
        output.errors.print(f"Listening to {', '.join(topics)}; Ctrl-C ends it.", style="dim")
    left = count
    async for message in committed(settings, topics, from_start=from_start):
        click.echo(_as_json(codec, message) if as_json else _as_line(codec, message))
        if left is not None:
            left -= 1
            if left == 0:
                return


async def committed(settings: Settings, topics: Sequence[str], *, from_start: bool) -> AsyncIterator[Any]:
    """Messages of committed transactions, in each partition's order.

    Raises:
        BrokerUnavailable: the broker does not answer.
    """
    consumer: AIOKafkaConsumer = make_follower(settings, topics, from_start=from_start)
    try:
        await consumer.start()
        async for message in consumer:
            yield message
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable from error
    finally:
        await consumer.stop()


def _decoded(codec: Codec, message: Any) -> msgspec.Struct | None:
    try:
        return codec.decode(message.topic, EVENTS[message.topic], message.value)
    except MessageUndecodable:
        return None


def _as_json(codec: Codec, message: Any) -> str:
    event = _decoded(codec, message)
    whole = {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "key": message.key.decode(errors="replace") if message.key is not None else None,
        "event": msgspec.to_builtins(event) if event is not None else None,
    }
    return json.dumps(whole, ensure_ascii=False)


def _as_line(codec: Codec, message: Any) -> str:
    event = _decoded(codec, message)
    where = f"{message.topic} {message.partition}/{message.offset}"
    if isinstance(event, ContactImported):
        made = f"row {event.lineage.row_no} of {event.lineage.job_id}"
        fields = ", ".join(event.changed_fields)
        return f"{rfc3339(event.imported_at)} {event.action} {event.contact_id} by {made}: {fields}"
    if isinstance(event, ContactChanged):
        fields = ", ".join(event.changed_fields)
        return f"{rfc3339(event.changed_at)} {event.action} {event.contact_id}: {fields}"
    return f"{rfc3339(message.timestamp)} {where} {event if event is not None else '(not decodable)'}"
