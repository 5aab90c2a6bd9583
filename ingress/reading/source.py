"""A stored part as bytes from any offset on; what is cut or refused on the way is asked for again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from ingress.reading.job import Part
from ingress.reading.waiting import patiently
from sluice.errors import StoreUnavailable
from sluice.telemetry import Telemetry

# One request each: large enough that its cost vanishes (10,000 rows), small enough that a job which waits
# for its window holds little memory and no connection.
RANGE_BYTES = 1024 * 1024


class Objects(Protocol):
    """The part of the object store that reading needs."""

    async def read(self, key: str, etag: str, start: int, end: int) -> bytes:
        """The bytes from `start` on, up to but not including `end`, of this version; fewer from a slow store.

        Raises SourceChanged when it is gone or another, StoreUnavailable when the store does not answer.
        """
        ...


class Source:
    """The parts of jobs, read patiently: an outage is waited for, a changed object is SourceChanged (D9)."""

    def __init__(self, objects: Objects, telemetry: Telemetry) -> None:
        self._objects = objects
        self._telemetry = telemetry

    async def pieces(self, part: Part, offset: int) -> AsyncIterator[bytes]:
        """The part's bytes from `offset` to its end. Raises SourceChanged."""
        while offset < part.size_bytes:
            piece = await self._piece(part, offset)
            yield piece
            offset += len(piece)

    async def _piece(self, part: Part, offset: int) -> bytes:
        end = min(offset + RANGE_BYTES, part.size_bytes)

        async def read() -> bytes:
            piece = await self._objects.read(part.object_key, quoted(part.etag), offset, end)
            # More than was asked for is not what was asked for: an answer that passes over the range.
            if not piece or len(piece) > end - offset:
                raise StoreUnavailable
            return piece

        return await patiently(read, self._telemetry)


def quoted(etag: str) -> str:
    """The entity tag as `If-Match` wants it (RFC 9110, 8.8.3), also where it is stored without quotes."""
    return etag if etag.startswith('"') else f'"{etag}"'
