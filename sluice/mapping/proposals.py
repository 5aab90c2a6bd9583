"""What a caller might map: for each column a field, how sure that is, and why.

In this order: what the organization chose before for the same columns, what the columns' names say, what
their values show. No field is proposed twice: the surest column has it, and the others stay custom fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from sluice.errors import MappingInvalid
from sluice.mapping.content import FIELD_OF_KIND, KIND_OF_FIELD, NAMES, Content, content_of, share_of
from sluice.mapping.plan import recognised
from sluice.values.dialects import recognise
from sluice.values.headers import header_key, is_own_name, named_field

Reason = Literal["remembered", "exact", "alias", "dialect", "content"]

REMEMBERED, EXACT, DIALECT, ALIAS = 1.0, 1.0, 0.95, 0.9
DOUBTED = 0.4
"""A name that the column's own values contradict."""

_ANYTHING = ("notes", "tags", "source", "provider_id")
"""Fields that may well hold an address or a number."""

_NO_PHONES = ("fax", "pager", "telex")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a column might hold.

    `field` is a field's name, empty where the column is to be left out, None where it stays a custom field.
    `confidence` is between 0 and 1; `reason` is None where nothing speaks for any field. `sentence` says it
    to a person.
    """

    column: str
    field: str | None
    confidence: float
    reason: Reason | None
    sentence: str


@dataclass(frozen=True, slots=True)
class _Claim:
    index: int
    proposal: Proposal


class _Evidence:
    """What the values of each column show."""

    def __init__(self, samples: Sequence[Sequence[str]], region: str) -> None:
        self._samples = samples
        self._region = region
        self.contents = [content_of(each, region) for each in samples]

    def against(self, index: int, field: str) -> str:
        """What in a column's values speaks against a field, as half a sentence; empty: nothing."""
        kind, found = KIND_OF_FIELD.get(field), self.contents[index]
        if kind is None:
            telling = found is not None and found.kind in KIND_OF_FIELD and field not in _ANYTHING
            return f"its values are {NAMES[found.kind]}" if found and telling else ""
        share = share_of(kind, self._samples[index], self._region)
        return f"most of its values are no {NAMES[kind]}" if share is not None and share < 0.5 else ""


def header_set_key(columns: Sequence[str]) -> bytes:
    """16 bytes that are equal for headers of the same names in any order and spelling."""
    keys = sorted(header_key(column) or column.strip().casefold() for column in columns)
    return hashlib.blake2b(msgspec.msgpack.encode(keys), digest_size=16).digest()


def propose(
    columns: Sequence[str],
    samples: Mapping[str, Sequence[str]],
    remembered: Mapping[str, str | None] | None = None,
    region: str = "US",
) -> list[Proposal]:
    """A proposal for each column, in order.

    `samples` are values by column; a column may have none. `remembered` is the mapping (column to field,
    empty to leave out) that was chosen last for columns of the same `header_set_key`; a column that it does
    not name was left a custom field then. `region` is where numbers without a country code are dialled.
    """
    evidence = _Evidence([samples.get(column, ()) for column in columns], region)
    if remembered is not None:
        claims = list(_remembered(columns, remembered))
    else:
        claims = [*_by_name(columns, evidence), *_by_content(columns, evidence)]
    chosen: dict[int, Proposal] = {}
    taken: set[str] = set()
    for claim in sorted(claims, key=lambda each: (-each.proposal.confidence, each.index)):
        field = claim.proposal.field
        if claim.index in chosen or (field and field in taken):
            continue
        chosen[claim.index] = claim.proposal
        taken.update([field] if field else [])
    return [
        chosen.get(index) or _kept(column, evidence.contents[index]) for index, column in enumerate(columns)
    ]


def _remembered(columns: Sequence[str], remembered: Mapping[str, str | None]) -> Iterator[_Claim]:
    choices = {header_key(column): field for column, field in remembered.items()}
    for index, column in enumerate(columns):
        wanted = remembered.get(column, choices.get(header_key(column)))
        field: str | None = wanted
        if wanted:
            try:
                field = named_field(wanted)
            except MappingInvalid:
                # A field that there is no more.
                field = None
        if field is None:
            sentence = "Your organization kept it as a custom field before."
        elif field:
            sentence = f"Your organization chose {_said(field)} for it before."
        else:
            sentence = "Your organization left it out before."
        yield _Claim(index, Proposal(column, field, REMEMBERED, "remembered", sentence))


def _by_name(columns: Sequence[str], evidence: _Evidence) -> Iterator[_Claim]:
    dialect = recognise(columns)
    of_dialect = dialect.mapping(columns) if dialect else {}
    for field, (index, *_) in recognised(columns).items():
        column = columns[index]
        reason: Reason
        if dialect and field in of_dialect:
            reason, confidence = "dialect", DIALECT
            sentence = f"This is where an export of {dialect.title} has the {_said(field)}."
        elif is_own_name(column, field):
            reason, confidence, sentence = "exact", EXACT, f"It is called {_said(field)}."
        else:
            reason, confidence = "alias", ALIAS
            sentence = f"A column of this name usually holds the {_said(field)}."
        if doubt := evidence.against(index, field):
            confidence, sentence = DOUBTED, f"{sentence} But {doubt}."
        yield _Claim(index, Proposal(column, field, confidence, reason, sentence))


def _by_content(columns: Sequence[str], evidence: _Evidence) -> Iterator[_Claim]:
    for index, (column, found) in enumerate(zip(columns, evidence.contents, strict=True)):
        if not found or found.kind not in FIELD_OF_KIND:
            continue
        field, certainty = FIELD_OF_KIND[found.kind]
        if field == "phone" and any(word in header_key(column) for word in _NO_PHONES):
            continue
        sentence = f"Its values are {NAMES[found.kind]}."
        confidence = round(certainty * found.share, 2)
        yield _Claim(index, Proposal(column, field, confidence, "content", sentence))


def _kept(column: str, found: Content | None) -> Proposal:
    if found is None or found.kind == "text":
        return Proposal(column, None, 0.0, None, "It is kept as a custom field.")
    sentence = f"Its values are {NAMES[found.kind]}; it is kept as a custom field."
    return Proposal(column, None, round(found.share, 2), "content", sentence)


def _said(field: str) -> str:
    return {"zip": "postal code", "title": "job title", "modified_at": "time of the last change"}.get(
        field, field.replace("_", " ")
    )
