"""An object written piece by piece: in parts of 5 MiB, whole at the end or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

from ingress.store import Store
from sluice.errors import SluiceError

# The least that S3 takes as a part that is not the last.
PART_BYTES = 5 * 1024 * 1024

log = structlog.get_logger("sluice.ingress")


class ObjectWriter:
    """One object being stored: `write` its bytes in order, then `finish`; `discard` on any other way out.

    An object of less than a part is stored by `finish` only. Raises StoreUnavailable.
    """

    def __init__(self, store: Store, key: str, part_bytes: int = PART_BYTES) -> None:
        self.key = key
        self.size_bytes = 0
        self._store = store
        self._part_bytes = part_bytes
        self._part = bytearray()
        self._upload_id: str | None = None
        self._etags: list[str] = []
        self._stored = False  # the object is there, or may be
        self._completed = False

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size_bytes += len(data)
        self._part += data
        if len(self._part) >= self._part_bytes:
            await self._send_part()

    async def finish(self) -> str:
        """Make the object whole; its ETag."""
        if self._upload_id is None:
            self._stored = True
            return await self._store.put(self.key, bytes(self._part))
        if self._part:
            await self._send_part()
        self._stored = True
        etag = await self._store.complete(self.key, self._upload_id, self._etags)
        self._completed = True
        return etag

    async def discard(self) -> None:
        """Leave nothing behind. A store that is away is only logged: the sweeper comes later."""
        await asyncio.shield(self._discard())

    async def _discard(self) -> None:
        self._part.clear()
        if self._stored:
            await _quietly(self._store.delete(self.key))
        if self._upload_id is not None and not self._completed:
            await _quietly(self._store.abort(self.key, self._upload_id))

    async def _send_part(self) -> None:
        if self._upload_id is None:
            self._upload_id = await self._store.begin(self.key)
        data = bytes(self._part)
        self._part.clear()
        number = len(self._etags) + 1
        self._etags.append(await self._store.put_part(self.key, self._upload_id, number, data))


async def _quietly(removal: Awaitable[None]) -> None:
    """What refused the file must reach the caller, whatever becomes of its remains."""
    try:
        await removal
    except SluiceError as error:
        log.warning("upload not removed", error=type(error).__name__)
