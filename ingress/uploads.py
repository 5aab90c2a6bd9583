"""A file on its way in: streamed to the object store while it is counted, hashed and looked at.

Nothing is held but one part (5 MiB) and the head (256 KiB). Sizes that a client claims are not believed. A
file that is refused, or whose upload breaks off, leaves no object behind; what a killed process leaves is
removed by the sweeper of the tasks role.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from ingress.formats.encoding import EncodingGuess, LateEvidence
from ingress.formats.inspect import HEAD_BYTES
from ingress.object_writer import PART_BYTES, ObjectWriter
from ingress.store import Store, open_store
from sluice.clock import Clock
from sluice.errors import FileTooLarge
from sluice.settings import Settings

# Characters (all ASCII) of the file's own name in the object's key. S3 takes keys of 1,024 bytes, but stores
# that keep an object as a file end its name at 255 bytes, of which time, chance and a suffix of their own
# take about 60 (195 characters were refused).
MAX_KEY_NAME = 100

MEGABYTE = 1024 * 1024

log = structlog.get_logger("sluice.ingress")

HeadCheck = Callable[[bytes], Awaitable[None]]
"""Given the head of a file that is longer; raises what refuses the file before the rest of it comes."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object that is complete. `line_ends` is at least the number of its line ends, never less."""

    key: str
    etag: str
    size_bytes: int
    sha256: str
    line_ends: int


class Upload:
    """One file being stored: `write` its bytes in order, then `finish`; `discard` on any other way out.

    A file of less than a part is stored by `finish` only, so one that is refused was never there.
    """

    def __init__(
        self, store: Store, key: str, *, limit_bytes: int, check_head: HeadCheck, part_bytes: int = PART_BYTES
    ) -> None:
        self._object = ObjectWriter(store, key, part_bytes)
        self._limit_bytes = limit_bytes
        self._check_head = check_head
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._lines = LineEnds()
        self._head = bytearray()
        self._evidence = LateEvidence()

    @property
    def head(self) -> bytes:
        """The first bytes, at most 256 KiB."""
        return bytes(self._head)

    @property
    def head_is_all(self) -> bool:
        """Whether nothing came behind the head so far."""
        return self._size == len(self._head)

    @property
    def late_encoding(self) -> EncodingGuess | None:
        """What the whole file says of its encoding when its head says nothing, being ASCII."""
        return self._evidence.guess() if self._head.isascii() else None

    async def write(self, data: bytes) -> None:
        """Take the next bytes. Raises FileTooLarge, StoreUnavailable, and what `check_head` raises."""
        self._size += len(data)
        if self._size > self._limit_bytes:
            raise FileTooLarge(limit_megabytes=self._limit_bytes // MEGABYTE)
        self._sha256.update(data)
        self._lines.count(data)
        if (missing := HEAD_BYTES - len(self._head)) > 0:
            self._head += data[:missing]
            if len(data) > missing:
                await self._check_head(self.head)
        if self._head.isascii():
            # Only then is it asked for, and looking at every accent of a file costs 1.4 µs a row (measured).
            self._evidence.add(data)
        await self._object.write(data)

    async def finish(self) -> StoredFile:
        """Make the object whole. Raises StoreUnavailable."""
        etag = await self._object.finish()
        return StoredFile(
            key=self._object.key,
            etag=etag,
            size_bytes=self._size,
            sha256=self._sha256.hexdigest(),
            line_ends=self._lines.total,
        )

    async def discard(self) -> None:
        """Leave nothing behind. A store that is away is only logged: the sweeper comes later."""
        await self._object.discard()


class LineEnds:
    """An upper bound of a file's line ends (LF, CRLF, CR), counted in its bytes whatever its encoding.

    In UTF-16 the same bytes are parts of other characters too, so the count may be too high, never too low.
    """

    def __init__(self) -> None:
        self.total = 0
        self._after_return = False

    def count(self, data: bytes) -> None:
        """Count the ends in the next bytes."""
        if not data:
            return
        self.total += data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
        if self._after_return and data.startswith(b"\n"):
            self.total -= 1
        self._after_return = data.endswith(b"\r")


def object_key(filename: str, clock: Clock) -> str:
    """Where an upload is kept: `uploads/{epoch ms}-{random base36}-{sanitized filename}` (S1-037)."""
    milliseconds = int(clock.now().timestamp() * 1000)
    name = re.sub(r"[^A-Za-z0-9.-]", "_", filename)[-MAX_KEY_NAME:] or "upload"
    return f"uploads/{milliseconds}-{_base36(secrets.randbits(64))}-{name}"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


async def ensure_bucket(settings: Settings) -> None:
    """Make the bucket if it is missing and let BROWSER_ORIGINS in; repeatable. Raises StoreUnavailable."""
    async with open_store(settings) as store:
        await store.make_bucket()
        if settings.allowed_origins and not await store.allow_uploads(settings.allowed_origins):
            log.info("bucket takes no CORS rules", bucket=settings.s3_bucket_name)
