"""The Avro border: schemas from disk, ids from the registry once at start, then plain fastavro.

A value is in the registry's wire format: a zero byte, the schema's id as four bytes, the body. Schemas are
registered by `sluice schemas push` alone, never by a running role.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import fastavro
import fastavro.read
import fastavro.write
import msgspec
from confluent_kafka.schema_registry import (
    AsyncSchemaRegistryClient,
    ConfigCompatibilityLevel,
    Schema,
    ServerConfig,
)
from confluent_kafka.schema_registry.error import SchemaRegistryError

from sluice.compatibility import breaking_change
from sluice.errors import MessageUndecodable, RegistryUnavailable, SchemaIncompatible
from sluice.events import EVENTS, from_avro, to_avro
from sluice.topics import TOPICS, Topic

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas" / "avro"
HEADER = struct.Struct(">bI")
ANSWER_SECONDS = 10
"""How long the registry may take for one answer. Left to itself the client would wait for ever."""
NO_SUCH_SCHEMA = (400, 404, 422)
"""What the registry answers of an id that it never gave, or cannot have given."""
E = TypeVar("E", bound=msgspec.Struct)

# A batch's rows are one value to Avro: as arrays of arrays of strings they cost 1.3 µs a row to write and 3.3
# to read, as MessagePack 0.1 and 0.6 (docs/decisions/0012). Every other reader sees plain bytes.
ROWS = "bytes-msgpack-rows"
_pack_rows = msgspec.msgpack.Encoder().encode
_unpack_rows = msgspec.msgpack.Decoder(list[list[str]]).decode
fastavro.write.LOGICAL_WRITERS[ROWS] = lambda rows, _schema: _pack_rows(rows)
fastavro.read.LOGICAL_READERS[ROWS] = lambda data, _written, _read: _unpack_rows(data)


@cache
def schema_text(topic: str) -> str:
    """The schema of a topic's values as it stands in `schemas/avro/`."""
    return (SCHEMAS / f"{topic}.avsc").read_text(encoding="utf-8")


@cache
def parsed_schema(topic: str) -> Any:
    """The schema in fastavro's parsed form."""
    return fastavro.parse_schema(json.loads(schema_text(topic)))


class Codec:
    """Encodes and decodes events. Made once at start by `load_codec`; then only `learn` needs the network.

    Without `registry_url` it knows what it was given, and learns nothing.
    """

    def __init__(
        self, ids: Mapping[str, int], written: Mapping[int, Any], registry_url: str | None = None
    ) -> None:
        self._prefixes = {topic: HEADER.pack(0, schema_id) for topic, schema_id in ids.items()}
        self._written = dict(written)
        self._registry_url = registry_url

    def prefix(self, topic: str) -> bytes:
        """The five bytes before every body of a topic."""
        return self._prefixes[topic]

    async def learn(self, data: bytes | None) -> None:
        """Ask the registry for the schema that wrote a message, unless it is known: it may be a newer one.

        Only the registry can tell garbage from a schema that was pushed since the start, so it is asked every
        time; what it does not know either is left to `decode`.

        Raises:
            RegistryUnavailable: it does not answer. Nothing is known of the message: wait, and ask again.
        """
        if self._registry_url is None or data is None or len(data) < HEADER.size:
            return
        magic, schema_id = HEADER.unpack_from(data)
        if magic != 0 or schema_id in self._written:
            return
        schema = await _registered(self._registry_url, schema_id)
        if schema is not None:
            self._written[schema_id] = schema

    def encode(self, topic: str, event: msgspec.Struct) -> bytes:
        """The bytes of one event for its topic."""
        out = io.BytesIO()
        out.write(self._prefixes[topic])
        fastavro.schemaless_writer(out, parsed_schema(topic), to_avro(event))
        return out.getvalue()

    def decode(self, topic: str, kind: type[E], data: bytes | None) -> E:
        """The event in a message's value, whichever known version wrote it.

        Raises:
            MessageUndecodable: null, a wrong magic byte, an unknown schema id, a truncated or foreign body.
        """
        if data is None or len(data) < HEADER.size:
            raise MessageUndecodable(problem="it is null or shorter than the five bytes of its header.")
        magic, schema_id = HEADER.unpack_from(data)
        if magic != 0:
            raise MessageUndecodable(problem=f"its magic byte is {magic}, not 0.")
        written = self._written.get(schema_id)
        if written is None:
            raise MessageUndecodable(problem=f"schema id {schema_id} is not known for {topic}.")
        body = io.BytesIO(data)
        body.seek(HEADER.size)
        try:
            event = from_avro(kind, fastavro.schemaless_reader(body, written, parsed_schema(topic)))
        # fastavro raises whatever its C code meets: EOFError, IndexError, struct.error, ...
        except Exception as error:
            raise MessageUndecodable(problem=f"{type(error).__name__} in its body.") from error
        if body.read(1):
            raise MessageUndecodable(problem="bytes are left over behind its body.")
        return event


async def load_codec(registry_url: str) -> Codec:
    """Look up every registered version of every event's schema.

    Raises:
        RegistryUnavailable: the registry does not answer, or a schema was not pushed yet.
    """
    ids: dict[str, int] = {}
    written: dict[int, Any] = {}
    async with _client(registry_url) as client:
        try:
            for topic in TOPICS.values():
                own = await client.lookup_schema(topic.subject, Schema(schema_text(topic.name), "AVRO"))
                ids[topic.name] = _id(own)
                for version in await client.get_versions(topic.subject):
                    registered = await client.get_version(topic.subject, version)
                    text = json.loads(registered.schema.schema_str)
                    written[_id(registered)] = fastavro.parse_schema(text)
        except Exception as error:
            raise RegistryUnavailable from error
    return Codec(ids, written, registry_url)


def _client(registry_url: str, **settings: object) -> Any:
    return AsyncSchemaRegistryClient({"url": registry_url, "timeout": ANSWER_SECONDS, **settings})


MOST_ID = 2**31 - 1
"""A registry's ids are signed; what is larger is garbage, and nobody need be asked."""


async def _registered(registry_url: str, schema_id: int) -> Any:
    """The schema under an id in fastavro's parsed form; None when there is none, or none in Avro."""
    if schema_id > MOST_ID:
        return None
    # The caller waits and asks again by itself.
    async with _client(registry_url, **{"max.retries": 0}) as client:
        try:
            found = await client.get_schema(schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code in NO_SUCH_SCHEMA:
                return None
            raise RegistryUnavailable from error
        except Exception as error:
            raise RegistryUnavailable from error
    try:
        return fastavro.parse_schema(json.loads(found.schema_str))
    # Anybody may register a schema of any kind.
    except Exception:
        return None


def _id(registered: Any) -> int:
    schema_id: int = registered.schema_id
    return schema_id


async def push_schemas(registry_url: str) -> list[str]:
    """Register what is new and set each subject's compatibility; safe to repeat. Returns what was registered.

    Raises:
        SchemaIncompatible: a change would break readers; the subject and the field are named.
        RegistryUnavailable: the registry does not answer.
    """
    async with _client(registry_url) as client:
        return [topic.subject for topic in TOPICS.values() if await _push(client, topic)]


async def check_schemas(registry_url: str) -> list[str]:
    """What `push_schemas` would register; nothing is written.

    Raises:
        SchemaIncompatible, RegistryUnavailable: as in `push_schemas`.
    """
    async with _client(registry_url) as client:
        return [topic.subject for topic in TOPICS.values() if await _is_new(client, topic)]


async def _push(client: Any, topic: Topic) -> bool:
    is_new = await _is_new(client, topic)
    level = ServerConfig(compatibility=ConfigCompatibilityLevel(topic.compatibility))
    try:
        if is_new:
            await client.register_schema(topic.subject, Schema(schema_text(topic.name), "AVRO"))
        # Set every time: whoever died between the two calls would leave a subject that lets anything pass.
        await client.set_config(topic.subject, level)
    except SchemaRegistryError as error:
        raise _translated(topic, error) from error
    except Exception as error:
        raise RegistryUnavailable from error
    return is_new


async def _is_new(client: Any, topic: Topic) -> bool:
    schema = Schema(schema_text(topic.name), "AVRO")
    try:
        versions = await client.get_versions(topic.subject)
    except SchemaRegistryError as error:
        if error.http_status_code == 404:
            return True
        raise _translated(topic, error) from error
    except Exception as error:
        raise RegistryUnavailable from error
    try:
        await client.lookup_schema(topic.subject, schema)
    except SchemaRegistryError as error:
        if error.http_status_code != 404:
            raise _translated(topic, error) from error
    except Exception as error:
        raise RegistryUnavailable from error
    else:
        return False
    for version in versions:
        registered = await client.get_version(topic.subject, version)
        problem = breaking_change(
            json.loads(registered.schema.schema_str), json.loads(schema_text(topic.name)), both=topic.public
        )
        if problem:
            raise SchemaIncompatible(subject=topic.subject, problem=problem)
    return True


def _translated(topic: Topic, error: SchemaRegistryError) -> Exception:
    if error.http_status_code in (409, 422):
        return SchemaIncompatible(subject=topic.subject, problem=f"{error.error_message}.")
    return RegistryUnavailable()


def check_catalogue() -> None:
    """Assert that topics, records and schema files name each other; a test calls it."""
    assert set(EVENTS) == set(TOPICS) == {path.stem for path in SCHEMAS.glob("*.avsc")}
