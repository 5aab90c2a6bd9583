"""How long to wait before what died is started again."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 15.0
# A process that lived this long was well; its next death is a new story.
WELL_AFTER_SECONDS = 60.0


@dataclass
class Backoff:
    """0.5 s, doubling to 15 s; back to the start after a minute of life."""

    failures: int = 0

    def after(self, lived_seconds: float) -> float:
        """Seconds to wait after a process died that lived `lived_seconds`."""
        if lived_seconds >= WELL_AFTER_SECONDS:
            self.failures = 0
        delay = min(FIRST_SECONDS * 2.0 ** min(self.failures, 10), LONGEST_SECONDS)
        self.failures += 1
        return delay
