"""The row rules, one case after the other: rules 2 to 10, as `decide` applies them."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from sluice.contact import Contact, ContactId, contact_id
from sluice.outcome import Drop, FieldFault, Outcome
from sluice.rules import Decision, MatchOn, OnDuplicate, Policy, Row, decide

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(days=9), NOW + timedelta(days=9)
JOB, OTHER_JOB = uuid.UUID(int=7 << 100 | 7 << 76), uuid.UUID(int=5 << 100 | 7 << 76)
ANN = {"email": "ann@example.com", "phone": "415-555-2671", "phone_formatted": "+14155552671", "city": "Ulm"}
BOB = {"email": "bob@example.com", "phone": "+14155552672", "phone_formatted": "+14155552672"}
MARK = {"do_not_call": "true", "dnc_list_id": "l", "dnc_reason": "asked"}


@dataclass
class Stored:
    """What the database holds, and how often it was asked."""

    contacts: list[Contact] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def by_email(self, email: str) -> Contact | None:
        return self._holder("email", email)

    def by_phone(self, phone: str) -> Contact | None:
        return self._holder("phone_formatted", phone)

    def _holder(self, name: str, value: str) -> Contact | None:
        self.asked.append(value)
        return next((each for each in self.contacts if each.values.get(name) == value), None)


def stored(*contents: dict[str, str], modified_at: datetime | None = EARLIER) -> Stored:
    """Contacts of an earlier job."""
    return Stored(
        [
            Contact(contact_id(OTHER_JOB, n), dict(values), version=3, modified_at=modified_at)
            for n, values in enumerate(contents, start=1)
        ]
    )


def policy(on_duplicate: str = "skip", match_on: str = "email") -> Policy:
    return Policy(JOB, NOW, OnDuplicate(on_duplicate), MatchOn(match_on))


def judge(
    given: Iterable[dict[str, str] | Row], held: Stored, on_duplicate: str = "skip", match_on: str = "email"
) -> Decision:
    rows = [
        each if isinstance(each, Row) else Row(number, dict(each))
        for number, each in enumerate(given, start=1)
    ]
    before = copy.deepcopy(held.contacts)
    decision = decide(rows, held, policy(on_duplicate, match_on))
    assert held.contacts == before, "stored contacts are never changed in place"
    assert len(decision.rows) == len(rows)
    return decision


def outcomes(decision: Decision) -> list[str]:
    return [each.outcome.value for each in decision.rows]


@pytest.mark.requirement("K-09")
@pytest.mark.parametrize(
    "outcome", [Outcome.EXCLUDED, Outcome.NO_IDENTITY, Outcome.INVALID, Outcome.SUPPRESSED_DNC]
)
def test_what_an_earlier_step_decided_stays_decided(outcome: Outcome) -> None:
    """Rules 2 to 5: a dropped row keeps outcome and faults, is not looked up and writes nothing."""
    faults = (FieldFault("email", "a", "b"), FieldFault("phone", "c", "d"))
    held = stored(ANN)
    decision = judge([Row(1, dict(ANN), drop=Drop(outcome, faults))], held, "overwrite")
    assert outcomes(decision) == [outcome.value]
    assert decision.rows[0].faults == faults
    assert decision.rows[0].contact_id is None
    assert not held.asked
    assert not decision.created
    assert not decision.updated


@dataclass(frozen=True)
class Case:
    """One row against what is stored."""

    name: str
    given: dict[str, str]
    expected: str
    on_duplicate: str = "skip"
    match_on: str = "email"
    held: Sequence[dict[str, str]] = (ANN, BOB)
    modified_at: datetime | None = None
    changes: dict[str, str] = field(default_factory=dict)


MATCHING = [
    Case("6: no match", {"email": "new@example.com"}, "created"),
    Case("6: match by e-mail", {"email": ANN["email"]}, "duplicate_existing"),
    Case("6: a phone is no match by e-mail", {"phone": "1", "phone_formatted": "+14155552699"}, "created"),
    Case("8: new by e-mail, but its phone is Ann's", ANN | {"email": "x@example.com"}, "conflict"),
    Case("6: match by phone", BOB | {"email": "x@example.com"}, "duplicate_existing", match_on="phone"),
    Case("8: new by phone, but its e-mail is Ann's", {"email": ANN["email"]}, "conflict", match_on="phone"),
    Case("6: either, by e-mail", {"email": ANN["email"]}, "duplicate_existing", match_on="either"),
    Case("6: either, by phone", BOB | {"email": "x@example.com"}, "duplicate_existing", match_on="either"),
    Case("6: either, both the same contact", ANN, "duplicate_existing", match_on="either"),
    Case("6: either, two contacts", ANN | {"email": BOB["email"]}, "conflict", match_on="either"),
    Case("6: the same under overwrite", ANN | {"email": BOB["email"]}, "conflict", "overwrite", "either"),
    Case("7: skip does not look at other identities", ANN | {"email": BOB["email"]}, "duplicate_existing"),
    Case("8: overwrite would take Ann's phone", ANN | {"email": BOB["email"]}, "conflict", "overwrite"),
    Case("8: filling would take Ann's phone", ANN | {"email": "c@x.co"}, "conflict", "fill_blanks",
         held=(ANN, {"email": "c@x.co"})),
    Case("8: a row that writes nothing takes nothing", ANN | {"email": BOB["email"], "city": ""}, "unchanged",
         "fill_blanks"),
]  # fmt: skip

WRITING = [
    Case("9: overwrite replaces", {"email": ANN["email"], "city": "Bonn"}, "updated", "overwrite",
         changes={"city": "Bonn"}),
    Case("9: overwrite with the same", dict(ANN), "unchanged", "overwrite"),
    Case("9: a number spelt otherwise", ANN | {"phone": "(415) 555-2671"}, "unchanged", "overwrite"),
    Case("9: overwrite fills too", {"email": ANN["email"], "title": "CTO"}, "updated", "overwrite",
         changes={"title": "CTO"}),
    Case("9: another number replaces both its forms", {"email": ANN["email"], "phone": "415 555 2699",
         "phone_formatted": "+14155552699"}, "updated", "overwrite",
         changes={"phone": "415 555 2699", "phone_formatted": "+14155552699"}),
    Case("9: fill_blanks keeps", {"email": ANN["email"], "city": "Bonn"}, "unchanged", "fill_blanks"),
    Case("9: and it fills", {"email": ANN["email"], "city": "Bonn", "title": "CTO"}, "updated", "fill_blanks",
         changes={"title": "CTO"}),
    Case("9: merge, later: given wins", {"email": ANN["email"], "city": "Bonn"}, "merged", "merge_newest",
         modified_at=LATER, changes={"city": "Bonn"}),
    Case("9: merge, earlier: only fills", {"email": ANN["email"], "city": "Bonn", "zip": "1"}, "merged",
         "merge_newest", modified_at=EARLIER - timedelta(1), changes={"zip": "1"}),
    Case("9: merge, same moment: not later", {"email": ANN["email"], "city": "Bonn"}, "unchanged",
         "merge_newest", modified_at=EARLIER),
    Case("9: merge, no time: only fills", {"email": ANN["email"], "city": "Bonn"}, "unchanged",
         "merge_newest"),
    Case("9: merge joins tags", {"email": "t@x.co", "tags": "b; c;a"}, "merged", "merge_newest",
         held=({"email": "t@x.co", "tags": "a;b"},), changes={"tags": "a;b;c"}),
    Case("9: merge, no new tag", {"email": "t@x.co", "tags": "b"}, "unchanged", "merge_newest",
         held=({"email": "t@x.co", "tags": "a;b"},), modified_at=LATER),
    Case("9: overwrite replaces tags", {"email": "t@x.co", "tags": "b"}, "updated", "overwrite",
         held=({"email": "t@x.co", "tags": "a;b"},), changes={"tags": "b"}),
    Case("10: not given clears nothing", {"email": ANN["email"]}, "unchanged", "overwrite"),
    Case("10: a blank under blanks=clear clears", {"email": ANN["email"], "city": ""}, "updated", "overwrite",
         changes={"city": ""}),
    Case("10: blank number clears both forms", {"email": ANN["email"], "phone": "", "phone_formatted": ""},
         "updated", "overwrite", changes={"phone": "", "phone_formatted": ""}),
    Case("10: filling never clears", {"email": ANN["email"], "city": ""}, "unchanged", "fill_blanks"),
]  # fmt: skip


@pytest.mark.requirement("S0-020", "S0-021", "S0-022", "S0-026", "K-01", "K-26", "T-20")
@pytest.mark.parametrize("case", MATCHING + WRITING, ids=lambda case: case.name)
def test_a_row_is_judged_by_the_rules(case: Case) -> None:
    """Each rule's outcome, and exactly the changes it says."""
    held = stored(*case.held)
    row = Row(1, dict(case.given), modified_at=case.modified_at)
    decision = judge([row], held, case.on_duplicate, case.match_on)
    assert outcomes(decision) == [case.expected]
    written = [*decision.created.values(), *decision.updated.values()]
    if case.expected in ("updated", "merged"):
        (after,) = written
        before = next(each for each in held.contacts if each.id == after.id)
        wanted = before.values | case.changes
        assert after.values == {name: value for name, value in wanted.items() if value}
        assert after.version == before.version + 1
        assert set(decision.rows[0].changed) == set(case.changes)
        assert decision.before == {after.id: before}
    elif case.expected == "created":
        (after,) = written
        assert after.id == contact_id(JOB, 1)
        assert after.values == case.given
        assert after.version == 1
    else:
        assert not written


@pytest.mark.requirement("K-01")
@pytest.mark.parametrize("match_on", ["email", "phone", "either"])
def test_a_conflict_names_the_contacts_and_writes_nothing(match_on: str) -> None:
    """Rules 6 and 8: both contacts are in the fault, so a person can review them."""
    held = stored(ANN, BOB)
    decision = judge([ANN | {"email": BOB["email"], "city": "Rom"}], held, "overwrite", match_on)
    (fault,) = decision.rows[0].faults
    named = {uuid.UUID(text).bytes for text in fault.value.split(",")}
    assert outcomes(decision) == ["conflict"]
    assert named == {each.id for each in held.contacts}
    assert not decision.updated


def test_a_later_row_sees_what_earlier_rows_did() -> None:
    """Rule 7: a contact of this job is duplicate_in_file, one of another job duplicate_existing."""
    decision = judge([{"email": "n@x.co"}, {"email": "n@x.co"}, ANN, {"email": "N2@x.co"}], stored(ANN))
    assert outcomes(decision) == ["created", "duplicate_in_file", "duplicate_existing", "created"]
    assert decision.rows[1].contact_id == contact_id(JOB, 1)


@pytest.mark.parametrize("on_duplicate", ["overwrite", "fill_blanks", "merge_newest"])
def test_the_net_effect_of_a_created_contact_is_one_creation(on_duplicate: str) -> None:
    """A contact that this call created and then changed is created once, as it was left."""
    decision = judge([{"email": "n@x.co"}, {"email": "n@x.co", "city": "Rom"}], stored(), on_duplicate)
    assert outcomes(decision) == ["created", "merged" if on_duplicate == "merge_newest" else "updated"]
    (created,) = decision.created.values()
    assert created.values == {"email": "n@x.co", "city": "Rom"}
    assert created.version == 2
    assert not decision.updated
    assert not decision.before


def test_an_identity_that_an_update_released_is_free_for_the_next_row() -> None:
    """Ann gets another number, so the next row may have her old one; the reverse order is a conflict."""
    new_number = {"email": ANN["email"], "phone": "x", "phone_formatted": "+14155552699"}
    taker = ANN | {"email": "new@x.co"}
    assert outcomes(judge([new_number, taker], stored(ANN), "overwrite")) == ["updated", "created"]
    assert outcomes(judge([taker, new_number], stored(ANN), "overwrite")) == ["conflict", "updated"]


def test_before_images_are_of_the_store_and_not_of_the_call() -> None:
    """Undo goes back behind the whole call, however often a contact was touched in it."""
    rows = [{"email": ANN["email"], "city": "Bonn"}, {"email": ANN["email"], "city": "Rom"}]
    held = stored(ANN)
    decision = judge(rows, held, "overwrite")
    (after,) = decision.updated.values()
    assert (after.values["city"], after.version) == ("Rom", 5)
    assert list(decision.before.values()) == held.contacts


@pytest.mark.parametrize(
    ("on_duplicate", "modified_at", "expected"),
    [
        ("overwrite", None, NOW),
        ("overwrite", LATER, LATER),
        ("fill_blanks", LATER, EARLIER),
        ("merge_newest", LATER, LATER),
        ("merge_newest", None, EARLIER),
    ],
)
def test_a_write_whose_values_win_stamps_the_time(
    on_duplicate: str, modified_at: datetime | None, expected: datetime
) -> None:
    """A row that only fills leaves the contact's time; replays do not depend on the clock."""
    row = Row(1, {"email": ANN["email"], "title": "CTO"}, modified_at=modified_at)
    (after,) = judge([row], stored(ANN), on_duplicate).updated.values()
    assert after.modified_at == expected


def test_a_created_contact_has_the_rows_time_or_the_jobs() -> None:
    """The time of a created contact is the source's own where it gives one."""
    rows = [Row(1, {"email": "a@x.co"}, modified_at=LATER), Row(2, {"email": "b@x.co"})]
    decision = judge(rows, stored())
    assert [each.modified_at for each in decision.created.values()] == [LATER, NOW]


@pytest.mark.requirement("K-43")
@pytest.mark.parametrize(
    ("on_duplicate", "given", "expected"),
    [
        ("skip", ANN, "duplicate_existing"),
        ("overwrite", ANN, "updated"),
        ("merge_newest", ANN, "merged"),
        ("skip", {"email": "new@x.co"}, "created"),
    ],
)
def test_a_listed_number_marks_whatever_contact_the_row_ends_at(
    on_duplicate: str, given: dict[str, str], expected: str
) -> None:
    """Under `flag` the mark is stored even where the row itself is a duplicate."""
    decision = judge([Row(1, dict(given), mark=MARK)], stored(ANN), on_duplicate)
    (after,) = [*decision.created.values(), *decision.updated.values()]
    assert outcomes(decision) == [expected]
    assert {name: after.values[name] for name in MARK} == MARK
    assert list(decision.suppressed) == ([after.id] if expected.startswith("duplicate") else [])


@pytest.mark.parametrize("on_duplicate", ["skip", "overwrite", "fill_blanks", "merge_newest"])
def test_a_marked_contact_keeps_its_first_mark(on_duplicate: str) -> None:
    """Another list's mark changes nothing, so a repeated import writes nothing."""
    held = stored(ANN | MARK)
    decision = judge([Row(1, dict(ANN), mark=MARK | {"dnc_list_id": "other"})], held, on_duplicate)
    assert not decision.updated
    assert not decision.suppressed


def test_each_stored_identity_is_asked_for_once() -> None:
    """The store is read once for each identity, however many rows share it."""
    held = stored(ANN)
    judge([ANN, ANN, ANN], held)
    assert sorted(held.asked) == sorted([ANN["email"], ANN["phone_formatted"]])


def test_rows_in_two_calls_end_as_rows_in_one() -> None:
    """Where batches are cut changes no outcome and no contact."""
    rows = [
        Row(1, {"email": "a@x.co", "city": "Rom"}),
        Row(2, ANN | {"city": "Bonn"}),
        Row(3, {"email": "a@x.co", "phone": "1", "phone_formatted": "+14155552671"}),
        Row(4, {"email": "a@x.co", "city": "Ulm"}),
        Row(5, {"email": ANN["email"], "phone": "2", "phone_formatted": "+14155552680"}),
        Row(6, {"email": "b@x.co", "phone": "3", "phone_formatted": "+14155552671"}),
    ]
    whole = judge(rows, stored(ANN), "overwrite")
    expected = _applied(stored(ANN).contacts, whole)
    for cut in range(1, len(rows)):
        first = decide(rows[:cut], stored(ANN), policy("overwrite"))
        between = list(_applied(stored(ANN).contacts, first).values())
        second = decide(rows[cut:], Stored(between), policy("overwrite"))
        assert outcomes(first) + outcomes(second) == outcomes(whole)
        assert _applied(between, second) == expected


def _applied(contacts: Iterable[Contact], decision: Decision) -> dict[ContactId, Contact]:
    return {each.id: each for each in contacts} | decision.created | decision.updated
