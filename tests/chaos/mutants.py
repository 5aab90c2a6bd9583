"""Messages as no writer of ours would send them, made from real ones."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgspec

from sinks.batch import Position, batch_of
from sluice.avro import HEADER, Codec
from sluice.envelope import check_agreement, envelope_of
from sluice.errors import MessageUndecodable
from sluice.events import EVENTS, RowsResolved
from sluice.topics import (
    BATCH_APPLIED,
    DNC_CHANGED,
    IDENTITIES_CHANGED,
    IMPORTS_REQUESTED,
    MAX_MESSAGE_BYTES,
    PROGRESS,
    ROWS_READ,
    ROWS_RESOLVED,
)
from streams.decoding import decode_batch_applied, decode_identities_changed, decode_rows_read

Headers = tuple[tuple[str, bytes], ...]
MARK = "mutant"
"""The header of every mutant: what is made of them is not made of real messages."""

MUTATED = (
    ROWS_READ,
    ROWS_RESOLVED,
    BATCH_APPLIED,
    IDENTITIES_CHANGED,
    IMPORTS_REQUESTED,
    DNC_CHANGED,
    PROGRESS,
)
BATCHES = {ROWS_READ.name, ROWS_RESOLVED.name}
"""Topics whose messages name their batch in headers too."""
BURIED = {ROWS_READ.name, ROWS_RESOLVED.name, BATCH_APPLIED.name, IDENTITIES_CHANGED.name}
"""Topics of which somebody keeps the dead letters; of the others PostgreSQL tells the same."""
ROOM_BYTES = 8 * 1024
"""What a broker's batch around the largest message needs."""


@dataclass(frozen=True)
class Message:
    """One message of a topic, real or mutated."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    kind: str = ""


def problem_of(codec: Codec, message: Message) -> str | None:
    """Why a message is poison by the product's own reading; None for one that is valid, whatever it says."""
    try:
        match message.topic:
            case ROWS_READ.name:
                decode_rows_read(codec, message.value, message.headers)
            case ROWS_RESOLVED.name:
                value = message.value or b""
                batch = batch_of(
                    codec.decode(message.topic, RowsResolved, value), Position(message.partition, 0), value
                )
                check_agreement(message.headers, batch.message)
            case IDENTITIES_CHANGED.name:
                decode_identities_changed(codec, message.value)
            case BATCH_APPLIED.name:
                decode_batch_applied(codec, message.value)
            case _:
                codec.decode(message.topic, EVENTS[message.topic], message.value)
    except MessageUndecodable as error:
        return str(error)
    return None


# What makes a value unreadable ------------------------------------------------------------------------------


def wrong_magic(message: Message, chance: Random) -> Message:
    return replace(message, value=bytes([chance.randint(1, 255)]) + _body(message)[1:])


def unknown_schema(message: Message, chance: Random) -> Message:
    schema_id = chance.choice((chance.randrange(10**6, 2**31), chance.randrange(2**31, 2**32), 0))
    return replace(message, value=HEADER.pack(0, schema_id) + _body(message)[HEADER.size :])


def truncated(message: Message, chance: Random) -> Message:
    value = _body(message)
    ends = (chance.randint(1, 4), HEADER.size, len(value) - 1, chance.randrange(HEADER.size, len(value)))
    return replace(message, value=value[: chance.choice(ends)])


def flipped(message: Message, chance: Random) -> Message:
    value = bytearray(_body(message))
    for _ in range(chance.choice((1, 1, 2, 8))):
        value[chance.randrange(len(value))] ^= 1 << chance.randrange(8)
    return replace(message, value=bytes(value))


def null(message: Message, chance: Random) -> Message:
    return replace(message, value=None)


def empty(message: Message, chance: Random) -> Message:
    return replace(message, value=b"")


def oversize(message: Message, chance: Random) -> Message:
    size = chance.choice((1_100_000, 2_200_000, MAX_MESSAGE_BYTES - ROOM_BYTES)) - len(_body(message))
    return replace(message, value=_body(message) + chance.randbytes(max(1, size)))


def noise(message: Message, chance: Random) -> Message:
    return replace(message, value=chance.randbytes(chance.randint(1, 2_000)))


# What lies or is missing around it --------------------------------------------------------------------------


def keyless(message: Message, chance: Random) -> Message:
    return replace(truncated(message, chance), key=None)


def foreign_key(message: Message, chance: Random) -> Message:
    return replace(truncated(message, chance), key=chance.choice((b"", b"\xff\xfe", b"k" * 200_000)))


def headless(message: Message, chance: Random) -> Message:
    return replace(chance.choice((message, truncated(message, chance))), headers=())


def heavy_headers(message: Message, chance: Random) -> Message:
    headers = (*message.headers, ("note", chance.randbytes(chance.choice((20_000, 700_000)))))
    return replace(chance.choice((message, truncated(message, chance))), headers=headers)


LIES: tuple[tuple[str, str], ...] = (
    ("batch_no", "1000000"),
    ("batch_no", "-5"),
    ("batch_no", "9" * 40),
    ("batch_no", "-" + "9" * 40),
    ("first_row_no", "-1"),
    ("first_row_no", "4294967295"),
    ("row_count", "1000000000"),
    ("row_count", "-1"),
    ("run", "9" * 30),
    ("run", "2"),
    ("lease_epoch", "77"),
    ("lease_epoch", str(1 << 63)),
    ("start", "1:2:3"),
    ("start", "1:-1:3:4"),
    ("end", f"{1 << 40}:0:0:0"),
    ("end", "9:9:9:" + "9" * 25),
    ("job_id", "nobody"),
    ("organization_id", "\xff"),
)


def lying_headers(message: Message, chance: Random) -> Message:
    name, text = chance.choice((*LIES, ("job_id", str(uuid.UUID(int=chance.getrandbits(128))))))
    lied = replace(message, headers=_with(message.headers, **{name: text}))
    return chance.choice((lied, truncated(lied, chance)))


# Valid, and about another batch than there can be -----------------------------------------------------------


def contradictory(codec: Codec, message: Message, chance: Random) -> Message:
    """The value says another batch than the headers: in the numbers that would do most harm."""
    name = chance.choice(("batch_no", "lease_epoch", "first_row_no", "run", "job_id"))
    event = _event(codec, message)
    held = getattr(event, name)
    other = str(uuid.UUID(int=chance.getrandbits(128))) if name == "job_id" else held + chance.choice((1, 99))
    return replace(message, value=_encoded(codec, message, {name: other}))


def far_ahead(codec: Codec, message: Message, chance: Random) -> Message:
    """Value and headers agree on a batch that cannot be the next."""
    number = _event(codec, message).batch_no + chance.randint(10_000, 10_000_000)
    value = _encoded(codec, message, {"batch_no": number})
    return replace(message, value=value, headers=_with(message.headers, batch_no=str(number)))


def stale_lease(codec: Codec, message: Message, chance: Random) -> Message:
    """Value and headers agree on a lease that nobody has."""
    epoch = _event(codec, message).lease_epoch + chance.choice((-1, 1, 50))
    value = _encoded(codec, message, {"lease_epoch": epoch})
    return replace(message, value=value, headers=_with(message.headers, lease_epoch=str(epoch)))


def of_another(codec: Codec, message: Message, chance: Random) -> Message:
    """Value and headers agree on an organization that the job is not of."""
    organization = str(uuid.UUID(int=chance.getrandbits(128)))
    value = _encoded(codec, message, {"organization_id": organization})
    return replace(message, value=value, headers=_with(message.headers, organization_id=organization))


SIMPLE: tuple[Callable[[Message, Random], Message], ...] = (
    wrong_magic,
    unknown_schema,
    truncated,
    flipped,
    flipped,
    null,
    empty,
    noise,
    keyless,
    foreign_key,
)
OF_BATCHES: tuple[Callable[[Message, Random], Message], ...] = (headless, lying_headers, lying_headers)
CONSISTENT = (contradictory, far_ahead, stale_lease, of_another)
LARGE = (oversize, heavy_headers)
LARGE_SHARE = 0.03
"""Of the mutants; each is some megabytes."""


def mutant(codec: Codec, message: Message, chance: Random) -> Message:
    """A mutant of a real message; `kind` tells of which sort."""
    draw = chance.random()
    makers: tuple[Any, ...]
    if draw < LARGE_SHARE:
        makers = LARGE
    elif message.topic in BATCHES and draw < 0.2:
        made = chance.choice(CONSISTENT)
        return replace(made(codec, message, chance), kind=made.__name__)
    else:
        makers = (*SIMPLE, *OF_BATCHES) if message.topic in BATCHES else SIMPLE
    return made_by(chance.choice(makers), message, chance)


def made_by(make: Callable[[Message, Random], Message], message: Message, chance: Random) -> Message:
    """A mutant of a given sort."""
    return replace(make(message, chance), kind=make.__name__)


def is_undetectable(codec: Codec, message: Message) -> bool:
    """Whether a batch's value became another valid one under its own headers: nobody can tell it from real.

    Kafka's checksums keep such damage out; who may write to these topics is trusted (docs/reliability.md).
    """
    flips = message.kind == flipped.__name__ and message.topic in BATCHES
    return flips and problem_of(codec, message) is None and envelope_of(message.headers) is not None


def _body(message: Message) -> bytes:
    assert message.value, "a mutant is made of a message with a value"
    return message.value


def _event(codec: Codec, message: Message) -> Any:
    return codec.decode(message.topic, EVENTS[message.topic], message.value)


def _encoded(codec: Codec, message: Message, changes: Mapping[str, object]) -> bytes:
    return codec.encode(message.topic, msgspec.structs.replace(_event(codec, message), **changes))


def _with(headers: Headers, **changes: str) -> Headers:
    told = {**dict(headers), **{name: text.encode("latin-1") for name, text in changes.items()}}
    return tuple(told.items())
