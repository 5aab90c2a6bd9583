"""The window keeps what is unapplied, sends it again when nothing moves, and ends."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.reading.window import SHORTEST_PATIENCE_SECONDS, Window
from sluice.clock import FakeClock


def window(limit: int = 5, applied: int = 0) -> tuple[Window[str], FakeClock]:
    """An empty window and its clock."""
    clock = FakeClock()
    return Window(applied, limit, clock), clock


def sent(some: Window[str], count: int) -> None:
    """New batches, each stored by the broker."""
    for _ in range(count):
        number = some.add(f"batch {some.next_no}")
        some.answered(number, stored=True)


def test_numbers_go_on_behind_what_is_applied() -> None:
    """A reader that takes over numbers its first batch one beyond the last applied one."""
    some, _ = window(applied=17)
    assert some.add("a") == 18
    assert some.add("b") == 19


def test_the_window_is_full_at_its_limit() -> None:
    """There is room for as many unapplied batches as the limit says."""
    some, _ = window(limit=2)
    sent(some, 2)
    assert not some.has_room
    with pytest.raises(AssertionError):
        some.add("one too many")
    some.apply(1)
    assert some.has_room


def test_applied_tells_of_everything_before() -> None:
    """One message about a later batch makes up for those that were lost."""
    some, _ = window()
    sent(some, 4)
    assert some.apply(3) == ["batch 1", "batch 2", "batch 3"]
    assert (some.applied, len(some), some.next_no) == (3, 1, 5)


def test_old_news_changes_nothing() -> None:
    """A repeated or belated message moves nothing back."""
    some, _ = window()
    sent(some, 3)
    some.apply(2)
    assert some.apply(1) == some.apply(2) == []
    assert some.applied == 2


def test_what_was_never_sent_cannot_be_applied() -> None:
    """A number from nowhere is an error, not progress."""
    some, _ = window()
    sent(some, 1)
    with pytest.raises(AssertionError):
        some.apply(2)


def test_nothing_is_overdue_before_two_seconds() -> None:
    """Without measurements the oldest batch has two seconds."""
    some, clock = window()
    sent(some, 2)
    clock.advance(1.99)
    assert some.probe() is None
    clock.advance(0.01)
    assert some.probe() == (1, "batch 1")


def test_patience_doubles_up_to_four_times() -> None:
    """A batch that stays is sent again after 2, 4, 8, 8, ... seconds."""
    some, clock = window()
    sent(some, 1)
    for seconds in (2.0, 4.0, 8.0, 8.0):
        assert some.wait_seconds() == pytest.approx(seconds)
        clock.advance(seconds)
        assert some.probe() == (1, "batch 1")
        some.answered(1, stored=True)


def test_progress_ends_the_doubling_and_starts_the_wait_anew() -> None:
    """Whatever moves shows that the way is open."""
    some, clock = window()
    sent(some, 3)
    clock.advance(2)
    some.probe()
    some.answered(1, stored=True)
    clock.advance(1)
    some.apply(1)
    assert some.wait_seconds() == pytest.approx(some.patience_seconds)


def test_patience_follows_recent_batches() -> None:
    """Where batches take long, the wait is longer than they usually take."""
    some, clock = window()
    for number in range(1, 30):
        sent(some, 1)
        clock.advance(5)
        some.apply(number)
    assert 5 < some.patience_seconds < 8


def test_a_batch_sent_twice_teaches_nothing() -> None:
    """Which copy was applied is not known, so its time says nothing (Karn's algorithm, RFC 6298, 3)."""
    some, clock = window()
    sent(some, 1)
    clock.advance(2)
    some.probe()
    clock.advance(30)
    some.apply(1)
    assert some.patience_seconds == SHORTEST_PATIENCE_SECONDS


def test_the_rest_follows_when_the_oldest_alone_has_moved() -> None:
    """Behind a lost batch all others were dropped, so they are sent again once it is applied."""
    some, clock = window()
    sent(some, 4)
    clock.advance(2)
    some.probe()
    some.answered(1, stored=True)
    assert some.take_again() == []
    some.apply(1)
    assert some.take_again() == [2, 3, 4]
    assert some.take_again() == []


def test_the_rest_stays_when_it_was_only_late() -> None:
    """When later batches are applied together with it, the first copies were still on their way."""
    some, clock = window()
    sent(some, 4)
    clock.advance(2)
    some.probe()
    some.apply(2)
    assert some.take_again() == []


def test_what_the_producer_still_has_is_not_sent_again() -> None:
    """During an outage of the broker copies would only queue behind each other."""
    some, clock = window()
    some.add("a")
    clock.advance(3600)
    assert some.wait_seconds() is None
    assert some.probe() is None
    some.answered(1, stored=True)
    assert some.probe() == (1, "a")


def test_what_the_broker_refused_is_soon_sent_again() -> None:
    """Nothing is on its way then, so nothing is worth waiting for."""
    some, clock = window()
    some.add("a")
    some.answered(1, stored=False)
    clock.advance(0.25)
    assert some.probe() == (1, "a")


def test_a_batch_that_was_applied_meanwhile_is_not_repeated() -> None:
    """What was due may have moved while others were sent."""
    some, _ = window()
    sent(some, 2)
    some.apply(1)
    assert some.repeat(1) is None
    assert some.repeat(2) == "batch 2"


@settings(max_examples=150, deadline=None)
@given(
    total=st.integers(1, 60),
    limit=st.integers(1, 12),
    lost=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32),
)
def test_every_batch_is_applied_in_order_whatever_is_lost(
    total: int, limit: int, lost: float, seed: int
) -> None:
    """Messages both ways may be lost, repeated and late, in any order: nothing unapplied is forgotten,
    never more than the window is on its way, and the job ends."""
    chance = random.Random(seed)
    clock = FakeClock()
    some: Window[int] = Window(0, limit, clock)
    receiver = 0
    news: list[int] = []

    def send(number: int, batch: int) -> None:
        nonlocal receiver
        assert number == batch
        stored = chance.random() >= lost / 2
        some.answered(number, stored=stored)
        if stored and chance.random() >= lost and number == receiver + 1:
            receiver = number
            news.extend([number] * chance.choice([0, 1, 1, 2]))

    for _step in range(100_000):
        if some.applied == total:
            break
        while some.has_room and some.next_no <= total:
            number = some.add(some.next_no)
            send(number, number)
        chance.shuffle(news)
        if news and chance.random() < 0.7:
            some.apply(news.pop())
        for again in some.take_again():
            repeated = some.repeat(again)
            assert repeated is not None
            send(again, repeated)
        clock.advance(chance.choice([0.0, 0.1, 1.0]))
        if some.wait_seconds() == 0:
            # The database is asked before anything is sent again.
            if chance.random() < 0.9:
                some.apply(receiver)
            if (overdue := some.probe()) is not None:
                send(*overdue)
        assert len(some) <= limit
        assert some.applied <= receiver
        assert all(number in some for number in range(some.applied + 1, some.next_no))
    else:
        pytest.fail(f"the window hangs at {some.applied} of {total}")
    assert len(some) == 0
