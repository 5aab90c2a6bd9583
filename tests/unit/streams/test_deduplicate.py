"""Deduplicate: hints that the row rules would agree with, and claims that keep them so."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.contact import Contact, ContactId, contact_id
from sluice.outcome import Drop, Outcome
from sluice.rules import Decision, MatchOn, OnDuplicate, Policy, Row, decide
from streams import claims
from streams.batch import NOBODY, Batch
from streams.look_ups import Listing
from streams.steps.deduplicate import Hint, deduplicate
from streams.steps.normalize import normalize
from streams.steps.scrub import scrub
from streams.steps.validate import validate
from tests.unit.streams.batches import JOB, Lists, Table, look_ups, make_read, run_steps

COLUMNS = ["email", "phone", "city"]
STEPS = (normalize, validate, scrub, deduplicate)
PHONES = ["415-555-2671", "415-555-2672", "415-555-2673"]


def hinted(table: Table, *rows: list[str], lists: Lists | None = None, **more: Any) -> Batch:
    """A batch behind all steps, its claims written to the table."""
    batch = run_steps(make_read(more.pop("columns", COLUMNS), rows, **more), STEPS, look_ups(lists, table))
    table.write(claims.unpack(record_of(batch)))
    return batch


def record_of(batch: Batch) -> bytes:
    read = batch.read
    head = claims.header(
        organization_id=read.organization_id, target=read.target, scope=read.scope, at=1,
        job_id=read.job_id, batch_no=read.batch_no, lease_epoch=read.lease_epoch,
    )  # fmt: skip
    return claims.pack(head, batch.claims)


def contacts_of(batch: Batch) -> list[list[ContactId]]:
    """The contacts that each row's hint names."""
    sizes = {Hint.IS: 1, Hint.SAME: 1, Hint.CONFLICT: 2}
    found, at = [], 0
    for hint in batch.hints:
        size = sizes.get(Hint(hint), 0)
        found.append([batch.hinted[16 * i : 16 * i + 16] for i in range(at, at + size)])
        at += size
    assert len(batch.hinted) == 16 * at
    return found


@pytest.mark.requirement("B-03", "S0-020", "K-01")
def test_rows_of_one_batch_know_each_other() -> None:
    """An earlier row's contact is known to the later ones, before anything is written."""
    batch = hinted(
        Table(),
        ["a@b.de", PHONES[0], "Ulm"],
        ["a@b.de", PHONES[0], "Ulm"],
        ["a@b.de", "", ""],
        ["c@b.de", PHONES[0], ""],
        ["", "", "x"],
    )
    assert list(batch.hints) == [Hint.NEW, Hint.SAME, Hint.IS, Hint.CONFLICT, Hint.NONE]
    first = contact_id(JOB, 1)
    assert contacts_of(batch) == [[], [first], [first], [NOBODY, first], []]


def test_either_names_both_contacts_of_a_conflict() -> None:
    """The e-mail's holder first, then the phone's."""
    table = Table()
    hinted(table, ["a@b.de", "", ""], ["", PHONES[0], ""])
    batch = hinted(table, ["a@b.de", PHONES[0], ""], job=uuid.uuid4(), match_on="either")
    assert contacts_of(batch) == [[contact_id(JOB, 1), contact_id(JOB, 2)]]


def test_a_repeat_gives_the_hints_of_the_first_time() -> None:
    """What a batch finds of its own earlier passing is not held against it."""
    table = Table()
    rows = [["a@b.de", PHONES[0], "Ulm"], ["a@b.de", "", "Bonn"], ["c@b.de", PHONES[1], ""]]
    first = hinted(table, *rows, on_duplicate="overwrite")
    again = hinted(table, *rows, on_duplicate="overwrite")
    assert (again.hints, again.hinted, again.claims) == (first.hints, first.hinted, first.claims)


def test_a_further_run_finds_what_later_rows_hold() -> None:
    """A healed row comes after rows with higher numbers; what itself left behind is not held against it."""
    table = Table()
    hinted(table, ["b@b.de", "", "Ulm"], first_row_no=7)
    healed = hinted(table, ["b@b.de", "", "Bonn"], ["c@b.de", "", ""], first_row_no=3, run=2, batch_no=2)
    assert list(healed.hints) == [Hint.IS, Hint.NEW]
    assert contacts_of(healed) == [[contact_id(JOB, 7)], []]
    again = hinted(table, ["b@b.de", "", "Bonn"], ["c@b.de", "", ""], first_row_no=3, run=2, batch_no=2)
    assert (again.hints, again.hinted) == (healed.hints, healed.hinted)


def test_an_overwritten_phone_is_released() -> None:
    """The number that a contact gives up is free for the next."""
    table = Table()
    hinted(table, ["a@b.de", PHONES[0], ""])
    hinted(table, ["a@b.de", PHONES[1], ""], job=uuid.uuid4(), on_duplicate="overwrite")
    batch = hinted(table, ["c@b.de", PHONES[0], ""], ["d@b.de", PHONES[1], ""], job=uuid.uuid4())
    assert list(batch.hints) == [Hint.NEW, Hint.CONFLICT]


def test_a_cleared_phone_is_released() -> None:
    """Under blanks=clear an empty cell gives the number up."""
    table = Table()
    hinted(table, ["a@b.de", PHONES[0], ""])
    hinted(table, ["a@b.de", "", ""], job=uuid.uuid4(), on_duplicate="overwrite", blanks="clear")
    assert list(hinted(table, ["c@b.de", PHONES[0], ""], job=uuid.uuid4()).hints) == [Hint.NEW]


@pytest.mark.parametrize("mode", [{"mode": "atomic"}, {"dry_run": True}])
def test_a_staged_job_gives_no_hints_and_claims_nothing(mode: dict[str, Any]) -> None:
    """It is judged whole at its end (D14); its rows still carry fingerprints."""
    table = Table()
    batch = hinted(table, ["a@b.de", "", ""], **mode)
    assert (batch.hints, batch.claims) == (b"\x00", [])
    assert len(batch.fingerprints) == 16
    assert batch.fingerprints != NOBODY
    assert set(table) == {claims.seen_key(JOB.bytes)}


def test_a_row_with_a_time_of_its_own_is_never_the_same() -> None:
    """It may have to stamp the contact, which its content does not tell."""
    table = Table()
    columns = [*COLUMNS, "modified at"]
    hinted(table, ["a@b.de", "", "Ulm", ""], columns=columns)
    batch = hinted(table, ["a@b.de", "", "Ulm", "2024-05-31"], columns=columns, job=uuid.uuid4())
    assert list(batch.hints) == [Hint.IS]


def test_a_mark_is_part_of_the_content() -> None:
    """A contact that is marked now is not the same as it was unmarked, and is the same the next time."""
    table = Table()
    lists = Lists({"+14155552671": Listing("l", 1, "2026-01-01", "asked")})
    row = ["a@b.de", PHONES[0], "Ulm"]
    hinted(table, row)
    job, later = uuid.uuid4(), uuid.uuid4()
    assert list(hinted(table, row, lists=lists, job=job, on_duplicate="overwrite").hints) == [Hint.IS]
    assert list(hinted(table, row, lists=lists, job=later, on_duplicate="overwrite").hints) == [Hint.SAME]


def test_organizations_do_not_know_each_other() -> None:
    """The same address in another organization is another identity, under another key and prefix."""
    spaces = [claims.space_of(b"s" * 32, str(uuid.UUID(int=n)), "contacts", "") for n in (1, 2)]
    assert spaces[0].prefix != spaces[1].prefix
    assert spaces[0].hash_key != spaces[1].hash_key


class Stored:
    """A database of one organization, written by the row rules."""

    def __init__(self) -> None:
        self.contacts: dict[ContactId, Contact] = {}

    def by_email(self, email: str) -> Contact | None:
        return self._holder("email", email)

    def by_phone(self, phone: str) -> Contact | None:
        return self._holder("phone_formatted", phone)

    def _holder(self, name: str, value: str) -> Contact | None:
        return next((each for each in self.contacts.values() if each.values.get(name) == value), None)

    def apply(self, batch: Batch, policy: Policy, first_row_no: int) -> Decision:
        rows = [
            Row(
                row_no=first_row_no + index,
                values={name: value for name, value in zip(batch.columns, row, strict=True) if value},
                drop=Drop(Outcome(batch.refusals[index].outcome)) if index in batch.refusals else None,
            )
            for index, row in enumerate(batch.rows())
        ]
        decision = decide(rows, self, policy)
        self.contacts |= decision.created | decision.updated
        return decision


_rows = st.lists(
    st.tuples(
        st.sampled_from(["", "a@b.de", "c@b.de", "d@b.de", "not one"]),
        st.sampled_from(["", *PHONES]),
        st.sampled_from(["", "Ulm", "Bonn"]),
    ).map(list),
    min_size=1,
    max_size=6,
)
_jobs = st.lists(
    st.tuples(
        st.sampled_from(list(OnDuplicate)), st.sampled_from(list(MatchOn)), st.lists(_rows, max_size=3)
    ),
    max_size=4,
)


@pytest.mark.requirement("K-01", "K-09")
@given(jobs=_jobs)
@settings(max_examples=300, deadline=None)
def test_hints_say_what_the_row_rules_say(
    jobs: Sequence[tuple[OnDuplicate, MatchOn, list[list[list[str]]]]],
) -> None:
    """With a table that saw everything, each hint is the outcome that the rules come to."""
    table, stored = Table(), Stored()
    for number, (on_duplicate, match_on, batches) in enumerate(jobs, start=1):
        job, row_no = uuid.UUID(int=number << 80 | 7 << 76 | 1 << 63), 1
        policy = Policy(job, datetime(2026, 1, 1, tzinfo=UTC), on_duplicate, match_on)
        for batch_no, rows in enumerate(batches, start=1):
            batch = hinted(
                table, *rows, job=job, batch_no=batch_no, first_row_no=row_no,
                on_duplicate=on_duplicate.value, match_on=match_on.value,
            )  # fmt: skip
            decision = stored.apply(batch, policy, row_no)
            for hint, named, judged in zip(batch.hints, contacts_of(batch), decision.rows, strict=True):
                assert _agrees(Hint(hint), named, judged.outcome, judged.contact_id), (hint, judged)
            row_no += len(rows)


def _agrees(hint: Hint, named: list[ContactId], outcome: Outcome, contact: ContactId | None) -> bool:
    match hint:
        case Hint.NONE:
            return outcome in (Outcome.INVALID, Outcome.NO_IDENTITY)
        case Hint.NEW:
            return outcome is Outcome.CREATED
        case Hint.SAME:
            same = (Outcome.UNCHANGED, Outcome.DUPLICATE_EXISTING, Outcome.DUPLICATE_IN_FILE)
            return outcome in same and [contact] == named
        case Hint.CONFLICT:
            return outcome is Outcome.CONFLICT and contact == (named[1] if named[0] == NOBODY else named[0])
        case Hint.IS:
            # Under the filling policies only the content tells whether it comes to a conflict.
            return [contact] == named and outcome not in (Outcome.CREATED, Outcome.INVALID)
