"""The changelog record: what is packed is what is written, and noise writes nothing."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import claims
from tests.unit.streams.batches import JOB, ORGANIZATION, SECRET, Table

SPACE = claims.space_of(SECRET, ORGANIZATION, "contacts", "")
A, B, E1, P1, P2, CONTENT = (bytes([n]) * 16 for n in range(1, 7))
HOLDS = claims.HOLDS_EMAIL | claims.HOLDS_PHONE


def head(batch_no: int = 1) -> claims.RecordHeader:
    return claims.header(
        organization_id=ORGANIZATION, target="contacts", scope="", at=5,
        job_id=str(JOB), batch_no=batch_no, lease_epoch=2,
    )  # fmt: skip


def test_a_record_writes_its_claims_and_its_batch() -> None:
    """Both identities of a contact, each with the other's hash, and the last batch of the job."""
    table = Table()
    table.write(claims.unpack(claims.pack(head(), [claims.claim(HOLDS, A + CONTENT, E1, P1)])))
    assert table == {
        SPACE.email(E1): A + CONTENT + P1,
        SPACE.phone(P1): A + CONTENT + E1,
        claims.seen_key(JOB.bytes): table[claims.seen_key(JOB.bytes)],
    }
    assert claims.seen_from(table[claims.seen_key(JOB.bytes)]) == claims.Seen(1, 2, 5)


def test_claims_are_written_in_their_order() -> None:
    """A number that is released and taken again within a batch is the taker's."""
    release = claims.claim(claims.RELEASES_PHONE, bytes(32), bytes(16), P1)
    take = claims.claim(HOLDS, B + CONTENT, E1, P1)
    table = Table()
    table.write(claims.unpack(claims.pack(head(), [release, take])))
    assert table[SPACE.phone(P1)].startswith(B)
    table.write(claims.unpack(claims.pack(head(2), [take, release])))
    assert SPACE.phone(P1) not in table


def test_a_record_that_no_batch_caused_moves_no_job() -> None:
    """Changes from outside write identities alone."""
    outside = claims.header(organization_id=ORGANIZATION, target="contacts", scope="", at=5)
    writes = claims.unpack(claims.pack(outside, [claims.claim(claims.HOLDS_EMAIL, A + CONTENT, E1, P1)]))
    assert [key for key, _ in writes] == [SPACE.email(E1)]


@given(
    records=st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 15),
                st.sampled_from([A, B]),
                st.sampled_from([E1, P2]),
                st.sampled_from([P1, P2]),
            ),
            max_size=4,
        ),
        max_size=6,
    )
)
def test_replaying_from_any_record_ends_the_same(
    records: list[list[tuple[int, bytes, bytes, bytes]]],
) -> None:
    """A recovery may read records that the disk holds already."""
    packed = [
        claims.pack(head(number), [claims.claim(flags, a + CONTENT, e, p) for flags, a, e, p in each])
        for number, each in enumerate(records, start=1)
    ]
    whole = Table()
    for record in packed:
        whole.write(claims.unpack(record))
    for start in range(len(packed)):
        again = Table(whole)
        for record in packed[start:]:
            again.write(claims.unpack(record))
        assert again == whole


@given(noise=st.binary(max_size=300))
@pytest.mark.requirement("B-03")
def test_noise_raises_nothing(noise: bytes) -> None:
    """A record of another version, or cut short, is passed over."""
    claims.unpack(noise)
    assert claims.unpack(b"\x02" + claims.pack(head(), [])[1:]) == []
    assert claims.unpack(claims.pack(head(), [])[:20]) == []


def test_target_and_scope_are_part_of_the_key() -> None:
    """A number of one campaign is another identity in the next (D12)."""
    spaces = {
        claims.space_of(SECRET, ORGANIZATION, target, scope)
        for target, scope in (
            ("contacts", ""),
            ("sms_recipients", ""),
            ("sms_recipients", str(uuid.UUID(int=1))),
        )
    }
    assert len({space.prefix for space in spaces}) == len({space.hash_key for space in spaces}) == 3
