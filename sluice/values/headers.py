"""Column headers: which contact field a source column holds (K-10).

A header is compared by its letters and digits alone, without case and accents, so "First Name",
`first_name`, `firstName` and "FIRST-NAME" are one. Each field's aliases stand in order of preference: where
several columns could hold a field, the earlier alias wins, then the column further left, and the others
stay custom fields under their own header. So a mobile number is taken before a home number, and an address
is taken whole from one place as far as the file has it (the contact's own, then mailing, business, home,
other).

A bare "Name" is a full name, unless the file has a column for exactly one of first and last name: then it
is the other one ("Vorname; Name", "Nombre; Apellidos", "Prénom; Nom").
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sluice.contact import CUSTOM
from sluice.errors import MappingInvalid
from sluice.values.aliases import aliases

FULL_NAME = "full_name"
"""A field of the source only: `split_name` makes first and last name of it."""

_ALIASES = aliases()

SOURCE_FIELDS = frozenset(_ALIASES)
"""What a column can hold: the contact's own fields, `full_name`, `modified_at` and `provider_id`."""


# Letters that Unicode does not decompose and people type without their stroke.
_UNSTROKED = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe"})


def header_key(header: str) -> str:
    """What is compared of a header: its letters and digits, without case, accents and strokes."""
    decomposed = unicodedata.normalize("NFKD", header).casefold().translate(_UNSTROKED)
    return "".join(c for c in decomposed if c.isalnum())


class _Alias(NamedTuple):
    field: str
    rank: int


def _table() -> dict[str, _Alias]:
    table: dict[str, _Alias] = {}
    for field, headers in _ALIASES.items():
        for rank, alias in enumerate(headers):
            table.setdefault(header_key(alias), _Alias(field, rank))
    return table


_TABLE = _table()

_MAX_HEADER = 100
"""No alias is longer; nothing longer is looked at."""


def _alias(header: str) -> _Alias | None:
    return _TABLE.get(header_key(header)) if len(header) <= _MAX_HEADER else None


_BARE_NAMES = frozenset(
    header_key(name)
    for name in (
        *("Name", "Nom", "Nombre", "Nome", "Naam", "Namn", "Navn", "Nimi", "İsim", "Ad"),
        *("Jméno", "Meno", "Név", "Nume", "الاسم", "שם"),
    )
)


class ColumnPlan(NamedTuple):
    """What each source column holds.

    `fields` has one entry a column, its field or None. `unmapped` has the indexes of the columns without a
    field that are kept, as custom fields under their own header; a column in neither was to be left out.
    """

    fields: tuple[str | None, ...]
    unmapped: tuple[int, ...]


def canonical_field(header: str) -> str | None:
    """The field that a header names by itself, None for one that is no usual contact column."""
    found = _alias(header)
    return found.field if found else None


def map_columns(columns: Sequence[str], explicit: Mapping[str, str | None] | None = None) -> ColumnPlan:
    """Which field each column holds: by the aliases, or, where a mapping is given, by that alone.

    `explicit` maps source headers to fields, in any spelling of K-10. An empty or null field leaves the
    column out; a column that it does not name is kept as a custom field. Raises `MappingInvalid`, naming the
    culprit, for a header the file does not have, a field that does not exist, and a field given twice.
    """
    if explicit:
        return _map_explicitly(columns, explicit)
    claims = {index: field for field, index in _best_claims(columns).items()}
    fields = tuple(claims.get(index) for index in range(len(columns)))
    return ColumnPlan(fields, tuple(index for index, field in enumerate(fields) if field is None))


def _best_claims(columns: Sequence[str]) -> dict[str, int]:
    """Each field that some column claims, with the index of the best one."""
    best: dict[str, tuple[int, int]] = {}
    for index, column in enumerate(columns):
        if alias := _alias(column):
            best[alias.field] = min(best.get(alias.field, (alias.rank, index)), (alias.rank, index))
    claims = {field: index for field, (_, index) in best.items()}
    name = claims.get(FULL_NAME)
    missing = {"first_name", "last_name"} - claims.keys()
    if name is not None and header_key(columns[name]) in _BARE_NAMES and len(missing) == 1:
        claims[missing.pop()] = claims.pop(FULL_NAME)
    return claims


def _map_explicitly(columns: Sequence[str], explicit: Mapping[str, str | None]) -> ColumnPlan:
    fields: list[str | None] = [None] * len(columns)
    unmapped = dict.fromkeys(range(len(columns)))
    for header, wanted in explicit.items():
        index = column_index(header, columns)
        unmapped.pop(index, None)
        if not (wanted or "").strip():
            continue
        field = named_field(wanted or "")
        if field in fields:
            both = f'"{shown(columns[fields.index(field)])}" and "{shown(header)}"'
            raise MappingInvalid(problem=f'Columns {both} are both mapped to "{field}".')
        fields[index] = field
    return ColumnPlan(tuple(fields), tuple(unmapped))


def column_index(header: str, columns: Sequence[str]) -> int:
    """The column with this header, to the letter or else but for blanks around it. Raises MappingInvalid."""
    for wanted, found in ((header, columns), (header.strip(), [column.strip() for column in columns])):
        if wanted in found:
            return found.index(wanted)
    known = ", ".join(f'"{shown(column)}"' for column in columns[:20])
    raise MappingInvalid(problem=f'The mapping names the column "{shown(header)}", but the file has {known}.')


def is_storable(name: str) -> bool:
    """Whether a custom field may have this name."""
    return name.isprintable() and 0 < len(name) <= _MAX_HEADER


def shown(name: str) -> str:
    """A name as a sentence repeats it: a file's header and a caller's mapping may be of any length."""
    return name[:100]


# The spellings of K-10, which a caller may use for the field's own name.
_SPELLINGS = {header_key(field): field for field in SOURCE_FIELDS} | {
    "zipcode": "zip",
    "phonenumber": "phone",
}


def named_field(name: str) -> str:
    """The field of this name, in any spelling of K-10, or the custom field. Raises MappingInvalid."""
    if name.startswith(CUSTOM) and is_storable(custom := name.removeprefix(CUSTOM).strip()):
        return f"{CUSTOM}{custom}"
    if found := _SPELLINGS.get(header_key(name)):
        return found
    known = ", ".join(sorted(SOURCE_FIELDS))
    raise MappingInvalid(
        problem=f'The mapping names the field "{shown(name)}", which does not exist. Use one of {known}, or '
        f"{CUSTOM} and a name."
    )


def is_own_name(header: str, field: str) -> bool:
    """Whether a header is the field's own name, in any spelling of K-10."""
    return _SPELLINGS.get(header_key(header)) == field


_PARTICLES = frozenset(
    {"af", "al", "av", "bin", "da", "das", "de", "del", "della", "den", "der", "di", "do", "dos", "du", "el"}
    | {"ibn", "la", "le", "ten", "ter", "van", "von", "zu", "zum", "zur"}
)


def split_name(full_name: str) -> tuple[str, str]:
    """First and last name: "Ann van Dyk" and "van Dyk, Ann" alike give ("Ann", "van Dyk").

    The last name is the last word with the particles before it; a single word is a first name.
    """
    family, comma, given = full_name.partition(",")
    if comma and family.strip() and given.strip():
        return " ".join(given.split()), " ".join(family.split())
    words = full_name.replace(",", " ").split()
    if len(words) < 2:
        return " ".join(words), ""
    start = len(words) - 1
    while start > 1 and words[start - 1].casefold() in _PARTICLES:
        start -= 1
    return " ".join(words[:start]), " ".join(words[start:])
