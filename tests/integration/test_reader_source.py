"""Reading stored parts from a real S3 server, through a line that is cut and a store that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from ingress.formats.parts import PartFormat
from ingress.reading.job import Part
from ingress.reading.source import RANGE_BYTES, Source
from ingress.store import Store, open_store
from sluice.errors import SourceChanged
from sluice.telemetry import Telemetry
from tests.chaos.proxy import HttpProxy, LoopThread
from tests.chaos.proxy.http import Fault
from tests.integration.reader_world import free_port

if TYPE_CHECKING:
    from tests.integration.stack import Servers


class Line:
    """A TCP line to the store that can be cut: each new connection passes so many bytes back, then breaks."""

    def __init__(self, stack: Servers, *cuts: int | None) -> None:
        target = urlsplit(stack.env["S3_ENDPOINT_URL"])
        self._target = target.hostname, target.port
        self._cuts = list(cuts)
        self._carrying: set[asyncio.Task[None]] = set()
        self.connections = 0

    @asynccontextmanager
    async def laid(self, port: int = 0) -> AsyncIterator[int]:
        """The line in place, on this port or any; yields the port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for task in self._carrying:
                task.cancel()
            await asyncio.gather(*self._carrying, return_exceptions=True)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        left = self._cuts.pop(0) if self._cuts else None
        task = asyncio.create_task(self._carry(reader, writer, left))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        """One connection: requests go through, answers up to the cut."""
        back, forth = await asyncio.open_connection(*self._target)
        requests = asyncio.create_task(_copy(reader, forth, None))
        try:
            await _copy(back, writer, left)
        finally:
            requests.cancel()
            for end in (forth, writer):
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
    with contextlib.suppress(ConnectionError):
        while left != 0 and (data := await reader.read(64 * 1024 if left is None else left)):
            writer.write(data)
            await writer.drain()
            left = None if left is None else left - len(data)


def through(stack: Servers, port: int) -> AbstractAsyncContextManager[Store]:
    """The store, seen through a line's port."""
    return open_store(stack.settings(S3_ENDPOINT_URL=f"http://127.0.0.1:{port}"))


async def stored(stack: Servers, data: bytes) -> Part:
    """A part with this content."""
    key = f"source/{uuid.uuid4()}"
    async with open_store(stack.settings()) as store:
        etag = await store.put(key, data)
    return Part(
        part_no=1,
        object_key=key,
        etag=etag,
        size_bytes=len(data),
        format=PartFormat(columns=["a"], encoding="utf-8", delimiter=","),
    )


async def read(store: Store, part: Part, offset: int = 0) -> bytes:
    """All bytes from there on."""
    source = Source(store, Telemetry("reader"))
    return b"".join([piece async for piece in source.pieces(part, offset)])


@pytest.mark.requirement("S1-033", "S1-035")
async def test_reading_begins_at_any_byte(stack: Servers) -> None:
    """A reader that resumes asks for the rest and gets exactly that; behind the end there is nothing."""
    data = os.urandom(2 * RANGE_BYTES + 17)
    part = await stored(stack, data)
    async with open_store(stack.settings()) as store:
        for offset in (0, 1, RANGE_BYTES, RANGE_BYTES + 1, len(data) - 1, len(data)):
            assert await read(store, part, offset) == data[offset:]


@pytest.mark.requirement("S1-041", "S1-127")
async def test_pieces_are_bounded_whatever_the_size(stack: Servers) -> None:
    """Memory does not grow with the file: no piece is larger than a range."""
    part = await stored(stack, os.urandom(3 * RANGE_BYTES + 5))
    async with open_store(stack.settings()) as store:
        source = Source(store, Telemetry("reader"))
        sizes = [len(piece) async for piece in source.pieces(part, 0)]
    assert sizes == [RANGE_BYTES, RANGE_BYTES, RANGE_BYTES, 5]


async def test_a_body_that_is_cut_short_is_asked_for_again(stack: Servers) -> None:
    """A line that breaks within the head or within the body costs time only, and what came is kept."""
    data = os.urandom(RANGE_BYTES + 1000)
    part = await stored(stack, data)
    line = Line(stack, 10, 400_000, 300_000, 700, None)
    async with line.laid() as port, through(stack, port) as store:
        assert await read(store, part) == data
    assert line.connections > 3


async def test_a_slow_store_is_read_on_from_where_it_was_given_up(stack: Servers) -> None:
    """No answer is waited for for long, however slow it is; the next one begins where that one was left."""
    data = os.urandom(60_000)
    part = await stored(stack, data)
    with LoopThread() as thread:
        proxy = HttpProxy(thread, stack.env["S3_ENDPOINT_URL"])
        proxy.faults = (Fault("slow", bytes_per_second=20_000),)
        async with through(stack, proxy.start()) as store:
            store._slow_seconds = 0.5
            pieces = [piece async for piece in Source(store, Telemetry("reader")).pieces(part, 0)]
        proxy.stop()
    assert b"".join(pieces) == data
    assert len(pieces) > 2


async def test_a_line_that_always_breaks_still_gets_there(stack: Servers) -> None:
    """Half of every body arrives, and the next request asks for the other half."""
    data = os.urandom(RANGE_BYTES // 4)
    part = await stored(stack, data)
    with LoopThread() as thread:
        proxy = HttpProxy(thread, stack.env["S3_ENDPOINT_URL"])
        proxy.faults = (Fault("cut"),)
        async with through(stack, proxy.start()) as store:
            pieces = Source(store, Telemetry("reader")).pieces(part, 0)
            arrived = [await anext(pieces) for _ in range(5)]
            proxy.heal()
            arrived += [piece async for piece in pieces]
        proxy.stop()
    assert b"".join(arrived) == data
    assert [len(piece) for piece in arrived[:2]] == [RANGE_BYTES // 8, RANGE_BYTES // 16]


async def test_an_overwritten_object_is_not_mixed_in(stack: Servers) -> None:
    """A file that changes between two pieces ends the reading."""
    data = os.urandom(RANGE_BYTES + 1000)
    part = await stored(stack, data)
    async with open_store(stack.settings()) as store:
        pieces = Source(store, Telemetry("reader")).pieces(part, 0)
        assert await anext(pieces) == data[:RANGE_BYTES]
        await store.put(part.object_key, os.urandom(len(data)))
        with pytest.raises(SourceChanged):
            await anext(pieces)


async def test_a_store_that_is_away_is_waited_for(stack: Servers) -> None:
    """While nothing answers a metric says so; when the store is back, reading goes on by itself."""
    part = await stored(stack, b"a\n1\n")
    telemetry = Telemetry("reader")
    port = free_port()
    async with through(stack, port) as store:
        pieces = Source(store, telemetry).pieces(part, 0)
        reading = asyncio.ensure_future(anext(pieces))
        async with asyncio.timeout(10):
            while b'sluice_waiting{dependency="store"} 1.0' not in telemetry.text():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert not reading.done()
        async with Line(stack).laid(port):
            assert await asyncio.wait_for(reading, 20) == b"a\n1\n"
    assert b'sluice_waiting{dependency="store"} 0.0' in telemetry.text()
