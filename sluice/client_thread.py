"""A thread for a client whose calls block, and a way on when one of them never comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class CallStuck(Exception):
    """A call did not come back in its time; the client must be given up."""


class ClientThread:
    """Runs the calls of one client, in their order, in one thread.

    A call that is stuck inside its library cannot be ended. Its thread is left behind and does not keep the
    process from ending.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._stuck = False
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    async def run(self, call: Callable[[], T], within_seconds: float | None = None) -> T:
        """The call's result; raises what it raises.

        Raises:
            CallStuck: it took longer than `within_seconds`, or an earlier one has.
        """
        if self._stuck:
            raise CallStuck
        answer: Future[T] = Future()
        self._calls.put((answer, call))
        try:
            async with asyncio.timeout(within_seconds) as waiting:
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            if not waiting.expired():
                raise
            self._stuck = True
            raise CallStuck from None

    def close(self) -> None:
        """End the thread behind the calls that wait."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (asked := self._calls.get()) is not None:
            answer, call = asked
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)
