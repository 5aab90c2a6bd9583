"""A TCP proxy that can cut, hold back and delay what passes, whatever it is."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Callable

from tests.chaos.proxy.thread import LoopThread

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER without time: closing sends a reset instead of an orderly end."""
READ_BYTES = 256 * 1024


class Link:
    """One client's connection and its counterpart to the server. Subclasses look at what passes."""

    def __init__(
        self,
        proxy: TcpProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.proxy = proxy
        self._client, self._server = client, server

    async def run(self) -> None:
        """Carry bytes both ways until one side ends."""
        ways = [
            asyncio.create_task(self._carry(self._client[0], self._server[1], self.from_client)),
            asyncio.create_task(self._carry(self._server[0], self._client[1], self.from_server)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for _, writer in (self._client, self._server):
                writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                passed = look(data)
                if self.proxy.delay_seconds:
                    self.proxy.bites["delayed"] += 1
                    await asyncio.sleep(self.proxy.delay_seconds)
                if not self.proxy.open.is_set():
                    self.proxy.bites["held"] += 1
                    await self.proxy.open.wait()
                if passed:
                    writer.write(passed)
                    await writer.drain()

    def from_client(self, data: bytes) -> bytes:
        """What the server is to get of this; bytes are in order, messages may be cut anywhere."""
        return data

    def from_server(self, data: bytes) -> bytes:
        """What the client is to get of this."""
        return data

    def reset(self) -> None:
        """Both sides see a reset connection; the server still gets what was passed to it before."""
        for _, writer in (self._server, self._client):
            held: socket.socket | None = writer.get_extra_info("socket")
            if held is not None and not writer.is_closing():
                held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class TcpProxy:
    """Listens on a free port of the loopback and passes everything on to one server."""

    link: type[Link] = Link

    def __init__(self, thread: LoopThread, host: str, port: int) -> None:
        self._thread = thread
        self._upstream = (host, port)
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self.bites: Counter[str] = Counter()
        self.delay_seconds = 0.0
        """Added to every chunk of either direction."""
        self.refusing = False
        """Whether new connections are reset."""
        self.open = asyncio.Event()
        self.open.set()

    def start(self) -> int:
        """Listen; the port."""
        return self._thread.run(self._start())

    async def _start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ_BYTES)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stop(self) -> None:
        """Stop listening, and cut what is connected."""
        self._thread.call(self._stop)

    def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._upstream, limit=READ_BYTES)
        except OSError:
            writer.transport.abort()
            return
        link = self.link(self, (reader, writer), upstream)
        if self.refusing:
            self.bites["refused"] += 1
            link.reset()
            return
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        return self._thread.call(self._cut)

    def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.reset()
        self.bites["cut"] += len(links)
        return len(links)

    def pause(self) -> None:
        """Become a black hole: connections stay, nothing passes. What comes meanwhile passes at `resume`."""
        self._thread.call(self.open.clear)

    def resume(self) -> None:
        """Let everything through again."""
        self._thread.call(self.open.set)

    def let_through(self) -> None:
        """Refuse, hold and delay no more; what is prepared to strike later still is."""
        self.delay_seconds = 0.0
        self.refusing = False
        self.resume()

    def heal(self) -> None:
        """Only pass from now on; what was done stays done."""
        self.let_through()
