"""The acceptance rule of D13, and changes from outside in packed form."""

from __future__ import annotations

import asyncio
from pathlib import Path

import faust
import pytest

from sluice.events import IdentitiesChanged, IdentityChange
from sluice.topics import IDENTITIES_CHANGELOG, STREAMS_GROUP
from streams import claims
from streams.batch import Batch
from streams.claims import Seen
from streams.identities import SEEN_SECONDS, Acceptance, Identities, accept, claims_of
from streams.store import PartitionStore
from tests.unit.streams.batches import JOB, ORGANIZATION, SECRET, Sent, make_read

SPACE = claims.space_of(SECRET, ORGANIZATION, "contacts", "")


@pytest.mark.parametrize(
    ("batch_no", "applied_through", "lease_epoch", "seen", "expected"),
    [
        (1, 0, 1, None, Acceptance.NEXT),
        (2, 0, 1, None, Acceptance.AHEAD),
        (2, 1, 1, None, Acceptance.NEXT),
        (6, 3, 1, Seen(5, 1, 0), Acceptance.NEXT),
        (7, 3, 1, Seen(5, 1, 0), Acceptance.AHEAD),
        (5, 3, 1, Seen(5, 1, 0), Acceptance.REPEAT),
        (2, 3, 1, Seen(5, 1, 0), Acceptance.REPEAT),
        (9, 8, 1, Seen(5, 1, 0), Acceptance.NEXT),
        (6, 3, 1, Seen(5, 2, 0), Acceptance.OUTDATED),
        (5, 3, 3, Seen(5, 2, 0), Acceptance.REPEAT),
    ],
)
def test_a_batch_is_taken_behind_its_predecessors(
    batch_no: int, applied_through: int, lease_epoch: int, seen: Seen | None, expected: Acceptance
) -> None:
    """What is known here or applied counts as before it; a lease that was taken over counts for nothing."""
    read = make_read([], [], batch_no=batch_no, applied_through=applied_through, lease_epoch=lease_epoch)
    assert accept(read, seen) is expected


def change(kind: str, held: bytes | None, *, other: bytes = b"", digest: bytes = b"h" * 16) -> IdentityChange:
    return IdentityChange(kind=kind, hash=digest, contact_id=held, fingerprint=b"", other_hash=other)


def test_changes_from_outside_hold_and_release() -> None:
    """A contact holds both its identities; what has not its sixteen bytes is nobody's."""
    changed = IdentitiesChanged(
        organization_id=ORGANIZATION,
        target="contacts",
        scope="",
        changes=[
            change("email", b"c" * 16, other=b"o" * 16),
            change("phone", None),
            change("email", b"c" * 16, digest=b"short"),
            change("fax", b"c" * 16),
        ],
    )
    head = claims.header(organization_id=ORGANIZATION, target="contacts", scope="", at=1)
    assert claims.unpack(claims.pack(head, claims_of(changed))) == [
        (SPACE.email(b"h" * 16), b"c" * 16 + bytes(16) + b"o" * 16),
        (SPACE.phone(b"o" * 16), b"c" * 16 + bytes(16) + b"h" * 16),
        (SPACE.phone(b"h" * 16), None),
    ]


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    """The table of an app that is not started, with a sender that keeps what it is given."""
    app = faust.App(STREAMS_GROUP, id_format="{id}", autodiscover=False, store="memory://")
    store = PartitionStore(tmp_path, "topic")
    store.hold(0)
    return Identities(app, store, Sent())


async def test_one_batch_is_one_record(identities: Identities) -> None:
    """It is in the changelog before it is on the disk, and tells which batch was accepted."""
    batch = Batch(make_read([], [], batch_no=4, lease_epoch=2))
    batch.claims = [claims.claim(claims.HOLDS_EMAIL, b"c" * 16 + b"f" * 16, b"e" * 16, bytes(16))]
    assert identities.seen(0, JOB.bytes) is None
    await identities.record_batch(0, batch, now_ms=5)
    sent = identities._sender
    assert isinstance(sent, Sent)
    assert [(topic, key) for topic, key, *_ in sent.messages] == [
        (IDENTITIES_CHANGELOG, ORGANIZATION.encode())
    ]
    assert identities.seen(0, JOB.bytes) == Seen(4, 2, 5)
    assert identities.of(0).get_many([SPACE.email(b"e" * 16)]) == [b"c" * 16 + b"f" * 16 + bytes(16)]


async def test_a_partition_that_was_given_up_is_not_written(identities: Identities) -> None:
    """Its new owner reads the record from the changelog."""
    await identities.record_batch(1, Batch(make_read([], [])), now_ms=5)
    assert not identities.table.partition_store.holds(1)


async def test_records_of_a_partition_are_written_one_at_a_time(identities: Identities) -> None:
    """Two agents write the same table: the disk's offset never runs ahead of what is applied."""
    batches = [Batch(make_read([], [], batch_no=number)) for number in range(1, 20)]
    await asyncio.gather(*(identities.record_batch(0, batch, now_ms=5) for batch in batches))
    assert identities.table.partition_store.persisted_offset(0) == len(batches) - 1
    assert identities.seen(0, JOB.bytes) == Seen(19, 1, 5)


async def test_a_job_is_forgotten_a_week_after_its_last_batch(identities: Identities) -> None:
    """Its topic can send no more of it then."""
    await identities.record_batch(0, Batch(make_read([], [])), now_ms=1000)
    assert identities.forget_old_jobs(0, 1000 + SEEN_SECONDS * 1000) == 0
    assert identities.forget_old_jobs(0, 1001 + SEEN_SECONDS * 1000) == 1
    assert identities.seen(0, JOB.bytes) is None
