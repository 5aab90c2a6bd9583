"""One bad row never stops its batch, an outage never makes a bad row (D7)."""

from __future__ import annotations

import asyncio

import pytest

from sluice.clock import FakeClock
from sluice.errors import ListUnavailable
from sluice.telemetry import Telemetry
from streams import resolving
from streams.batch import Batch, resolved
from streams.look_ups import LookUps, Step
from streams.pipeline import STEPS
from streams.resolving import Resolver
from tests.unit.streams.batches import Lists, look_ups, make_read

ROWS = [["a@b.de", "4155552671"], ["boom@b.de", ""], ["c@b.de", ""], ["boom2@b.de", ""]]


def resolver(*steps: Step) -> Resolver:
    return Resolver(steps or STEPS, Telemetry("test"), FakeClock(), lambda: False)


def raises_at(text: str) -> Step:
    """A step with a mistake of ours in it."""

    def step(batch: Batch, _: LookUps) -> None:
        for values in batch.columns.values():
            if any(value.startswith(text) for value in values):
                raise ZeroDivisionError

    return step


async def test_the_row_that_raises_fails_alone() -> None:
    """The other rows come out as if it were not there."""
    read = make_read(["email", "phone"], ROWS)
    batch, poisoned = await resolver(STEPS[0], raises_at("boom"), *STEPS[1:]).resolve(read, look_ups())
    assert poisoned == [1, 3]
    out = resolved(batch)
    assert [(each.index, each.outcome) for each in out.refusals] == [(1, "failed"), (3, "failed")]
    assert list(out.hints) == [1, 0, 1, 0]
    assert [row[0] for row in out.rows] == ["a@b.de", "", "c@b.de", ""]


async def test_what_all_rows_share_fails_them_all() -> None:
    """A step that raises on anything still lets the batch be answered."""
    batch, poisoned = await resolver(raises_at(""), *STEPS).resolve(
        make_read(["email", "phone"], ROWS, mapping={"no such column": "email"}), look_ups()
    )
    assert poisoned == [0, 1, 2, 3]
    out = resolved(batch)
    assert {each.outcome for each in out.refusals} == {"failed"}
    assert len(out.rows) == len(out.hints) == 4


async def test_a_mistake_is_tried_three_times_before_rows_are_blamed() -> None:
    """What was only once is no row's fault."""
    calls: list[int] = []

    def flaky(batch: Batch, _: LookUps) -> None:
        calls.append(batch.row_count)
        if len(calls) < resolving.TRIES:
            raise ZeroDivisionError

    _, poisoned = await resolver(flaky).resolve(make_read(["email"], [["a@b.de"]]), look_ups())
    assert (poisoned, len(calls)) == ([], 3)


@pytest.mark.requirement("K-43")
async def test_a_list_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody passes and nobody fails meanwhile."""
    waits: list[float] = []

    async def slept(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", slept)
    lists = Lists(away=8)
    batch, poisoned = await resolver().resolve(make_read(["email"], [["a@b.de"]]), look_ups(lists))
    assert (poisoned, batch.refusals) == ([], {})
    assert len(waits) >= 8


async def test_an_outage_while_rows_are_tried_singly_is_no_rows_fault() -> None:
    """A list that goes away then is waited for as well."""
    calls = 0

    def away_at_first_single(batch: Batch, _: LookUps) -> None:
        nonlocal calls
        if batch.row_count == 1:
            calls += 1
            if calls == 1:
                raise ListUnavailable
        raises_at("boom")(batch, _)

    steps = (STEPS[0], away_at_first_single, *STEPS[1:])
    _, poisoned = await resolver(*steps).resolve(make_read(["email", "phone"], ROWS), look_ups())
    assert poisoned == [1, 3]


async def test_every_step_is_timed() -> None:
    """The metric names each stage."""
    telemetry = Telemetry("test")
    one = Resolver(STEPS, telemetry, FakeClock(), lambda: False)
    await one.resolve(make_read(["email"], [["a@b.de"]]), look_ups())
    text = telemetry.text().decode()
    for step in STEPS:
        assert f'sluice_stage_seconds_total{{stage="{step.__name__}"}}' in text
