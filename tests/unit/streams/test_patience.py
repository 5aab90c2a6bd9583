"""Waiting for what is away: longer each time, shown in a metric, and not beyond the process."""

from __future__ import annotations

import asyncio

import pytest

from sluice.telemetry import Telemetry
from streams.patience import LONGEST_WAIT_SECONDS, GivenUp, Patience


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waits


async def test_each_wait_is_longer_up_to_a_limit(slept: list[float]) -> None:
    """And an answer makes the next outage start small again."""
    telemetry = Telemetry("test")
    patience = Patience("broker", telemetry, lambda: False)
    lengths: list[float] = []
    for _ in range(8):
        slept.clear()
        await patience.wait()
        lengths.append(round(sum(slept), 3))
    assert lengths[:4] == [0.1, 0.2, 0.4, 0.8]
    assert lengths[-1] == LONGEST_WAIT_SECONDS
    assert b'sluice_waiting{dependency="broker"} 1.0' in telemetry.text()
    patience.answered()
    assert b'sluice_waiting{dependency="broker"} 0.0' in telemetry.text()
    slept.clear()
    await patience.wait()
    assert slept == [0.1]


async def test_a_process_that_stops_waits_no_more(slept: list[float]) -> None:
    """Not even to the end of a long wait."""
    looks = iter([False, False, True])
    patience = Patience("broker", Telemetry("test"), lambda: next(looks, True))
    await patience.wait()
    await patience.wait()
    with pytest.raises(GivenUp):
        await patience.wait()
    assert len(slept) == 2
