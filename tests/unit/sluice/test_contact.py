"""Contact ids, fingerprints and identities."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice.contact import (
    CONTACTS,
    FIELDS,
    Contact,
    contact_id,
    contact_id_prefix,
    fingerprint,
    fingerprints,
    identity_hash,
    identity_key,
    join_tags,
    split_tags,
)
from sluice.job import new_job_id

COLUMNS = (*FIELDS, "phone_formatted", "custom_fields.a", "custom_fields.b")
JOBS = st.uuids(version=4) | st.builds(lambda: new_job_id())
ROWS = st.integers(1, 2**32 - 1)
SMALL_TEXTS = st.text(max_size=3) | st.sampled_from(["", "a", "b", "ab"])


@given(JOBS, ROWS)
def test_contact_ids_are_valid_uuids_of_version_8(job: uuid.UUID, row_no: int) -> None:
    """Any program that knows UUIDs takes them."""
    made = uuid.UUID(bytes=contact_id(job, row_no))
    assert (made.version, made.variant) == (8, uuid.RFC_4122)


@pytest.mark.requirement("B-04")
@given(JOBS, ROWS)
def test_a_repeated_row_gets_the_same_contact_id(job: uuid.UUID, row_no: int) -> None:
    """The id is a function of job and row alone, so a replay creates the same contact."""
    assert contact_id(job, row_no) == contact_id(uuid.UUID(str(job)), row_no)
    assert contact_id(job, row_no).startswith(contact_id_prefix(job))


@given(JOBS, ROWS, ROWS)
def test_contact_ids_sort_by_row_within_a_job(job: uuid.UUID, first: int, second: int) -> None:
    """New contacts go to the end of the index."""
    assert (contact_id(job, first) < contact_id(job, second)) == (first < second)


def test_contact_ids_of_later_jobs_are_larger() -> None:
    """Jobs of another millisecond sort by their birth, whatever their random bits."""
    numbers = random.Random(1)
    jobs = [
        uuid.UUID(int=at << 80 | 7 << 76 | numbers.getrandbits(12) << 64 | 1 << 63 | numbers.getrandbits(62))
        for at in range(1, 1000)
    ]
    ids = [contact_id(job, numbers.randrange(1, 2**32)) for job in jobs]
    assert ids == sorted(ids)


@given(st.lists(JOBS, min_size=2, max_size=2, unique=True))
def test_two_jobs_do_not_share_a_prefix(jobs: list[uuid.UUID]) -> None:
    """By the prefix a row knows whether its own job created a contact."""
    assert contact_id_prefix(jobs[0]) != contact_id_prefix(jobs[1])


@given(
    st.lists(st.sampled_from(COLUMNS), unique=True).flatmap(
        lambda columns: st.tuples(
            st.just(columns), st.lists(st.tuples(*[SMALL_TEXTS for _ in columns]), max_size=4)
        )
    )
)
@example((["phone", "phone_formatted"], [("555", "")]))
@example((["phone", "phone_formatted"], [("555", "+1555")]))
@example((["phone", "phone_formatted"], [("555", "+1555"), ("555", "")]))
@example((["phone"], [("555",)]))
def test_fingerprints_of_many_rows_agree_with_the_definition(
    given_rows: tuple[list[str], list[tuple[str, ...]]],
) -> None:
    """The form for many rows under one header gives the same bytes as the plain one."""
    columns, rows = given_rows
    values = {name: [row[index] for row in rows] for index, name in enumerate(columns)}
    expected = [fingerprint(dict(zip(columns, row, strict=True))) for row in rows]
    assert fingerprints(values, len(rows)) == expected
    assert all(len(each) == 16 for each in expected)


def test_fingerprints_ignore_order_absence_and_spelling_of_a_number() -> None:
    """Equal contents have equal fingerprints: absent is empty, and a number counts by its E.164 form."""
    assert fingerprint({"email": "a@b.co", "city": "Ulm"}) == fingerprint({"city": "Ulm", "email": "a@b.co"})
    assert fingerprint({"email": "a@b.co", "city": ""}) == fingerprint({"email": "a@b.co"})
    number = {"phone_formatted": "+14155552671"}
    assert fingerprint({"phone": "415-555-2671"} | number) == fingerprint(
        {"phone": "(415) 555 2671"} | number
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"city": "Ulm"}, {"city": "Bonn"}),
        ({"city": "Ulm"}, {"state": "Ulm"}),
        ({"city": "a", "state": "b"}, {"city": "ab"}),
        ({"city": "a", "notes": "state"}, {"city": "anotes", "state": ""}),
        ({"phone": "12"}, {"phone": "13"}),
        ({"phone": "12"}, {}),
        ({"do_not_call": "true"}, {}),
    ],
)
def test_another_content_has_another_fingerprint(one: dict[str, str], other: dict[str, str]) -> None:
    """A change is never taken for none, even where joined texts would look alike."""
    assert fingerprint(one) != fingerprint(other)


def test_identities_are_hashed_per_organization_target_scope_and_kind() -> None:
    """The same address gives unrelated hashes in two tenants, so a table tells nothing across them."""
    secret, first, second = b"s" * 32, uuid.UUID(int=1), uuid.UUID(int=2)
    keys = {
        identity_key(secret, first, "contacts"),
        identity_key(secret, second, "contacts"),
        identity_key(secret, first, "phone_numbers"),
        identity_key(secret, first, "contacts", "campaign"),
        identity_key(b"t" * 32, first, "contacts"),
    }
    hashes = {identity_hash(key, kind, "x") for key in keys for kind in ("email", "phone")}
    assert len(keys) == 5
    assert len(hashes) == 10
    assert {len(each) for each in hashes} == {16}


@pytest.mark.requirement("K-01")
def test_a_contact_has_two_identities() -> None:
    """The lower-cased address and the E.164 number; the number as typed is none."""
    contact = Contact(b"0" * 16, {"email": "a@b.co", "phone": "(415) 555-2671"})
    assert CONTACTS.identities == ("email", "phone")
    assert contact.identity("email") == "a@b.co"
    assert contact.identity("phone") == ""


@given(st.text(alphabet="ab ;", max_size=12))
def test_tags_are_trimmed_each_once_and_join_back(text: str) -> None:
    """Splitting what was joined gives the same tags in the same order."""
    tags = split_tags(text)
    assert split_tags(join_tags(tags)) == tags
    assert all(tag == tag.strip() and tag for tag in tags)
    assert len(set(tags)) == len(tags)
