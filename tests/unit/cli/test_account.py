"""The account that a person sees, and what a program learns from the exit code."""

from __future__ import annotations

from typing import Any

import pytest

from cli import account, output
from cli.account import MEANINGS, disagreeing
from cli.commands.imports import Pair, exit_code
from cli.demo import STEPS, problems
from cli.watching import expected_rows
from sluice.outcome import REFUSED, Outcome


def job(state: str = "completed", total: int | None = None, **counts: Any) -> dict[str, Any]:
    whole = dict.fromkeys([each.value for each in Outcome], 0) | counts
    decided = sum(whole.values()) - whole["cancelled"]
    return {
        "id": "01a1fe0b-9186-7903-97c2-3646b3e4936c",
        "state": state,
        "reason": None,
        "counts": whole,
        "total_rows": decided if total is None else total,
        "processed_rows": decided,
        "file": {"name": "[red]contacts[/red].csv"},
        "created_at": "2026-01-02T03:04:05.678Z",
    }


@pytest.mark.requirement("K-09", "S0-030")
def test_every_outcome_has_words_for_a_person() -> None:
    """None of them is shown as a bare code."""
    assert set(MEANINGS) == set(Outcome)


@pytest.mark.parametrize(
    ("state", "counts", "code"),
    [
        ("completed", {"created": 3}, 0),
        ("completed", {}, 0),
        ("completed", {"created": 1, "suppressed_dnc": 1, "excluded": 1, "duplicate_existing": 1}, 0),
        *[("completed", {"created": 3, outcome.value: 1}, 3) for outcome in sorted(REFUSED)],
        ("failed", {"created": 3}, 1),
        ("failed", {"invalid": 3}, 1),
        ("cancelled", {"cancelled": 3}, 1),
    ],
)
def test_the_exit_code_says_how_it_ended(state: str, counts: dict[str, int], code: int) -> None:
    """0 all well, 1 not completed, 3 completed with rows that a person has to mend."""
    assert exit_code(job(state, **counts)) == code
    assert (output.OK, output.FAILED, output.USAGE, output.FINISHED_WITH_REJECTED_ROWS) == (0, 1, 2, 3)


def test_an_undo_is_shown_with_what_was_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """The counts, the first of the kept contacts by name, and where the rest is."""
    counts = {"total": 9, "done": 9, "reversed": 6, "kept_edited": 2, "kept_colliding": 1, "left_lists": 4}
    kept = [{"contact_id": "c1", "contact": {"email": "[b]@example.com"}, "message": "It was edited."}]
    account.show_undo({**job("undone"), "undo": counts}, kept)
    shown = capsys.readouterr().out
    for text in ("6", "2", "1", "4", "c1 [b]@example.com: It was edited.", "/undo"):
        assert text in shown
    account.show_undo({**job("undone"), "undo": {**counts, "kept_edited": 0}}, kept)
    assert "The rest is listed" not in capsys.readouterr().out


def test_an_account_that_does_not_sum_is_noticed() -> None:
    """Cancelled rows were read but are in no total; everything else has to agree."""
    assert disagreeing([("a", job(created=5)), ("b", job(cancelled=4, invalid=1))]) == []
    assert disagreeing([("a", job(created=5)), ("b", job(total=6, created=5))]) == ["b"]
    assert disagreeing([("c", job(pending=2))]) == []


def test_the_demo_fails_when_an_outcome_is_missing_or_a_row_is_lost() -> None:
    """It checks what it shows."""
    everything: dict[str, Any] = {each.value: 1 for each in Outcome if each is not Outcome.FAILED}
    assert problems([("first", job(**everything))]) == []
    (missing,) = problems([("first", job(**everything | {"merged": 0, "conflict": 0}))])
    assert "merged, conflict" in missing
    (lost,) = problems([("first", job(total=99, **everything))])
    assert lost.startswith("first:")
    assert len({step.title for step in STEPS}) == len(STEPS)


def test_tables_show_counts_and_no_markup_of_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name and a row's values come from outside."""
    account.show(job(created=1200, invalid=3))
    account.show_jobs([job(created=1200, invalid=3)])
    row = {
        "row_no": 7,
        "source_line": 8,
        "outcome": "invalid",
        "contact_id": None,
        "errors": [{"field": "email", "message": "[bold]odd[/bold]"}],
    }
    account.show_rows([row, row | {"outcome": "pending", "errors": [], "contact_id": "c1"}])
    shown = capsys.readouterr().out
    assert "1,200" in shown
    assert "every row once" in shown
    assert "sluice rows 01a1fe0b" in shown
    assert "[red]contacts[/red].csv" in shown
    assert "email: [bold]odd[/bold]" in shown
    assert "pending" in shown


@pytest.mark.parametrize(
    ("text", "pair"),
    [("Mobile No=phone", ("Mobile No", "phone")), ("a=b=email", ("a=b", "email")), ("Junk=", ("Junk", ""))],
)
def test_a_mapping_is_divided_at_its_last_sign(text: str, pair: tuple[str, str]) -> None:
    """A column's name may hold one; an empty field leaves the column out."""
    assert Pair().convert(text, None, None) == pair


@pytest.mark.parametrize("text", ["phone", "=phone", ""])
def test_what_is_no_mapping_is_a_mistake_of_usage(text: str) -> None:
    """With a sentence that shows how."""
    with pytest.raises(Exception, match="is not SOURCE=FIELD"):
        Pair().convert(text, None, None)


@pytest.mark.parametrize(
    ("rate", "eta", "total"), [(100.0, 3.0, 800), (None, 3.0, None), (100.0, None, None), (100.0, 0.0, 500)]
)
def test_the_bar_knows_its_end_from_rate_and_time_left(
    rate: float | None, eta: float | None, total: int | None
) -> None:
    """Nobody knows a file's rows before its end, so the bar pulses until there is an estimate."""
    assert expected_rows({"processed_rows": 500, "rate_rows_per_second": rate, "eta_seconds": eta}) == total
