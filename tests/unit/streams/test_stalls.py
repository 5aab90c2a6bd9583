"""Input that was let go of is noticed, and nothing else is taken for it."""

from __future__ import annotations

from sluice.clock import FakeClock
from streams.stalls import PATIENCE_SECONDS, Stalls

PLACE = ("imports.rows-read.v1", 3)


def looked_at(stalls: Stalls, clock: FakeClock, committed: int | None, *, in_hand: bool = False) -> bool:
    """Whether it is stalled, looked at twice with more than the patience between."""
    hands = [PLACE] if in_hand else []
    stalls.stalled({PLACE: committed}, hands)
    clock.advance(PATIENCE_SECONDS + 1)
    return bool(stalls.stalled({PLACE: committed}, hands))


def test_a_message_that_nobody_holds_and_nobody_committed_is_lost() -> None:
    """Delivered, not in hand, not committed, for longer than a commit takes."""
    clock = FakeClock()
    stalls = Stalls(clock)
    stalls.delivered(PLACE, 7)
    assert looked_at(stalls, clock, 2)


def test_the_first_message_of_a_partition_can_be_lost_too() -> None:
    """Where nothing was ever committed."""
    clock = FakeClock()
    stalls = Stalls(clock)
    stalls.delivered(PLACE, 0)
    assert looked_at(stalls, clock, None)


def test_work_in_hand_is_waited_for() -> None:
    """A message may wait for its list or its database for as long as it takes."""
    clock = FakeClock()
    stalls = Stalls(clock)
    stalls.delivered(PLACE, 7)
    assert not looked_at(stalls, clock, 2, in_hand=True)


def test_a_committed_message_is_done() -> None:
    """The committed offset is the next one to read."""
    clock = FakeClock()
    stalls = Stalls(clock)
    stalls.delivered(PLACE, 7)
    assert not looked_at(stalls, clock, 8)


def test_a_partition_that_was_given_up_is_not_watched() -> None:
    """Its messages are its next owner's."""
    clock = FakeClock()
    stalls = Stalls(clock)
    stalls.delivered(PLACE, 7)
    stalls.stalled({PLACE: 2}, [])
    clock.advance(PATIENCE_SECONDS + 1)
    assert not stalls.stalled({}, [])
    assert not stalls.stalled({PLACE: 2}, [])


def test_steady_traffic_is_no_stall() -> None:
    """The newest message is never committed at the moment of a look, but what is committed moves."""
    clock = FakeClock()
    stalls = Stalls(clock)
    for offset in range(100):
        stalls.delivered(PLACE, offset)
        assert not stalls.stalled({PLACE: offset}, [])
        clock.advance(1)
