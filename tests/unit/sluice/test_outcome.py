"""The closed vocabulary of what becomes of a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.outcome import (
    BY_LETTER,
    LETTERS,
    REFUSED,
    WRITING,
    Outcome,
    count_letters,
    decode_outcomes,
    encode_outcomes,
)


@pytest.mark.requirement("K-09", "K-42")
def test_outcomes_are_exactly_the_thirteen_of_the_contract() -> None:
    """A row ends in one of thirteen outcomes; the fourteenth word, pending, is none."""
    assert {str(outcome) for outcome in Outcome} == {
        "created",
        "updated",
        "unchanged",
        "merged",
        "duplicate_in_file",
        "duplicate_existing",
        "excluded",
        "no_identity",
        "suppressed_dnc",
        "invalid",
        "conflict",
        "failed",
        "cancelled",
    }


def test_every_outcome_has_a_letter_of_its_own() -> None:
    """Outcomes are stored as one ASCII character a row, so no two may share one."""
    assert set(LETTERS) == set(Outcome)
    assert len(BY_LETTER) == len(Outcome)
    assert all(len(letter) == 1 and letter.isascii() for letter in BY_LETTER)
    assert all(outcome.letter == LETTERS[outcome] for outcome in Outcome)


@given(st.lists(st.sampled_from(Outcome)))
def test_stored_outcomes_read_back_as_they_were_and_count_to_their_rows(outcomes: list[Outcome]) -> None:
    """What a batch stores gives back every row's outcome in order, and counts that sum to its rows."""
    letters = encode_outcomes(outcomes)
    counts = count_letters(letters)
    assert decode_outcomes(letters) == outcomes
    assert counts == {outcome: outcomes.count(outcome) for outcome in set(outcomes)}
    assert sum(counts.values()) == len(outcomes)


def test_a_foreign_letter_is_an_error() -> None:
    """A stored letter that is none of ours is not taken for some outcome."""
    with pytest.raises(KeyError):
        decode_outcomes("c?")
    with pytest.raises(KeyError):
        count_letters("c?")


@pytest.mark.requirement("S0-034")
def test_refused_rows_are_the_four_that_a_person_can_mend() -> None:
    """The errors file, healing and exit code 3 are about these four outcomes; none of them writes."""
    assert {outcome.value for outcome in REFUSED} == {"invalid", "no_identity", "conflict", "failed"}
    assert {outcome.value for outcome in WRITING} == {"created", "updated", "merged"}
