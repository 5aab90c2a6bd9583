"""The closed vocabulary of what becomes of a row, and the three verdicts a pipeline step may give.

Every row of a job ends in exactly one `Outcome`; the sum over a job equals the rows read. One letter stands
for each outcome where a batch stores one per row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of one row. A row that is still on its way has none: it is pending."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    MERGED = "merged"
    DUPLICATE_IN_FILE = "duplicate_in_file"
    DUPLICATE_EXISTING = "duplicate_existing"
    EXCLUDED = "excluded"
    NO_IDENTITY = "no_identity"
    SUPPRESSED_DNC = "suppressed_dnc"
    INVALID = "invalid"
    CONFLICT = "conflict"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def letter(self) -> str:
        """The outcome in one character, as `import_batches.outcomes` holds it."""
        return LETTERS[self]


LETTERS: Mapping[Outcome, str] = {
    Outcome.CREATED: "c",
    Outcome.UPDATED: "u",
    Outcome.UNCHANGED: "=",
    Outcome.MERGED: "m",
    Outcome.DUPLICATE_IN_FILE: "f",
    Outcome.DUPLICATE_EXISTING: "d",
    Outcome.EXCLUDED: "x",
    Outcome.NO_IDENTITY: "n",
    Outcome.SUPPRESSED_DNC: "s",
    Outcome.INVALID: "i",
    Outcome.CONFLICT: "k",
    Outcome.FAILED: "!",
    Outcome.CANCELLED: "-",
}
ELSEWHERE = ">"
"""Stands in a stored batch for a row whose result another batch holds (D14)."""
BY_LETTER: Mapping[str, Outcome] = {letter: outcome for outcome, letter in LETTERS.items()}

REFUSED = frozenset({Outcome.INVALID, Outcome.NO_IDENTITY, Outcome.CONFLICT, Outcome.FAILED})
"""Rows a person can mend and send again: the errors file lists them, and the CLI exits 3 for them."""

WRITING = frozenset({Outcome.CREATED, Outcome.UPDATED, Outcome.MERGED})
"""Rows that changed a contact: each is one public event."""


def encode_outcomes(outcomes: Iterable[Outcome]) -> str:
    """One letter a row, in row order."""
    return "".join([LETTERS[outcome] for outcome in outcomes])


def decode_outcomes(letters: str) -> list[Outcome]:
    """The inverse of `encode_outcomes`; KeyError on a letter that is none of ours."""
    return [BY_LETTER[letter] for letter in letters]


def count_letters(letters: str) -> dict[Outcome, int]:
    """How many rows of each outcome a stored batch holds; outcomes that do not occur are left out."""
    return {BY_LETTER[letter]: n for letter, n in Counter(letters).items()}


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One thing wrong with one value. `message` is for a person, `code` for a program."""

    field: str
    code: str
    message: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """The row goes on to the next step."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The row's way ends here with an outcome; its batch goes on."""

    outcome: Outcome
    faults: tuple[FieldFault, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """The message cannot be processed at all: it goes to the dead letters with `reason`."""

    reason: str


Verdict = Keep | Drop | Reject
KEEP = Keep()
