"""A proxy that understands enough of PostgreSQL's protocol (version 3) to strike where it hurts.

What a client sends after its start is a row of messages: a letter, a length of four bytes that counts itself,
and the rest. Of those, `Q` is a plain query (asyncpg's BEGIN and COMMIT are such), `d` is a piece of a COPY.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.chaos.proxy.tcp import Link, TcpProxy

LENGTH = struct.Struct(">i")
START = struct.Struct(">ii")
ENCRYPTION_REQUESTS = (80877103, 80877104)
"""Codes of the questions for TLS and GSSAPI: the real start comes after the server's answer of one byte."""
KEPT_BYTES = 64
"""How much of a message is looked at: enough for COMMIT."""


class ClientMessages:
    """Finds the messages in a client's bytes, however they were cut."""

    def __init__(self) -> None:
        self._started = False
        self._head = b""
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Letter and beginning of each message that begins in `data` or before it, once it can be told."""
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            need = self._needed() - len(self._head)
            self._head += data[at : at + need]
            at += need
            if len(self._head) == self._needed():
                yield from self._finished()

    def _needed(self) -> int:
        """Bytes of the present message that are looked at, as far as they say so themselves."""
        head = self._head
        if not self._started:
            return START.size
        if len(head) < 5:
            return 5
        return min(1 + self._length(), KEPT_BYTES)

    def _length(self) -> int:
        length: int = LENGTH.unpack_from(self._head, 1)[0]
        return length

    def _finished(self) -> Iterator[tuple[bytes, bytes]]:
        head = self._head
        if not self._started:
            length, code = START.unpack(head)
            self._started = code not in ENCRYPTION_REQUESTS
            self._skip = length - START.size
        else:
            self._skip = 1 + self._length() - len(head)
            yield head[:1], head[5:]
        self._head = b""


class PostgresLink(Link):
    """One connection of a client to PostgreSQL."""

    proxy: PostgresProxy

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._messages = ClientMessages()
        self._losing = False

    def from_client(self, data: bytes) -> bytes:
        proxy = self.proxy
        for letter, body in self._messages.feed(data):
            if letter == b"d" and proxy.copies_to_cut:
                proxy.copies_to_cut -= 1
                proxy.bites["cut in COPY"] += 1
                # The server has the statement, and what came before this piece.
                self.reset()
                return b""
            if letter == b"Q" and proxy.replies_to_lose and body.upper().startswith(b"COMMIT"):
                proxy.replies_to_lose -= 1
                self._losing = True
        return data

    def from_server(self, data: bytes) -> bytes:
        if not self._losing:
            return data
        self._losing = False
        if b"COMMIT\x00" in data:
            self.proxy.bites["reply lost"] += 1
        self.reset()
        return b""


class PostgresProxy(TcpProxy):
    """Between roles and PostgreSQL; scram and everything else passes through."""

    link = PostgresLink

    copies_to_cut = 0
    """Pieces of a COPY at which the connection is reset, the next ones that come."""
    replies_to_lose = 0
    """Answers to COMMIT that are swallowed, the next ones: it took place, and the client sees a reset."""

    def heal(self) -> None:
        super().heal()
        self.copies_to_cut = self.replies_to_lose = 0
