"""Batches, look-ups and a sender for the tests of the streams role, without servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluice.errors import ListUnavailable
from sluice.events import ImportOptions, RowFault, RowsRead, SourcePosition
from streams.batch import Batch
from streams.look_ups import Listing, LookUps, Step
from streams.sending import Headers

ORGANIZATION = "0190c0de-0000-7000-8000-000000000001"
JOB = uuid.UUID("0190c0de-1111-7222-8333-444455556666")
SECRET = b"s" * 32
START = SourcePosition(part_no=1, byte_offset=0, line=1, row_no=1)

OPTIONS: Mapping[str, Any] = {
    "on_duplicate": "skip", "match_on": "email", "dnc_policy": "flag", "phone_check": "strict",
    "mode": "partial", "dry_run": False, "blanks": "keep", "region": "US", "required": [],
    "missing_email": "invalid", "mapping": None, "created_at": 1_795_000_000_000,
}  # fmt: skip


def make_read(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    job: uuid.UUID = JOB,
    batch_no: int = 1,
    first_row_no: int = 1,
    faults: Iterable[RowFault] = (),
    excluded: Iterable[int] = (),
    lease_epoch: int = 1,
    run: int = 1,
    applied_through: int = 0,
    **options: Any,
) -> RowsRead:
    """A batch as read; `options` replaces some of OPTIONS."""
    return RowsRead(
        organization_id=ORGANIZATION,
        job_id=str(job),
        run=run,
        lease_epoch=lease_epoch,
        batch_no=batch_no,
        applied_through=applied_through,
        target="contacts",
        scope="",
        options=ImportOptions(**{**OPTIONS, **options}),
        first_row_no=first_row_no,
        columns=list(columns),
        rows=[list(row) for row in rows],
        lines=list(range(2, len(rows) + 2)),
        faults=list(faults),
        excluded=list(excluded),
        start=START,
        end=START,
        is_last=False,
        end_state="",
        end_reason="",
        read_at=1,
    )


@dataclass
class Lists:
    """Do-Not-Call lists: number to listing; `away` for those that cannot be asked."""

    listed: dict[str, Listing] = field(default_factory=dict)
    away: int = 0

    def listings(self, organization_id: str, numbers: Sequence[str]) -> Mapping[str, Listing]:
        if self.away:
            self.away -= 1
            raise ListUnavailable
        return {number: self.listed[number] for number in numbers if number in self.listed}


class Table(dict[bytes, bytes]):
    """An identities table of one partition in memory."""

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        assert b"" not in keys
        return [self.get(key) for key in keys]

    def write(self, writes: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in writes:
            if value is None:
                self.pop(key, None)
            else:
                self[key] = value


def look_ups(lists: Lists | None = None, table: Table | None = None) -> LookUps:
    """What the steps may ask here."""
    return LookUps(lists or Lists(), table if table is not None else Table(), SECRET)


def run_steps(read: RowsRead, steps: Iterable[Step], found: LookUps | None = None) -> Batch:
    """The batch behind some steps."""
    batch = Batch(read)
    for step in steps:
        step(batch, found or look_ups())
    return batch


@dataclass
class Sent:
    """A sender that keeps what it was given; offsets count up."""

    messages: list[tuple[str, bytes, bytes, dict[str, bytes]]] = field(default_factory=list)

    async def send(
        self, topic: str, key: bytes, value: bytes, *, partition: int | None = None, headers: Headers = ()
    ) -> int:
        self.messages.append((topic, key, value, dict(headers)))
        return len(self.messages) - 1
