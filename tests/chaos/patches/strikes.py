"""The patches "kill" and "pause": a process ends, or stands still, at a named point of its work."""

from __future__ import annotations

import itertools
import os
import signal

from tests.chaos.patches import Entry, PatchUnknown, patch
from tests.chaos.patches.points import POINTS


@patch("kill")
def kill(entry: Entry) -> None:
    """`at`: the point; `nth`: at which passing of it in one process (1); `times`: how often in all (1)."""
    _strike(entry, signal.SIGKILL)


@patch("pause")
def pause(entry: Entry) -> None:
    """The same with SIGSTOP: somebody else must send SIGCONT."""
    _strike(entry, signal.SIGSTOP)


def _strike(entry: Entry, number: signal.Signals) -> None:
    point = POINTS.get(name := entry.options["at"])
    if point is None or point.role != entry.process.role:
        raise PatchUnknown(f"no point {name} in {entry.process.role}")
    nth = entry.options.get("nth", 1)
    passed = itertools.count(1)

    def strike() -> None:
        if next(passed) == nth and entry.bite(name):
            os.kill(os.getpid(), number)

    point.place(strike)
