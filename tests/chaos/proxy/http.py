"""An HTTP proxy that fails, slows down and cuts answers. The client's Host stays, so signatures hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from tests.chaos.proxy.thread import LoopThread

PIECE_BYTES = 64 * 1024
HOP_HEADERS = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "upgrade", "te"})
"""Headers between two neighbours (RFC 9110, 7.6.1): each side of the proxy makes its own."""
OWN_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that the client library would add by itself: the request is to stay as it was signed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to requests. `share` of them are met, chosen by the proxy's own chance."""

    kind: str
    """`status`: answered with `status` without asking the server. `slow`: the answer's body passes at
    `bytes_per_second`. `cut`: the connection ends in the middle of the body. `drop`: it is reset at once."""
    share: float = 1.0
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    path: str = ""
    """Only requests whose path contains this."""
    status: int = 500
    bytes_per_second: float = 1024.0


class HttpProxy:
    """Listens on a free port of the loopback and passes requests on to one server, as they are."""

    def __init__(self, thread: LoopThread, upstream: str, seed: int = 0) -> None:
        self._thread = thread
        self._upstream = upstream.rstrip("/")
        self._chance = random.Random(seed)
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.faults: tuple[Fault, ...] = ()
        """What happens to the requests that come from now on; the first that meets one decides."""
        self.bites: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        """Requests that were answered by the server, by method."""

    def start(self) -> int:
        """Listen; the port."""
        return self._thread.run(self._start())

    async def _start(self) -> int:
        self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        server = web.Server(self._answer)
        self._runner = web.ServerRunner(server, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    def stop(self) -> None:
        """Stop listening and let go of the server."""
        self._thread.run(self._stop())

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def heal(self) -> None:
        """Only pass from now on; what was done stays done, and an answer that is slow stays slow."""
        self.faults = ()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        fault = self._fault(request)
        if fault is not None and fault.kind == "status":
            return self._refused(fault)
        if fault is not None and fault.kind == "drop":
            return self._dropped(request)
        assert self._session is not None
        if request.headers.get("Expect", "").lower() == "100-continue":
            # Whoever asks before it sends its body waits for this.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        try:
            async with self._session.request(
                request.method,
                URL(f"{self._upstream}{request.raw_path}", encoded=True),
                headers=_passed_on(request.headers),
                data=request.content if request.body_exists else None,
                skip_auto_headers=OWN_HEADERS,
                allow_redirects=False,
            ) as answer:
                return await self._pass(request, answer, fault)
        except aiohttp.ClientError:
            # The server is away: so it is for the client.
            return self._dropped(request, "")

    def _fault(self, request: web.BaseRequest) -> Fault | None:
        for fault in self.faults:
            met = request.method in fault.methods and fault.path in request.path
            if met and self._chance.random() < fault.share:
                return fault
        return None

    def _refused(self, fault: Fault) -> web.StreamResponse:
        self.bites[str(fault.status)] += 1
        return web.Response(status=fault.status, text="Not now, the proxy says.")

    def _dropped(self, request: web.BaseRequest, bite: str = "dropped") -> web.StreamResponse:
        if bite:
            self.bites[bite] += 1
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)

    async def _pass(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, fault: Fault | None
    ) -> web.StreamResponse:
        out = web.StreamResponse(
            status=answer.status, reason=answer.reason, headers=_passed_on(answer.headers)
        )
        length = answer.content_length or 0
        cut_at = length // 2 if fault is not None and fault.kind == "cut" else None
        await out.prepare(request)
        sent = 0
        async for piece in self._pieces(answer, fault):
            if cut_at is not None and sent + len(piece) > cut_at:
                await out.write(piece[: cut_at - sent])
                self.bites["cut"] += 1
                # What was written is on its way before the connection ends.
                await asyncio.sleep(0.01)
                if request.transport is not None:
                    request.transport.abort()
                return out
            await out.write(piece)
            sent += len(piece)
        await out.write_eof()
        self.passed[request.method] += 1
        return out

    async def _pieces(self, answer: aiohttp.ClientResponse, fault: Fault | None) -> Any:
        slow = fault is not None and fault.kind == "slow"
        async for piece in answer.content.iter_chunked(1024 if slow else PIECE_BYTES):
            if fault is not None and slow:
                self.bites["slow"] += 1
                await asyncio.sleep(len(piece) / fault.bytes_per_second)
            yield piece


def _passed_on(headers: Any) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_HEADERS]
