"""Calls that block have a thread of their own, and one that never comes back costs only that thread."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest

from sluice.client_thread import CallStuck, ClientThread


async def test_calls_run_in_one_thread_in_their_order() -> None:
    """What was asked first is done first, and nothing runs beside it."""
    thread, done = ClientThread("calls"), list[tuple[int, int]]()

    def note(number: int) -> None:
        done.append((number, threading.get_ident()))

    await asyncio.gather(*(thread.run(partial(note, number)) for number in range(20)))
    assert [number for number, _ in done] == list(range(20))
    assert len({ident for _, ident in done}) == 1
    assert done[0][1] != threading.get_ident()
    thread.close()


async def test_what_a_call_raises_is_raised_and_the_next_one_runs() -> None:
    """An error is an answer, also one that looks like a time limit's."""
    thread = ClientThread("raises")

    def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await thread.run(fail, 5)
    assert await thread.run(lambda: 7, 5) == 7
    thread.close()


async def test_a_call_that_never_comes_back_is_left_behind() -> None:
    """The caller goes on after its time, and every later call is refused instead of waiting behind it."""
    thread, release = ClientThread("stuck"), threading.Event()
    started = time.monotonic()
    with pytest.raises(CallStuck):
        await thread.run(release.wait, 0.05)
    with pytest.raises(CallStuck):
        await thread.run(lambda: None)
    assert time.monotonic() - started < 5
    assert all(each.daemon for each in threading.enumerate() if each.name == "stuck")
    release.set()
    thread.close()
