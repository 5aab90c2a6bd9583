"""An outage is waited for, with a growing delay and a metric, and never ends the work."""

from __future__ import annotations

import asyncio

import pytest

from sluice.clock import FakeClock
from sluice.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    RegistryUnavailable,
    SluiceError,
    StoreUnavailable,
    Unavailable,
)
from sluice.telemetry import Telemetry
from tasks import outage
from tasks.outage import Waiting, all_well, dependency_of


class Work:
    """Fails with these errors one after the other, then is done."""

    def __init__(self, clock: FakeClock, *failures: tuple[float, Exception]) -> None:
        self.failures = list(failures)
        self.clock = clock
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.failures:
            lasted, failure = self.failures.pop(0)
            self.clock.advance(lasted)
            raise failure


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each wait was asked to be; none of them is waited."""
    asked: list[float] = []

    async def pause(stopping: asyncio.Event, seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(outage, "pause", pause)
    return asked


async def run(work: Work) -> Telemetry:
    telemetry = Telemetry("tasks")
    await Waiting(telemetry, work.clock, asyncio.Event()).keep_running("work", work)
    return telemetry


async def test_an_outage_is_waited_for_with_a_growing_delay(pauses: list[float]) -> None:
    """From 0.2 s doubling to 5 s, and the work goes on afterwards."""
    work = Work(FakeClock(), *[(0, DatabaseUnavailable()) for _ in range(7)])
    await run(work)
    assert work.calls == 8
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_after_working_a_while_the_delay_is_short_again(pauses: list[float]) -> None:
    """An outage a day after the last one does not begin with its longest wait."""
    failures = [(0.0, BrokerUnavailable()), (0.0, BrokerUnavailable()), (3600.0, BrokerUnavailable())]
    await run(Work(FakeClock(), *failures))
    assert pauses == [0.2, 0.4, 0.2]


@pytest.mark.usefixtures("pauses")
async def test_the_metric_stays_up_until_the_dependency_answers() -> None:
    """A scrape during any attempt of a long outage shows it."""
    telemetry = await run(Work(FakeClock(), (0, DatabaseUnavailable())))
    assert b'sluice_waiting{dependency="database"} 1.0' in telemetry.text()
    all_well(telemetry, "database")
    assert b'sluice_waiting{dependency="database"} 0.0' in telemetry.text()


@pytest.mark.usefixtures("pauses")
async def test_what_is_no_outage_ends_the_work() -> None:
    """A mistake of ours is not retried in silence."""
    with pytest.raises(SluiceError):
        await run(Work(FakeClock(), (0, SluiceError())))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (DatabaseUnavailable(), "database"),
        (BrokerUnavailable(), "broker"),
        (RegistryUnavailable(), "registry"),
        (StoreUnavailable(), "store"),
    ],
)
def test_an_outage_is_named_in_one_word(error: Unavailable, name: str) -> None:
    """The metric's label says what to look at."""
    assert dependency_of(error) == name


async def test_a_stop_ends_a_wait_at_once() -> None:
    """SIGTERM does not wait for the end of a backoff."""
    stopping = asyncio.Event()
    stopping.set()
    async with asyncio.timeout(1):
        await outage.pause(stopping, 3600)
        await Waiting(Telemetry("tasks"), FakeClock(), stopping).keep_running("work", Work(FakeClock()))
