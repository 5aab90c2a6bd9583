"""The pipeline, on one page.

    imports.rows-read.v1 ──► normalize ─► validate ─► scrub ─► deduplicate ──► imports.rows-resolved.v1
                                                        ▲           ▲ │
                                  dnc lists (streams/dnc.py)        │ ▼
    identities.changed.v1 ─────────────────────────────────► identities (RocksDB, by organization)

    imports.batch-applied.v1 ──► progress (table, by job) ──► imports.progress.v1

A message is a batch of up to 500 rows of one job, keyed by organization, so one organization's rows pass here
in order. Each agent below does the same five things: take a message, run its steps, match the verdict, send
what follows and wait until it is durable, acknowledge. Acknowledged in order and only then, because nothing
here is worth a promise: whatever this process forgets, the reader sends again and the sink judges (D13).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import faust
import structlog

from sluice.errors import MessageContradictory, MessageUndecodable
from sluice.topics import BATCH_APPLIED, IDENTITIES_CHANGED, PROGRESS, ROWS_READ, ROWS_RESOLVED, Topic
from streams.batch import Batch
from streams.dead_letters import headers_of
from streams.decoding import decode_batch_applied, decode_identities_changed, decode_rows_read
from streams.fitting import encode_fitting
from streams.identities import Acceptance, accept
from streams.look_ups import LookUps, Step
from streams.parts import Parts
from streams.patience import GivenUp
from streams.steps.deduplicate import deduplicate
from streams.steps.normalize import normalize
from streams.steps.scrub import scrub
from streams.steps.validate import validate

log = structlog.get_logger(__name__)

STEPS: tuple[Step, ...] = (normalize, validate, scrub, deduplicate)
"""In running order."""


Process = Callable[[Parts, Any], Awaitable[None]]
"""What an agent does with one message; it returns when everything that follows from it is durable."""


def define_agents(app: faust.App, parts: Parts) -> None:
    """One agent a topic."""
    for topic, process in (
        (ROWS_READ, resolve),
        (IDENTITIES_CHANGED, apply_changes),
        (BATCH_APPLIED, report),
    ):
        app.agent(_topic(app, topic), name=topic.name)(_agent(app, process, parts))


def _agent(app: faust.App, process: Process, parts: Parts) -> Any:
    """The only shape of a Faust agent that loses nothing: one at a time, acknowledged in order, by hand.

    What it raises stops the process; the message is not acknowledged and comes again.
    """

    async def agent(stream: Any) -> None:
        by_hand = stream.noack()
        async for event in by_hand.events():
            try:
                await parts.newer_schemas.learn(event.message.value)
                await process(parts, event.message)
                await by_hand.ack(event)
            except GivenUp:
                # It is not committed, and comes again. Faust would wait for it before it stops, for ever.
                app.consumer.unacked.discard(event.message)

    return agent


async def resolve(parts: Parts, message: Any) -> None:
    try:
        read = decode_rows_read(parts.codec, message.value, headers_of(message))
    except MessageContradictory as error:
        # Not counted for an answer: nobody knows which batch it was, and the reader sends that one again.
        await parts.dead_letters.bury(ROWS_READ, message, str(error))
        return
    except MessageUndecodable as error:
        await parts.dead_letters.bury_batch(message, str(error))
        return
    seen = parts.identities.seen(message.partition, uuid.UUID(read.job_id).bytes)
    match acceptance := accept(read, seen):
        case Acceptance.AHEAD | Acceptance.OUTDATED:
            log.info("batch_dropped", why=acceptance.value, job_id=read.job_id, batch_no=read.batch_no)
            parts.telemetry.count("sluice_batches_dropped_total", role="streams")
        case Acceptance.NEXT | Acceptance.REPEAT:
            look_ups = LookUps(parts.dnc, parts.identities.of(message.partition), parts.secret)
            batch, poisoned = await parts.resolver.resolve(read, look_ups)
            if poisoned:
                rows = ",".join(str(read.first_row_no + index) for index in poisoned)
                await parts.dead_letters.bury(ROWS_READ, message, "A row could not be processed.", rows)
            await _send_on(parts, message, batch, is_repeat=acceptance is Acceptance.REPEAT)


async def _send_on(parts: Parts, message: Any, batch: Batch, *, is_repeat: bool) -> None:
    value = encode_fitting(parts.codec, batch)
    sending = parts.sender.send(
        ROWS_RESOLVED.name,
        batch.read.organization_id.encode(),
        value,
        partition=message.partition,
        headers=headers_of(message),
    )
    if is_repeat:
        # An old batch must not overwrite what newer ones have claimed since (measured).
        parts.telemetry.count("sluice_batches_repeated_total", role="streams")
        await sending
    else:
        claiming = parts.identities.record_batch(message.partition, batch, parts.now_ms)
        await asyncio.gather(claiming, sending)
        parts.telemetry.count("sluice_rows_resolved_total", batch.row_count)


async def apply_changes(parts: Parts, message: Any) -> None:
    try:
        changed = decode_identities_changed(parts.codec, message.value)
    except MessageUndecodable as error:
        await parts.dead_letters.bury(IDENTITIES_CHANGED, message, str(error))
        return
    await parts.identities.record_changes(message.partition, changed, parts.now_ms)


async def report(parts: Parts, message: Any) -> None:
    try:
        applied = decode_batch_applied(parts.codec, message.value)
    except MessageUndecodable as error:
        await parts.dead_letters.bury(BATCH_APPLIED, message, str(error))
        return
    progress = await parts.progress.advance(message.partition, applied)
    if progress is not None:
        value = parts.codec.encode(PROGRESS.name, progress)
        await parts.sender.send(PROGRESS.name, progress.job_id.encode(), value)


def _topic(app: faust.App, topic: Topic) -> Any:
    """A topic of raw bytes: what cannot be decoded must reach the agent, or Faust loses it."""
    raw: Mapping[str, Any] = dict.fromkeys(("key_serializer", "value_serializer"), "raw")
    return app.topic(topic.name, key_type=bytes, value_type=bytes, **raw)
