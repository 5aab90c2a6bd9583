"""How long the supervisor waits before it starts again what died."""

from __future__ import annotations

from cli.local.backoff import Backoff


def test_the_wait_doubles_up_to_fifteen_seconds() -> None:
    """A process that dies at once again and again is started ever more rarely, but never given up."""
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(8)] == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_a_minute_of_life_is_a_new_beginning() -> None:
    """What was well for a minute is started again quickly."""
    backoff = Backoff()
    for _ in range(6):
        backoff.after(0.1)
    assert backoff.after(59.9) == 15
    assert backoff.after(60.0) == 0.5
    assert backoff.after(0.1) == 1


def test_a_thousand_failures_overflow_nothing() -> None:
    """A role that crashed all night is still waited for by a number."""
    backoff = Backoff(failures=100_000)
    assert backoff.after(0.0) == 15
