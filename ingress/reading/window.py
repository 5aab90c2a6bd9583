"""The window of one job: what is on its way and not applied yet, and when it is sent again (D13).

As in TCP: a batch is forgotten when it is known to be applied, and batches are applied in order, so one
number tells of all before it. Nothing here waits or sends; the clock is handed in.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from sluice.clock import Clock

# D13: at least 2 s without progress, doubling to 4 times.
SHORTEST_PATIENCE_SECONDS = 2.0
MOST_DOUBLINGS = 2

# The broker refused it, so nothing is on its way: waiting would only be idle. Doubles like the other.
REFUSED_PATIENCE_SECONDS = 0.25

# RFC 6298: weights of a new measurement, and how many deviations late is late.
NEW_WEIGHT = 1 / 8
NEW_DEVIATION_WEIGHT = 1 / 4
DEVIATIONS = 4

B = TypeVar("B")


@dataclass(slots=True)
class _Flight(Generic[B]):
    batch: B
    sent_at: float
    sends: int = 1
    # The producer has it and has not answered yet: sending it again would only queue behind itself.
    handed_over: bool = True
    refused: bool = False


class Window(Generic[B]):
    """The unapplied batches of one job, by number.

    `limit` is how many there may be. `applied` is the last batch known to be applied.
    """

    def __init__(self, applied: int, limit: int, clock: Clock) -> None:
        self.applied = applied
        self._limit = limit
        self._clock = clock
        self._flights: OrderedDict[int, _Flight[B]] = OrderedDict()
        self._moved_at = clock.monotonic()
        self._doublings = 0
        self._probe: int | None = None
        self._again: list[int] = []
        self._usual: float | None = None
        self._deviation = 0.0

    def __len__(self) -> int:
        return len(self._flights)

    def __getitem__(self, batch_no: int) -> B:
        return self._flights[batch_no].batch

    def __contains__(self, batch_no: int) -> bool:
        return batch_no in self._flights

    @property
    def next_no(self) -> int:
        """The number of the next new batch."""
        return self.applied + len(self._flights) + 1

    @property
    def has_room(self) -> bool:
        """Whether one more may be sent."""
        return len(self._flights) < self._limit

    @property
    def patience_seconds(self) -> float:
        """How long the oldest batch may stay without progress."""
        if self._usual is None:
            return SHORTEST_PATIENCE_SECONDS
        return max(SHORTEST_PATIENCE_SECONDS, self._usual + DEVIATIONS * self._deviation)

    def add(self, batch: B) -> int:
        """Take in a new batch that is being sent now; its number. There must be room."""
        assert self.has_room, "the window is full"
        number = self.next_no
        self._flights[number] = _Flight(batch, self._clock.monotonic())
        return number

    def repeat(self, batch_no: int) -> B | None:
        """The batch, which is being sent again now; None if it was applied meanwhile."""
        flight = self._flights.get(batch_no)
        if flight is None:
            return None
        self._send(flight)
        return flight.batch

    def answered(self, batch_no: int, *, stored: bool) -> None:
        """The broker has stored the batch as it was last sent, or it was not sent."""
        flight = self._flights.get(batch_no)
        if flight is not None:
            flight.handed_over = False
            flight.refused = not stored

    def apply(self, batch_no: int) -> list[B]:
        """Everything up to this number is applied: forget it. Returns what is forgotten, in order.

        A number that is not beyond what is known says nothing new; one beyond what was sent cannot be.
        """
        assert batch_no < self.next_no, "a batch was applied that was never sent"
        if batch_no <= self.applied:
            return []
        now = self._clock.monotonic()
        forgotten = [self._flights.pop(number) for number in range(self.applied + 1, batch_no + 1)]
        self._measure(forgotten[-1], now)
        self.applied = batch_no
        self._moved_at = now
        self._doublings = 0
        if self._probe is not None and self._probe <= batch_no:
            # Applied alone, it was what the rest had waited for, and they were dropped. Had others been
            # applied with it, what was sent first would still be flowing.
            self._again = self._not_handed_over() if self._probe == batch_no else []
            self._probe = None
        return [flight.batch for flight in forgotten]

    def wait_seconds(self) -> float | None:
        """Seconds until the oldest batch is overdue; None while nothing can be."""
        if not self._flights:
            return None
        oldest = next(iter(self._flights.values()))
        if oldest.handed_over:
            return None
        patience = REFUSED_PATIENCE_SECONDS if oldest.refused else self.patience_seconds
        since = oldest.sent_at if oldest.refused else max(self._moved_at, oldest.sent_at)
        due_at: float = since + patience * (1 << self._doublings)
        return max(0.0, due_at - self._clock.monotonic())

    def probe(self) -> tuple[int, B] | None:
        """The oldest batch and its number, if it is overdue; it is being sent again now."""
        if self.wait_seconds() != 0:
            return None
        number, flight = next(iter(self._flights.items()))
        self._probe = number
        self._doublings = min(self._doublings + 1, MOST_DOUBLINGS)
        self._send(flight)
        return number, flight.batch

    def take_again(self) -> list[int]:
        """The batches to be sent again now, in order, as the one before them has moved; each told once."""
        again = [number for number in self._again if number in self._flights]
        self._again = []
        return again

    def _send(self, flight: _Flight[B]) -> None:
        flight.sends += 1
        flight.sent_at = self._clock.monotonic()
        flight.handed_over, flight.refused = True, False

    def _not_handed_over(self) -> list[int]:
        return [number for number, flight in self._flights.items() if not flight.handed_over]

    def _measure(self, newest: _Flight[B], now: float) -> None:
        """Learn from the newest batch applied, unless it was sent twice: which copy it was is not known."""
        if newest.sends > 1:
            return
        took = now - newest.sent_at
        if self._usual is None:
            self._usual, self._deviation = took, took / 2
            return
        self._deviation += NEW_DEVIATION_WEIGHT * (abs(took - self._usual) - self._deviation)
        self._usual += NEW_WEIGHT * (took - self._usual)
