"""The identities table is told who really holds an identity, and only where a hint did not hold."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest

from sinks.batch import Batch, Hint, Position, batch_of
from sinks.holders import Holder, Holders, hinted_anew
from sinks.judging import Stored, choose
from sinks.overruled import Corrections, Hinted, correct_decided, correct_fast
from sluice.contact import Contact, contact_id, fingerprint, identity_hash, identity_key
from sluice.events import IdentitiesChanged
from sluice.job import new_job_id
from sluice.rules import decide
from tests.integration.sink_world import Given, ImportJob, message_of, options

SECRET = bytes(32)
X = bytes([1] * 16)
HELD = Contact(X, {"email": "a@x.com", "phone": "1", "phone_formatted": "+1"})
JOB = ImportJob(new_job_id(), uuid.uuid4(), options(on_duplicate="overwrite"))


def told(
    rows: Sequence[Given], hints: Sequence[tuple[int, bytes]], *held: Contact
) -> IdentitiesChanged | None:
    batch: Batch = batch_of(message_of(JOB, rows, hints, ""), Position(0, 0), b"")
    stored = Stored(held)
    decision = decide([batch.row(index) for index in range(len(rows))], stored, batch.policy)
    hinted = [
        Hinted(batch, index, hint, contact[:16], judged)
        for index, ((hint, contact), judged) in enumerate(zip(hints, decision.rows, strict=True))
    ]
    corrections = Corrections()
    correct_decided(corrections, hinted, stored, decision)
    return corrections.event(SECRET, batch)


@pytest.mark.parametrize(
    ("values", "hint", "held"),
    [
        ({"email": "b@x.com"}, (Hint.NEW, b""), True),
        ({"email": "a@x.com"}, (Hint.NEW, b""), False),
        (HELD.values, (Hint.SAME, X), True),
        (HELD.values, (Hint.IS, bytes(16)), False),
        ({"email": "b@x.com"}, (Hint.IS, X), False),
        ({"email": "b@x.com", "phone": "1", "phone_formatted": "+1"}, (Hint.CONFLICT, bytes(16) + X), True),
        ({"email": "b@x.com"}, (Hint.CONFLICT, X + X), False),
        ({"email": "a@x.com"}, (Hint.IS, X), False),
        ({"email": "a@x.com"}, (Hint.NONE, b""), True),
    ],
    ids=[
        "new and new",
        "new but known",
        "same and same",
        "somebody else",
        "gone",
        "conflict",
        "no conflict",
        "a part of its content",
        "no hint",
    ],
)
def test_only_wrong_hints_are_corrected(values: dict[str, str], hint: tuple[int, bytes], held: bool) -> None:
    """A hint that held costs no message."""
    assert (told([Given(dict(values))], [hint], HELD) is None) is held


def test_a_correction_names_the_holder_its_content_and_its_other_identity() -> None:
    """As the table keeps it: hashes under the organization's key, no address and no number."""
    row = Given({"email": "a@x.com", "phone": "2", "phone_formatted": "+2"})
    found = told([row], [(Hint.NEW, b"")], HELD)
    assert found is not None
    key = identity_key(SECRET, JOB.organization_id, "contacts", "")
    now = {"email": "a@x.com", "phone": "2", "phone_formatted": "+2"}
    email, phone = identity_hash(key, "email", "a@x.com"), identity_hash(key, "phone", "+2")
    assert [(c.kind, c.hash, c.contact_id, c.fingerprint, c.other_hash) for c in found.changes] == [
        ("email", email, X, fingerprint(now), phone)
    ]


def test_an_identity_that_nobody_holds_is_released() -> None:
    """A contact that was deleted elsewhere: its row made a new one, which is named instead."""
    found = told([Given({"email": "c@x.com"})], [(Hint.SAME, X)])
    assert found is not None
    assert [change.contact_id for change in found.changes] == [contact_id(JOB.id, 1)]


def corrected(row: Given, hint: tuple[int, bytes], *held: Holder) -> IdentitiesChanged | None:
    """What is told of one row that the sink settles by its own hint."""
    known = Holders()
    known.add(held)
    batch = batch_of(message_of(JOB, [row], [hint], ""), Position(0, 0), b"")
    anew = hinted_anew(batch, known)
    corrections = Corrections()
    correct_fast(corrections, batch, anew, choose([anew])[0], known)
    return corrections.event(SECRET, batch)


def test_a_row_settled_by_the_sinks_own_hint_corrects_the_streams() -> None:
    """The table is told the same as by the row rules, without a contact being read."""
    x = Holder(X, fingerprint(HELD.values), "a@x.com", "+1")
    key = identity_key(SECRET, JOB.organization_id, "contacts", "")
    email, phone = identity_hash(key, "email", "a@x.com"), identity_hash(key, "phone", "+1")
    for wrong in ((Hint.NEW, b""), (Hint.SAME, bytes(16)), (Hint.CONFLICT, X + X), (Hint.NONE, b"")):
        found = corrected(Given(dict(HELD.values)), wrong, x)
        assert found is not None
        assert [(c.kind, c.hash, c.contact_id, c.fingerprint, c.other_hash) for c in found.changes] == [
            ("email", email, X, fingerprint(HELD.values), phone)
        ]
    assert corrected(Given(dict(HELD.values)), (Hint.SAME, X), x) is None
    created = corrected(Given({"email": "b@x.com"}), (Hint.IS, X), x)
    assert created is not None
    assert [change.contact_id for change in created.changes] == [contact_id(JOB.id, 1)]
    assert corrected(Given({"email": "b@x.com"}), (Hint.NEW, b"")) is None


def test_either_is_hinted_only_where_all_that_a_row_is_matched_by_has_one_holder() -> None:
    """The others are left to the row rules: a hint that can never be confirmed would cost its whole group."""
    job = ImportJob(new_job_id(), uuid.uuid4(), options(match_on="either"))
    x, y = Holder(X, b"", "a@x.com", ""), Holder(bytes(16), b"", "b@x.com", "+2")
    known = Holders()
    known.add([x, y])
    rows = [
        Given({"email": "a@x.com"}),
        Given({"email": "a@x.com", "phone": "1", "phone_formatted": "+1"}),
        Given({"email": "b@x.com", "phone": "2", "phone_formatted": "+2"}),
        Given({"email": "a@x.com", "phone": "2", "phone_formatted": "+2"}),
        Given({"email": "c@x.com", "phone": "3", "phone_formatted": "+3"}),
    ]
    batch = batch_of(message_of(job, rows, [], ""), Position(0, 0), b"")
    hints = [hint for _, hint, _ in hinted_anew(batch, known).hints()]
    assert hints == [Hint.IS, Hint.NONE, Hint.IS, Hint.NONE, Hint.NEW]
