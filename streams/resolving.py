"""Runs the steps over a batch. One bad row never stops its batch, an outage never makes a bad row (D7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec
import structlog

from sluice.clock import Clock
from sluice.errors import Unavailable
from sluice.events import FieldFault, RowsRead
from sluice.outcome import Outcome
from sluice.telemetry import Telemetry
from streams.batch import Batch
from streams.look_ups import LookUps, Step
from streams.patience import Patience

log = structlog.get_logger(__name__)

TRIES = 3

_FAILED = FieldFault(
    field="",
    code="row_failed",
    message="The row could not be processed. Its batch is kept as a dead letter; send the row again.",
    value="",
)


class Resolver:
    """The steps in running order, with the time that each one takes."""

    def __init__(
        self,
        steps: Sequence[Step],
        telemetry: Telemetry,
        clock: Clock,
        gives_up: Callable[[], bool],
        freshen: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`freshen` is awaited with the job's id before each batch: see `DncFollower.freshen`."""
        self._steps = steps
        self._freshen = freshen
        self._patience = Patience("dnc", telemetry, gives_up)
        self._telemetry = telemetry
        self._clock = clock

    async def resolve(self, read: RowsRead, look_ups: LookUps) -> tuple[Batch, list[int]]:
        """The batch behind all steps, and the indexes of rows that raised and are now `failed`.

        Waits for what a step needs and cannot have now.

        Raises:
            GivenUp: the process stops, or its partitions move, before that is back.
        """
        while True:
            try:
                if self._freshen is not None:
                    await self._freshen(read.job_id)
                resolved = self._resolve(read, look_ups)
            except Unavailable as error:
                job = {"job_id": read.job_id, "batch_no": read.batch_no}
                log.warning("lists_waited_for", error=type(error).__name__, **job)
                await self._patience.wait()
            else:
                self._patience.answered()
                return resolved

    def _resolve(self, read: RowsRead, look_ups: LookUps) -> tuple[Batch, list[int]]:
        for attempt in range(1, TRIES + 1):
            try:
                return self._run(read, look_ups), []
            except Unavailable:
                raise
            except Exception as error:
                log.error(
                    "batch_raised",
                    job_id=read.job_id,
                    batch_no=read.batch_no,
                    attempt=attempt,
                    error=type(error).__name__,
                )
        return self._without_poison(read, look_ups)

    def _without_poison(self, read: RowsRead, look_ups: LookUps) -> tuple[Batch, list[int]]:
        """Find the rows that raise by themselves, and run the others together."""
        poisoned = [index for index in range(len(read.rows)) if self._raises(_single(read, index), look_ups)]
        try:
            return self._run(_blanked(read, poisoned), look_ups, failed=poisoned), poisoned
        except Unavailable:
            raise
        except Exception:
            # It is not the rows but what they share.
            everyone = list(range(len(read.rows)))
            batch = Batch(_blanked(read, everyone))
            _fail(batch, everyone)
            return batch, everyone

    def _raises(self, read: RowsRead, look_ups: LookUps) -> bool:
        try:
            self._run(read, look_ups)
        except Unavailable:
            raise
        except Exception:
            return True
        return False

    def _run(self, read: RowsRead, look_ups: LookUps, failed: Collection[int] = ()) -> Batch:
        batch = Batch(read)
        _fail(batch, failed)
        for step in self._steps:
            started = self._clock.monotonic()
            step(batch, look_ups)
            spent = self._clock.monotonic() - started
            self._telemetry.count("sluice_stage_seconds_total", spent, stage=step.__name__)
        return batch


def _fail(batch: Batch, failed: Collection[int]) -> None:
    for index in failed:
        batch.refuse(index, Outcome.FAILED, [_FAILED])


def _single(read: RowsRead, index: int) -> RowsRead:
    return msgspec.structs.replace(
        read,
        first_row_no=read.first_row_no + index,
        rows=[read.rows[index]],
        lines=read.lines[index : index + 1],
        faults=[msgspec.structs.replace(fault, index=0) for fault in read.faults if fault.index == index],
        excluded=[0] if index in read.excluded else [],
    )


def _blanked(read: RowsRead, indexes: Collection[int]) -> RowsRead:
    """The batch with these rows emptied, so that no step stumbles over them again."""
    empty = [""] * len(read.columns)
    rows = [empty if index in indexes else row for index, row in enumerate(read.rows)]
    return msgspec.structs.replace(read, rows=rows)
