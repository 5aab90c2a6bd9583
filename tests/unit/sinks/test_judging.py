"""Which rows the fast path takes, and when it must not."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from sinks import judging
from sinks.batch import Batch, Hint, Position, batch_of
from sinks.judging import Choice, Result, Stored
from sluice.contact import Contact, contact_id
from sluice.job import new_job_id
from sluice.outcome import Outcome, decode_outcomes
from tests.integration.sink_world import Given, ImportJob, message_of, options

X, Y = bytes([1] * 16), bytes([2] * 16)
JOB = new_job_id()


def batch(rows: Sequence[Given], hints: Sequence[tuple[int, bytes]], **given: Any) -> Batch:
    job = ImportJob(JOB, uuid.uuid4(), options(**given))
    return batch_of(message_of(job, rows, hints, ""), Position(0, 0), b"")


def row(email: str = "", phone: str = "", **given: Any) -> Given:
    return Given({"email": email, "phone": phone, "phone_formatted": phone}, **given)


A, B, C = row("a@x.com", "+1"), row("b@x.com", "+2"), row("c@x.com", "+3")


def test_new_rows_that_share_nothing_take_the_fast_path() -> None:
    """A batch of new rows is one range, without a look at each row."""
    (choice,) = judging.choose([batch([A, B, C], [(Hint.NEW, b"")] * 3)])
    assert choice == Choice(new=range(3))


@pytest.mark.parametrize("twin", [row("a@x.com", "+9"), row("z@x.com", "+1"), row("a@x.com")])
def test_rows_that_share_an_identity_are_decided_in_order(twin: Given) -> None:
    """Across batches of the segment too: only the row that shares nothing stays fast."""
    first = batch([A, B], [(Hint.NEW, b"")] * 2)
    second = batch([twin], [(Hint.NEW, b"")])
    assert judging.choose([first, second]) == [Choice(new=[1], open=[0]), Choice(new=[], open=[0])]


@pytest.mark.parametrize(
    ("match_on", "found", "is_fast"),
    [
        ("email", A, True),
        ("email", row(phone="+1"), False),
        ("phone", row("a@x.com"), False),
        ("phone", A, True),
        ("either", row(phone="+1"), True),
    ],
)
def test_equal_content_is_a_match_only_by_an_identity_that_counts(
    match_on: str, found: Given, is_fast: bool
) -> None:
    """With match_on=email a row without e-mail matches nobody, however equal the content."""
    (choice,) = judging.choose([batch([found], [(Hint.SAME, X)], match_on=match_on)])
    assert (choice.same == [(0, X)], list(choice.open) == [0]) == (is_fast, not is_fast)


def test_a_known_contact_is_fast_only_where_nothing_is_written() -> None:
    """`is X` under skip; not under another policy, and not when a mark is to be set."""
    assert judging.choose([batch([A], [(Hint.IS, X)])])[0].known == [(0, X)]
    assert judging.choose([batch([A], [(Hint.IS, X)], on_duplicate="overwrite")])[0].open == [0]
    listed = row("a@x.com", "+1", listed=True)
    assert judging.choose([batch([listed], [(Hint.IS, X)])])[0].open == [0]


def test_hints_that_say_nothing_are_decided() -> None:
    """No hint and a conflict; the ids behind a conflict's two do not slip."""
    hints = [(Hint.NONE, b""), (Hint.CONFLICT, Y + Y), (Hint.SAME, X)]
    (choice,) = judging.choose([batch([A, B, C], hints)])
    assert (choice.open, choice.same) == ([0, 1], [(2, X)])


def test_settled_rows_are_in_no_choice() -> None:
    """A refused row is not judged again, neither fast nor open."""
    found = batch([A, row("b@x.com", refused=Outcome.INVALID)], [(Hint.NEW, b""), (Hint.NONE, b"")])
    assert judging.choose([found]) == [Choice(new=[0], open=[])]
    assert judging.all_open([found]) == [Choice(open=[0])]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (Contact(X, {"email": "other@x.com"}), True),
        (Contact(Y, {"email": "a@x.com"}), True),
        (Contact(Y, {"phone_formatted": "+2"}), True),
        (Contact(Y, {"email": "other@x.com", "phone_formatted": "+9"}), False),
    ],
    ids=["a hinted contact", "an address", "a number", "nothing of theirs"],
)
def test_fast_rows_are_entangled_with_contacts_that_open_rows_touch(held: Contact, expected: bool) -> None:
    """What an open row may release or change must not be what a fast row counts on."""
    found = batch([A, B, C], [(Hint.SAME, X), (Hint.NEW, b""), (Hint.NONE, b"")])
    choices = judging.choose([found])
    assert judging.entangled([found], choices, Stored([held])) is expected


def test_results_name_the_contacts_of_fast_rows() -> None:
    """A new row's contact is derived from its number; an own contact makes a duplicate in the file."""
    own = contact_id(JOB, 77)
    found = batch([A, B, C], [(Hint.NEW, b""), (Hint.SAME, own), (Hint.IS, X)])
    (choice,) = judging.choose([found])
    result = Result.of(found)
    judging.settle_fast(found, choice, result)
    assert decode_outcomes("".join(result.letters)) == [
        Outcome.CREATED,
        Outcome.DUPLICATE_IN_FILE,
        Outcome.DUPLICATE_EXISTING,
    ]
    assert [result.contact(index) for index in range(3)] == [contact_id(JOB, 1), own, X]
