"""What a dry run keeps of the changes it would make: enough to decide by, and never more than a limit."""

from __future__ import annotations

import io

import msgspec

from sinks.foretelling import MAX_BATCH_BYTES, MAX_FIELDS, MAX_TEXT, Spool, changes_json, changes_of
from sinks.judging import Result
from sluice.contact import Contact
from sluice.outcome import Outcome
from sluice.rules import Judged


def result_of(*rows: tuple[dict[str, str], dict[str, str]]) -> Result:
    """A batch of updates: values before and after."""
    result = Result([""] * len(rows), bytearray(16 * len(rows)))
    for index, (before, after) in enumerate(rows):
        contact, changed = Contact(bytes(16), before), tuple(name for name in before | after)
        judged = Judged(
            Outcome.UPDATED, bytes(16), after=Contact(bytes(16), after, 2), changed=changed, before=contact
        )
        result.record(index, judged)
    return result


def test_a_change_is_a_field_before_and_after() -> None:
    """Null for what was not there or is no more."""
    result = result_of(({"city": "Ulm", "notes": "x"}, {"city": "Bonn", "title": "Dr."}))
    assert changes_of(result) == {
        "0": {"city": ["Ulm", "Bonn"], "notes": ["x", None], "title": [None, "Dr."]}
    }


def test_a_row_that_is_judged_anew_foretells_anew() -> None:
    """Nothing is left of what an earlier try said."""
    result = result_of(({"city": "Ulm"}, {"city": "Bonn"}))
    result.record(0, Judged(Outcome.UNCHANGED, bytes(16)))
    assert changes_of(result) == {}


def test_long_values_many_fields_and_many_rows_are_cut() -> None:
    """However much an import changes, a batch's changes stay below their limit."""
    many = {f"custom_fields.{n}": "x" * 1000 for n in range(3 * MAX_FIELDS)}
    changes = changes_of(result_of(*[({}, many)] * 500))
    assert 0 < len(changes) < 500
    assert len(changes["0"]) == MAX_FIELDS
    assert changes["0"]["custom_fields.0"] == [None, "x" * (MAX_TEXT - 1) + "…"]
    assert len(changes_json(changes)) <= MAX_BATCH_BYTES + 10 * len(changes)


def test_a_spool_gives_back_what_it_took() -> None:
    """In any order; nothing for a batch that changes nothing."""
    spool = Spool(io.BytesIO())
    kept = {n: changes_of(result_of(({"city": "Ulm"}, {"city": f"No. {n}"}))) for n in (1, 2, 3)}
    for number, changes in kept.items():
        spool.add(number, changes)
    spool.add(4, {})
    assert [msgspec.to_builtins(spool.of(n)) for n in (3, 1, 2, 4)] == [kept[3], kept[1], kept[2], {}]
