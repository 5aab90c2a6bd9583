"""The jobs of a partition share it in turns."""

from __future__ import annotations

import asyncio

from ingress.reading.turns import SHARED_BATCHES, SHARED_SECONDS, Turns
from sluice.clock import FakeClock


async def test_a_job_alone_may_fill_the_partition() -> None:
    """The cap is the partition's, not the job's; then it waits."""
    turns = Turns(3, 1_000, FakeClock())
    for _ in range(3):
        await turns.take("a")
    waiting = asyncio.create_task(turns.take("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.give_back("a", 1, 0)
    await waiting


async def test_a_job_with_nothing_on_its_way_need_not_wait() -> None:
    """A large file that fills the partition does not hold up a small one."""
    turns = Turns(2, 1_000, FakeClock())
    await turns.take("large")
    await turns.take("large")
    await asyncio.wait_for(turns.take("small"), 1)
    assert turns.taken == 3


async def test_jobs_that_wait_come_in_turn() -> None:
    """What becomes free goes to whoever waits longest, so two large files share alike."""
    turns = Turns(2, 1_000, FakeClock())
    order: list[str] = []

    async def work(job: str) -> None:
        for _ in range(4):
            await turns.take(job)
            order.append(job)

    for _ in range(2):
        await turns.take("a")
    await turns.take("b")
    tasks = [asyncio.create_task(work("a")), asyncio.create_task(work("b"))]
    await asyncio.sleep(0)
    for _ in range(12):
        job = "a" if turns.held("a") >= turns.held("b") else "b"
        turns.give_back(job, 1, 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert order[:8].count("a") == order[:8].count("b") == 4
    await asyncio.gather(*tasks)


async def test_bytes_are_capped_like_batches() -> None:
    """A few huge batches fill a partition as well."""
    turns = Turns(100, 1_000, FakeClock())
    await turns.take("a")
    turns.weigh("a", 1_000)
    waiting = asyncio.create_task(turns.take("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    turns.give_back("a", 0, 600)
    await waiting


async def test_a_job_that_ends_leaves_its_turns_to_others() -> None:
    """Whatever it held, and whatever it waited for, is free."""
    turns = Turns(1, 1_000, FakeClock())
    await turns.take("a")
    await turns.take("b")
    waiting = asyncio.create_task(turns.take("b"))
    given_up = asyncio.create_task(turns.take("a"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    turns.give_back_all("a")
    assert not waiting.done()
    turns.give_back("b", 1, 0)
    await waiting
    assert turns.taken == 1


async def test_where_jobs_meet_the_queue_is_short() -> None:
    """While two jobs send to a partition, and a while after, a large one has little on its way there."""
    clock = FakeClock()
    turns = Turns(40, 1_000_000, clock)
    await turns.take("large")
    await turns.take("small")
    turns.give_back_all("small")
    for _ in range(SHARED_BATCHES - 1):
        await asyncio.wait_for(turns.take("large"), 1)
    waiting = asyncio.create_task(turns.take("large"))
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(SHARED_SECONDS + 1)
    turns.give_back("large", 1, 0)
    await waiting
    for _ in range(40 - SHARED_BATCHES):
        await asyncio.wait_for(turns.take("large"), 1)
    assert turns.taken == 40
