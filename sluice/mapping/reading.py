"""Rows under a plan: every value in its one canonical form, by column.

E-mails in lower case, phones with their E.164 form beside them, countries as ISO 3166 two letters, times in
ISO 8601 and UTC, tags joined by ";", full names split. What cannot be read stays as it was given, with a
fault.

Of several values that a row gives for its e-mail or phone, in one cell (joined by " ::: ") or in further
columns of the same kind, the first that can be an identity is it. What is left stays: of the first column
in `custom_fields.other_emails` or `.other_phones`, of a further column in the custom field of its own name.
Of several full names the first is split, and the others are kept in `custom_fields.other_names`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

from sluice.contact import CUSTOM, TAG_SEPARATOR, join_tags, split_tags
from sluice.events import FieldFault, FieldSource, ImportOptions
from sluice.mapping.plan import Input, Plan
from sluice.values.country import parse_country
from sluice.values.email import Email, parse_email
from sluice.values.headers import FULL_NAME, split_name
from sluice.values.phone import Phone, PhoneCheck, parse_phone
from sluice.values.times import parse_time, time_reader

MAX_FAULT_TEXT = 200
"""Characters of an offending value that a fault repeats; the row itself has it whole."""

SEVERAL = " ::: "
"""Joins several values of one kind in one cell, as Google writes them."""
_MARK = SEVERAL.strip()

MAX_TRIED = 20
"""Values of a cell that may be the identity: a person has few, and trying each of thousands takes seconds."""

DATE_FIELDS = ("last_contact_date",)
MODIFIED_AT = "modified_at"
MAX_TAG_LENGTH = 255
"""PostgreSQL's index of tags takes no entry above 2.7 kB, and a tag is a word or two."""

OTHERS = {"email": f"{CUSTOM}other_emails", "phone": f"{CUSTOM}other_phones"}
"""Field of an identity to the custom field of its other values."""

OTHER_NAMES = f"{CUSTOM}other_names"
_COUNTRY_AS_GIVEN = f"{CUSTOM}country"


@dataclass(slots=True)
class Reading:
    """What rows give.

    `columns` has each field's values, one a row: contact fields, phone_formatted, custom_fields.<name>.
    `modified_at` are the rows' own times in milliseconds since 1970, 0 for none; empty when no row has one.
    `faults` are values that could not be read and `too_wide` rows with more filled cells than the header,
    by row.
    """

    row_count: int
    columns: dict[str, list[str]] = field(default_factory=dict)
    modified_at: list[int] = field(default_factory=list)
    faults: dict[int, list[FieldFault]] = field(default_factory=dict)
    too_wide: dict[int, FieldFault] = field(default_factory=dict)

    def note(self, index: int, name: str, code: str, message: str, value: str = "") -> None:
        """One more fault of a row."""
        fault = FieldFault(field=name, code=code, message=message, value=value[:MAX_FAULT_TEXT])
        self.faults.setdefault(index, []).append(fault)


def read_rows(rows: Sequence[Sequence[str]], width: int, plan: Plan, options: ImportOptions) -> Reading:
    """Read rows of `width` source columns. Raises nothing: what is wrong with a row is its fault."""
    reading = Reading(len(rows))
    source = cells_by_column(rows, width, reading.too_wide)
    reader = _Reader(reading, source, options)
    for each in plan.inputs:
        if each.source is None:
            reader.read(each, list(map(str.strip, source[each.columns[0]])))
        else:
            reader.read(each, _made(each, each.source, source, len(rows)))
    reader.finish()
    return reading


def cells_by_column(
    rows: Sequence[Sequence[str]], width: int, too_wide: dict[int, FieldFault]
) -> list[Sequence[str]]:
    """The cells by column. A short row is padded; cells beyond the header only a faulty row may have."""
    if not rows:
        return [[] for _ in range(width)]
    if set(map(len, rows)) != {width}:
        for index, row in enumerate(rows):
            if len(row) > width and any(row[width:]):
                message = f"The row has {len(row)} cells, the header has {width}."
                too_wide[index] = FieldFault(field="", code="too_many_cells", message=message, value="")
        rows = [[*row[:width], *[""] * (width - len(row))] for row in rows]
    return cast("list[Sequence[str]]", list(zip(*rows, strict=True)))


def _made(each: Input, how: FieldSource, source: Sequence[Sequence[str]], row_count: int) -> list[str]:
    """The texts of an input that is more than one column's: fixed, joined, in another case."""
    if not each.columns:
        values = [how.value] * row_count
    elif how.separator is not None:
        parts = zip(*(map(str.strip, source[index]) for index in each.columns), strict=True)
        values = [how.separator.join(filter(None, row)) for row in parts]
    else:
        values = list(map(str.strip, source[each.columns[0]]))
    change = _CASES.get(how.case)
    return list(map(change, values)) if change else values


_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_](?![^\W\d_]))?")


def _title(text: str) -> str:
    """ "O'NEIL-SMITH's" is "O'Neil-Smith's"."""
    return _WORD.sub(lambda word: word[0][0].upper() + word[0][1:].lower(), text)


_CASES: dict[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower, "title": _title}
CASES = tuple(_CASES)


class _Reader:
    """Reads one input after another into a `Reading`."""

    def __init__(self, reading: Reading, source: Sequence[Sequence[str]], options: ImportOptions) -> None:
        self._reading = reading
        self._source = source
        self._options = options
        self._full_names: list[str] | None = None
        # Custom fields that come of reading: they go in last, beside a column that has the same name.
        self._beside: dict[str, list[str]] = {}

    def read(self, each: Input, values: list[str]) -> None:
        """Take in one input, its texts being trimmed."""
        read = self._READERS.get(each.field)
        if read is not None:
            read(self, each, values)
        elif each.field == FULL_NAME:
            self._full_names = self._first_given(each, values)
        else:
            self._reading.columns[each.field] = self._first_given(each, values)

    def finish(self) -> None:
        """What needs all inputs: the parts of full names, and the custom fields that came of reading."""
        if self._full_names is not None:
            self._split_names(self._full_names)
        columns = self._reading.columns
        for name, texts in self._beside.items():
            # Under blanks=clear an empty value says something: the field must not come and go with batches.
            if not any(texts) and self._options.blanks != "clear":
                continue
            own = columns.get(name)
            columns[name] = texts if own is None else list(map(_joined, zip(texts, own, strict=True)))

    def _further(self, each: Input) -> list[list[str]]:
        """The further columns of an input, which are custom fields until a value of theirs is needed."""
        columns = [
            list(map(str.strip, self._source[index])) for index in each.columns[1 : 1 + len(each.kept)]
        ]
        self._reading.columns.update(zip(each.kept, columns, strict=True))
        return columns

    def _first_given(self, each: Input, values: list[str]) -> list[str]:
        """A row's first text that is not blank, for fields in which any text will do."""
        for column in self._further(each):
            for index, text in enumerate(column):
                if text and not values[index]:
                    values[index], column[index] = text, ""
        return values

    def _read_emails(self, each: Input, values: list[str]) -> None:
        choice = self._choice(each, values, lambda text: type(parse_email(text)) is Email)
        for index, text in enumerate(values):
            several = choice is not None and _MARK in text
            found = parse_email(text) if text and not several else None
            if choice is not None and type(found) is not Email:
                text = choice.best(index)
                found = parse_email(text) if text and _MARK not in text else None
            if type(found) is Email:
                values[index] = found.key
            elif text:
                self._reading.note(index, "email", "email_invalid", "Invalid email format", text)
        self._reading.columns["email"] = values

    def _read_phones(self, each: Input, values: list[str]) -> None:
        region = (each.source.region if each.source else "") or self._options.region
        check = cast(PhoneCheck, self._options.phone_check)

        def is_identity(text: str) -> bool:
            found = parse_phone(text, region, check)
            return type(found) is Phone and bool(found.e164)

        choice = self._choice(each, values, is_identity)
        numbers = [""] * len(values)
        for index, text in enumerate(values):
            several = choice is not None and _MARK in text
            found = parse_phone(text, region, check) if text and not several else None
            if choice is not None and not (type(found) is Phone and found.e164):
                text = choice.best(index, any_will_do=check == "off")
                # Of several none is valid: read as one, their digits together might look like a number.
                found = parse_phone(text, region, check) if text and _MARK not in text else None
            if type(found) is Phone:
                numbers[index] = found.e164
            elif text:
                self._reading.note(index, "phone", "phone_invalid", "Invalid phone number format", text)
        self._reading.columns["phone"] = values
        self._reading.columns["phone_formatted"] = numbers

    def _choice(self, each: Input, values: list[str], is_identity: Callable[[str], bool]) -> _Choice | None:
        """Who chooses among several values; None in the usual case, where no row has more than one."""
        further = self._further(each)
        has_several = bool(further) or _MARK in "".join(values)
        if has_several or self._options.blanks == "clear":
            self._beside[OTHERS[each.field]] = left = [""] * len(values)
        return _Choice(values, further, left, is_identity) if has_several else None

    def _read_countries(self, each: Input, values: list[str]) -> None:
        values = self._first_given(each, values)
        codes = [parse_country(text) if text else "" for text in values]
        self._reading.columns["country"] = [code or "" for code in codes]
        self._beside[_COUNTRY_AS_GIVEN] = [
            text if code is None else "" for text, code in zip(values, codes, strict=True)
        ]

    def _read_dates(self, each: Input, values: list[str]) -> None:
        form = each.source.date_format if each.source else ""
        read = time_reader(form) if form else parse_time
        for index, text in enumerate(self._first_given(each, values)):
            if text:
                found = read(text)
                if found is not None:
                    values[index] = found.isoformat()
                else:
                    message = f"Invalid date: write it as {form or '2024-05-31'}"
                    self._reading.note(index, each.field, "date_invalid", message, text)
        self._reading.columns[each.field] = values

    def _read_modified_at(self, each: Input, values: list[str]) -> None:
        """A time that cannot be read is no time; it is nothing of the contact's, so the row stays good.

        One that lies behind the job's own is taken as the job's: nothing later would ever win against it.
        """
        form = each.source.date_format if each.source else ""
        read = time_reader(form) if form else parse_time
        times = [read(text) if text else None for text in self._first_given(each, values)]
        if any(times):
            latest = self._options.created_at
            self._reading.modified_at = [
                min(int(time.timestamp() * 1000), latest) if time else 0 for time in times
            ]

    def _read_tags(self, each: Input, values: list[str]) -> None:
        delimiter = (each.source.delimiter if each.source else "") or ","
        texts = self._first_given(each, values)
        if _MARK in "".join(texts):
            texts = [text.replace(_MARK, TAG_SEPARATOR) for text in texts]
        tags = [
            join_tags(split_tags(text.replace(delimiter, TAG_SEPARATOR))) if text else "" for text in texts
        ]
        self._reading.columns["tags"] = tags
        if max(map(len, tags), default=0) > MAX_TAG_LENGTH:
            for index, joined in enumerate(tags):
                if any(len(tag) > MAX_TAG_LENGTH for tag in split_tags(joined)):
                    message = f"A tag is longer than {MAX_TAG_LENGTH} characters"
                    self._reading.note(index, "tags", "too_long", message, joined)

    def _split_names(self, full_names: list[str]) -> None:
        """A row's own first and last name win over the parts of its full name."""
        columns = self._reading.columns
        blank = [""] * len(full_names)
        if _MARK in "".join(full_names):
            # A directory entry has a name for every way to write it; the first is split.
            cells = [_split(text) for text in full_names]
            full_names = [cell[0] if cell else "" for cell in cells]
            self._beside[OTHER_NAMES] = [SEVERAL.join(cell[1:]) for cell in cells]
        elif self._options.blanks == "clear":
            self._beside[OTHER_NAMES] = list(blank)
        parts = [split_name(text) if text else ("", "") for text in full_names]
        for position, name in enumerate(("first_name", "last_name")):
            given = columns.get(name, blank)
            columns[name] = [own or part[position] for own, part in zip(given, parts, strict=True)]

    _READERS: ClassVar[Mapping[str, Callable[[_Reader, Input, list[str]], None]]] = {
        "email": _read_emails,
        "phone": _read_phones,
        "country": _read_countries,
        "tags": _read_tags,
        MODIFIED_AT: _read_modified_at,
        **dict.fromkeys(DATE_FIELDS, _read_dates),
    }


class _Choice:
    """Chooses the identity among the values of a row, in `values` and in the further columns, in that order.

    What is left of the cell in `values` goes to `left`; a further column keeps what is left of its own.
    """

    def __init__(
        self,
        values: list[str],
        further: Sequence[list[str]],
        left: list[str],
        is_identity: Callable[[str], bool],
    ) -> None:
        self._values = values
        self._further = further
        self._left = left
        self._is_identity = is_identity

    def best(self, index: int, any_will_do: bool = False) -> str:
        """The row's value from now on: the first that can be an identity, else what the first column gives.

        Of each cell the first `MAX_TRIED` values are tried; the rest are kept among the others.
        `any_will_do`: of several in the first column, none of which is an identity, the first is taken.
        """
        own = _split(self._values[index])
        for text in own[:MAX_TRIED]:
            if self._is_identity(text):
                return self._take(index, own, text)
        for column in self._further:
            cell = _split(column[index])
            for text in cell[:MAX_TRIED]:
                if self._is_identity(text):
                    cell.remove(text)
                    column[index] = SEVERAL.join(cell)
                    return self._take(index, [text, *own], text)
        if any_will_do and own:
            return self._take(index, own, own[0])
        return self._values[index]

    def _take(self, index: int, own: list[str], text: str) -> str:
        own.remove(text)
        self._values[index], self._left[index] = text, SEVERAL.join(own)
        return text


def _split(cell: str) -> list[str]:
    """The values of a cell, none of them blank."""
    return [text for part in cell.split(_MARK) if (text := part.strip())]


def _joined(texts: tuple[str, ...]) -> str:
    return SEVERAL.join(filter(None, texts))
