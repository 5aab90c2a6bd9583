"""What a caller may ask of an import, and what each door takes for granted: two tables and their check."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import phonenumbers
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from ingress.formats.inspect import can_delimit
from ingress.formats.opening import Asked
from sluice.errors import FileHasNoColumn, OptionInvalid, Refused
from sluice.events import ColumnRule, ImportOptions
from sluice.mapping import column_rules, stored
from sluice.mapping.plan import plan_of
from sluice.values.headers import shown

MAX_EXCLUDED = 10_000
"""They are part of the job and shown with it."""

MAX_LIST_NAME = 255

DELIMITER_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "\\t": "\t"}


TAKES: Mapping[str, str] = {
    "dry_run": "true or false",
    "encoding": "the name of an encoding, such as utf-8",
    "sheet": "the name of a sheet",
    "list_id": "a UUID",
    "mapping": stored.TAKES,
    "rules": column_rules.TAKES,
    "exclude_rows": f"up to {MAX_EXCLUDED} row numbers from 1, as a JSON array or separated by commas",
}
"""What an option takes whose check has no words of its own; a choice names its values itself."""


class OptionUnknown(Refused):
    """There is no option "{field}" here; there are {allowed}."""

    code = "VALIDATION_ERROR"
    status = 422


class OptionsContradict(Refused):
    """{problem}"""

    code = "VALIDATION_ERROR"
    status = 422


def _row_numbers(value: Any) -> Any:
    """Row numbers as a JSON array or separated by commas."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return json.loads(text if text.startswith("[") else f"[{text}]")
    except (ValueError, RecursionError):
        raise ValueError(TAKES["exclude_rows"]) from None


def _json(value: Any, takes: str) -> Any:
    """A form has JSON as text; a JSON body has it as it is."""
    if not isinstance(value, str):
        return value
    try:
        return stored.parse_json(value)
    except ValueError:
        raise ValueError(takes) from None


def _mapping(value: Any) -> stored.Mapped | None:
    given = _json(value, stored.TAKES)
    if given is None or isinstance(given, stored.Mapped):
        return given
    if not isinstance(given, dict):
        raise ValueError(stored.TAKES)
    return stored.read_mapping(given)


def _rules(value: Any) -> list[ColumnRule]:
    given = _json(value, column_rules.TAKES)
    if not isinstance(given, list):
        raise ValueError(column_rules.TAKES)
    return column_rules.read_rules(given)


def _region(value: str) -> str:
    region = value.strip().upper()
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("a country of two letters, such as US")
    return region


def _delimiter(value: str) -> str:
    delimiter = DELIMITER_NAMES.get(value.strip().lower(), value)
    if not can_delimit(delimiter):
        raise ValueError("one character such as , ; | or a tab, or comma, semicolon, tab or pipe")
    return delimiter


def _list_name(value: str) -> str:
    name = value.strip()
    if not name.isprintable() or not 0 < len(name) <= MAX_LIST_NAME:
        raise ValueError(f"a name of up to {MAX_LIST_NAME} printable characters")
    return name


RowNumber = Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)]


class FormOptions(BaseModel):
    """The options of `POST /v1/imports`, as form fields."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    on_duplicate: Annotated[
        Literal["skip", "overwrite", "fill_blanks", "merge_newest"],
        Field(description="What a row does to a contact that is there already."),
    ] = "skip"
    match_on: Annotated[
        Literal["email", "phone", "either"], Field(description="By what a row finds its contact.")
    ] = "email"
    dnc_policy: Annotated[
        Literal["flag", "exclude"],
        Field(description="Whether a number on a Do-Not-Call list is marked or left out."),
    ] = "flag"
    phone_check: Annotated[
        Literal["strict", "lenient", "off"],
        Field(description="strict: valid numbers only; lenient: ten digits or more; off: kept as text."),
    ] = "strict"
    mode: Annotated[
        Literal["partial", "atomic"],
        Field(description="atomic: nothing is written unless every row can be."),
    ] = "partial"
    dry_run: Annotated[bool, Field(description="Judge every row and write nothing.")] = False
    blanks: Annotated[
        Literal["keep", "clear"], Field(description="Whether a blank cell clears what is stored.")
    ] = "keep"
    region: Annotated[
        str, AfterValidator(_region), Field(description="Country of numbers without a country code.")
    ] = "US"
    encoding: Annotated[
        str | None, Field(max_length=40, description="The file's encoding, when it is not to be guessed.")
    ] = None
    delimiter: Annotated[
        str | None,
        AfterValidator(_delimiter),
        Field(description="One character, or comma, semicolon, tab, pipe."),
    ] = None
    sheet: Annotated[
        str | None, Field(max_length=255, description="A workbook's sheet by its name; the first if missing.")
    ] = None
    list_id: Annotated[uuid.UUID | None, Field(description="A list that all contacts are put on.")] = None
    list_name: Annotated[
        str | None,
        AfterValidator(_list_name),
        Field(description="The same by name; made if it is new."),
    ] = None
    mapping: Annotated[
        stored.Mapped | None,
        BeforeValidator(_mapping),
        WithJsonSchema({"type": "object"}),
        Field(
            description="JSON object: source column to field, empty leaves a column out; "
            "or fields with their sources, unmapped and ignored."
        ),
    ] = None
    rules: Annotated[
        list[ColumnRule],
        BeforeValidator(_rules),
        WithJsonSchema({"type": "array", "items": {"type": "object"}, "default": []}),
        Field(
            description="JSON array of rules on fields or columns: required, pattern (RE2, the whole value), "
            "one_of, min_length, max_length."
        ),
    ] = []
    exclude_rows: Annotated[
        list[RowNumber],
        BeforeValidator(_row_numbers),
        Field(max_length=MAX_EXCLUDED, description="Numbers of rows to leave out, from 1 below the header."),
    ] = []


@dataclass(frozen=True, slots=True)
class Profile:
    """What a door takes for granted. `fields` maps the door's own form fields to options.

    `choices` has, for a field of the door's own, what may be said and which value of the option that is;
    `defaults` are options that differ from FormOptions'. `needs_columns`: the file has to have a column for
    one of these fields. `any_format`: every kind of file is taken, not CSV alone.
    """

    door: str
    fields: Mapping[str, str]
    needs_columns: tuple[str, ...]
    required: tuple[str, ...] = ()
    missing_email: str = "invalid"
    choices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    any_format: bool = False


CONTACTS_IMPORT = Profile(
    door="s0",
    fields={"duplicate_handling": "on_duplicate"},
    choices={"duplicate_handling": {"skip": "skip", "overwrite": "overwrite"}},
    needs_columns=("email",),
    required=("email",),
)
V1_IMPORTS = Profile(
    door="v1",
    fields={name: name for name in FormOptions.model_fields},
    needs_columns=("email", "phone"),
    any_format=True,
)
WIZARD = Profile(
    door="s1",
    fields={"excludedRows": "exclude_rows", "mapping": "mapping", "rules": "rules"},
    # A file that is mapped without an e-mail is imported as it is mapped: every row says what it lacks.
    needs_columns=(),
    required=("email", "first_name"),
    defaults={"phone_check": "lenient"},
)
UPLOADS = Profile(
    door="s4",
    fields={
        "listId": "list_id",
        "listName": "list_name",
        "skipDuplicates": "on_duplicate",
        "validatePhones": "phone_check",
    },
    choices={
        "skipDuplicates": {"true": "skip", "false": "overwrite"},
        "validatePhones": {"true": "strict", "false": "off"},
    },
    needs_columns=("phone",),
    required=("phone",),
    defaults={"match_on": "phone"},
    any_format=True,
)


def read_options(fields: Mapping[str, Any], profile: Profile) -> FormOptions:
    """The options of a form or of a JSON object; what is left empty, or null, is not given.

    Raises:
        OptionUnknown: the door has no such field.
        OptionInvalid: a value that the field does not take.
        OptionsContradict: two options that exclude each other.
    """
    given: dict[str, Any] = dict(profile.defaults)
    names: dict[str, str] = {}
    for name, value in fields.items():
        option = profile.fields.get(name)
        if option is None:
            raise OptionUnknown(field=shown(name), allowed=", ".join(profile.fields))
        if value is None or value == "":
            continue
        if choices := profile.choices.get(name):
            if not isinstance(value, str) or value not in choices:
                raise OptionInvalid(field=name, value=str(value)[:100], allowed=" or ".join(choices))
            value = choices[value]
        given[option], names[option] = value, name
    try:
        options = FormOptions.model_validate(given)
    except ValidationError as error:
        raise _invalid(error, given, names) from None
    if options.list_id and options.list_name:
        raise OptionsContradict(problem="Name a list by its id or by its name, not by both.")
    return options


def _invalid(error: ValidationError, given: Mapping[str, Any], names: Mapping[str, str]) -> OptionInvalid:
    """The first fault, named as the door names it."""
    fault = error.errors(include_url=False, include_input=False)[0]
    option = str(fault["loc"][0])
    context = fault.get("ctx", {})
    allowed = TAKES.get(option) or context.get("expected") or str(context.get("error", "text"))
    return OptionInvalid(field=names[option], value=str(given[option])[:100], allowed=allowed)


def require_columns(columns: Sequence[str], options: FormOptions, profile: Profile) -> None:
    """Raise FileHasNoColumn without a column that the door needs, and MappingInvalid or RulesInvalid for what
    the caller says of columns that are not there."""
    plan = plan_of(columns, options.mapping or stored.Mapped())
    column_rules.refuse_unknown_columns(options.rules, columns)
    if profile.needs_columns and not any(name in plan.fields for name in profile.needs_columns):
        known = ", ".join(shown(name) for name in columns[:20])
        raise FileHasNoColumn(field=" or ".join(profile.needs_columns), columns=known)


def job_options(options: FormOptions, profile: Profile, created_at: datetime) -> ImportOptions:
    """The options as they travel with every batch."""
    mapped = options.mapping or stored.Mapped()
    return ImportOptions(
        on_duplicate=options.on_duplicate,
        match_on=options.match_on,
        dnc_policy=options.dnc_policy,
        phone_check=options.phone_check,
        mode=options.mode,
        dry_run=options.dry_run,
        blanks=options.blanks,
        region=options.region,
        required=list(profile.required),
        missing_email=profile.missing_email,
        mapping=mapped.mapping,
        created_at=int(created_at.timestamp() * 1000),
        sources=mapped.sources,
        unmapped=mapped.unmapped,
        rules=options.rules,
    )


def stored_options(options: FormOptions, profile: Profile, created_at: datetime) -> str:
    """The options as they are kept with the job, JSON."""
    asked = msgspec.to_builtins(job_options(options, profile, created_at))
    asked |= {"exclude_rows": list(excluded_rows(options))}
    return msgspec.json.encode(asked).decode()


def asked_of(options: FormOptions) -> Asked:
    """How the file is to be opened, as far as the options say it."""
    return Asked(sheet=options.sheet, encoding=options.encoding, delimiter=options.delimiter)


def excluded_rows(options: FormOptions) -> Sequence[int]:
    """The rows to leave out, each once, in order."""
    return sorted(set(options.exclude_rows))
