"""What a job's mapping means for one header: which columns make which field.

Without a mapping the columns are taken as their dialect says (`sluice.values.dialects`), the rest by the
usual aliases (`sluice.values.headers`); with one, as it says and no other way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import msgspec

from sluice.contact import CUSTOM
from sluice.errors import MappingInvalid
from sluice.events import FieldSource
from sluice.values.dialects import recognise
from sluice.values.headers import column_index, map_columns, shown

_NOT_READ_HERE = frozenset({"provider_id"})
"""Fields of the source only that an import of a file does not use: kept as custom fields."""


class Input(NamedTuple):
    """One field of the result and where it comes from.

    `columns` are indexes, best first; none where the value is fixed. `kept` names the custom field that holds
    what a further column has left: one for each column after the first, none where they are joined. `source`
    says what is done to the text; None: nothing.
    """

    field: str
    columns: tuple[int, ...]
    kept: tuple[str, ...] = ()
    source: FieldSource | None = None


class Plan(NamedTuple):
    """The inputs in the order of their columns; a column in none of them was to be left out."""

    inputs: tuple[Input, ...]

    @property
    def fields(self) -> frozenset[str]:
        """What the file can give."""
        return frozenset(each.field for each in self.inputs)


class Chosen(Protocol):
    """What a caller chose, in the job's options or still by itself."""

    @property
    def mapping(self) -> Mapping[str, str] | None: ...
    @property
    def sources(self) -> Sequence[FieldSource]: ...
    @property
    def unmapped(self) -> str: ...


def plan_of(columns: Sequence[str], options: Chosen) -> Plan:
    """The plan of a header, made once for all batches of a job.

    Raises:
        MappingInvalid: the mapping names a column that does not exist, or a field twice.
    """
    mapping = options.mapping
    return _plan(
        tuple(columns),
        None if mapping is None else tuple(sorted(mapping.items())),
        msgspec.msgpack.encode(options.sources) if options.sources else b"",
        options.unmapped,
    )


_decode_sources = msgspec.msgpack.Decoder(list[FieldSource]).decode


@lru_cache(maxsize=256)
def _plan(
    columns: tuple[str, ...], mapping: tuple[tuple[str, str], ...] | None, sources: bytes, unmapped: str
) -> Plan:
    if sources:
        drafts, left = _chosen(columns, dict(mapping or ()), _decode_sources(sources))
    elif mapping:
        found = map_columns(columns, dict(mapping))
        drafts = [Input(field, (index,)) for index, field in enumerate(found.fields) if field]
        left = found.unmapped
    else:
        claims = recognised(columns)
        drafts = [Input(field, held) for field, held in claims.items()]
        taken = {index for held in claims.values() for index in held}
        left = tuple(index for index in range(len(columns)) if index not in taken)
    return _named(columns, drafts, left if unmapped == "custom" else ())


def recognised(columns: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Field to its columns, best first, as the file's dialect and the usual aliases have it."""
    dialect = recognise(columns)
    claims = dialect.mapping(columns) if dialect else {}
    spoken_for = {index for held in claims.values() for index in held}
    open_columns = [
        "" if index in spoken_for or (dialect and dialect.is_custom(column)) else column
        for index, column in enumerate(columns)
    ]
    for index, field in enumerate(map_columns(open_columns).fields):
        if field:
            claims.setdefault(field, (index,))
    return claims


def _chosen(
    columns: Sequence[str], mapping: Mapping[str, str], sources: Sequence[FieldSource]
) -> tuple[list[Input], Sequence[int]]:
    """The inputs of a mapping with sources, and the columns that neither it nor they speak of."""
    found = map_columns(columns, mapping) if mapping else None
    drafts = [Input(field, (index,)) for index, field in enumerate(found.fields if found else ()) if field]
    for source in sources:
        if any(draft.field == source.field for draft in drafts):
            raise MappingInvalid(problem=f'The field "{shown(source.field)}" is mapped twice.')
        at = tuple(dict.fromkeys(column_index(column, columns) for column in source.columns))
        drafts.append(Input(source.field, at, (), source))
    taken = {index for draft in drafts for index in draft.columns}
    left = found.unmapped if found else range(len(columns))
    return drafts, [index for index in left if index not in taken]


def _named(columns: Sequence[str], drafts: Sequence[Input], left: Sequence[int]) -> Plan:
    """The drafts and the columns that are left, each as an input of its own name, in the columns' order."""
    inputs = [*drafts, *(Input("", (index,)) for index in left)]
    inputs.sort(key=lambda each: each.columns or (len(columns),))
    taken = {each.field for each in drafts}

    def custom(name: str, index: int) -> str:
        while name in taken:
            name = f"{name}_{index + 1}"
        taken.add(name)
        return name

    named = []
    for place, each in enumerate(inputs):
        field, (first, *further) = each.field, each.columns or (place,)
        if not field or (field in _NOT_READ_HERE and each.columns):
            field = custom(custom_name(columns[first], first), first)
        elif field in _NOT_READ_HERE:
            field = custom(f"{CUSTOM}{field}", place)
        joined = each.source is not None and each.source.separator is not None
        kept = () if joined else tuple(custom(custom_name(columns[index], index), index) for index in further)
        named.append(Input(field, each.columns, kept, each.source))
    return Plan(tuple(named))


def custom_name(header: str, index: int) -> str:
    """The custom field under a column's own header; one that an export has named so keeps its name."""
    return f"{CUSTOM}{header.strip().removeprefix(CUSTOM) or f'column_{index + 1}'}"
