"""One JSON object as the fields of one contact.

- Numbers stay as they are written: a telephone number is never rounded.
- Nested objects give dotted names: `address.city`.
- Several values are joined by " ::: ", the primary one first. Of `[{"value": "a@example.org", "type":
  "work"}]` the value is taken. Objects that are no single value, such as postal addresses, give the fields of
  the first, and all others as text in `addresses (others)`.
- A name that stands twice in an object has several values.
- null and what is empty give an empty text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ingress.formats.opening import VALUE_SEPARATOR

# Deeper than any export of contacts (Google's own goes four levels deep), and far from the parser's limit.
MAX_DEPTH = 16

_CONSTANTS = {None: "", True: "true", False: "false"}

# A field's name is cut here: a name may not be a row's worth of text, once for each of its members.
MAX_NAME = 200

# What an object in a list is about, best first, and what only describes it.
_VALUES = (
    "value",
    "email",
    "emailaddress",
    "address",
    "number",
    "phone",
    "phonenumber",
    "url",
    "uri",
    "name",
)
_DESCRIBING = frozenset(
    {"type", "types", "label", "labels", "kind", "context", "formattedtype", "metadata", "id", "primary"}
    | {"isprimary", "ispref", "pref", "preferred", "default", "isdefault", "verified", "canonicalform"}
)
_PRIMARY = frozenset({"primary", "isprimary", "preferred", "default", "isdefault"})


class TooDeep(ValueError):
    """The value is nested deeper than MAX_DEPTH."""


def _refuse_constant(name: str) -> NoReturn:
    # The library reads NaN and Infinity, which JSON does not have (RFC 8259, 6).
    raise json.JSONDecodeError(f"{name} is no number of JSON", name, 0)


def object_of(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object with these members. Of a name that stands in it with several values they are a list."""
    found = dict(members)
    if len(found) == len(members):
        return found
    several: dict[str, dict[str, Any]] = {}
    for name, value in members:
        several.setdefault(name, {})[repr(value)] = value
    return {name: _together(list(values.values())) for name, values in several.items()}


def _together(values: list[Any]) -> Any:
    if len(values) == 1:
        return values[0]
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


scan = json.JSONDecoder(
    object_pairs_hook=object_of, parse_int=str, parse_float=str, parse_constant=_refuse_constant
).raw_decode
"""`scan(text, at)`: the JSON value that begins exactly there and where it ends, its numbers as texts.

Raises JSONDecodeError where there is none, RecursionError where it is nested too deep.
"""


_PROBLEMS = {
    "Expecting value": "there is no value",
    "Expecting ',' delimiter": 'there is no ","',
    "Expecting ':' delimiter": 'there is no ":" behind the name',
    "Expecting property name enclosed in double quotes": "there is no name in quotation marks",
    "Unterminated string starting at": "a text is begun and never closed",
    "Invalid control character at": "a line end or another control character stands in a text",
    "Invalid \\escape": "a backslash stands before a character that has no such form",
    "Invalid \\uXXXX escape": "\\u is not followed by four hexadecimal digits",
}


def told(error: json.JSONDecodeError) -> str:
    """What the parser has against a text, for a person."""
    problem = error.msg.split(": ")[0]
    return _PROBLEMS.get(problem, problem)


def flatten(value: Mapping[str, Any]) -> dict[str, str]:
    """The object's fields, trimmed. Raises TooDeep."""
    fields = _Fields()
    for name, item in value.items():
        if type(item) is str and len(name) <= MAX_NAME and name not in fields.texts:
            fields.texts[name] = item.strip()
        else:
            fields.add(name, item, depth=1)
    return fields.joined()


class _Fields:
    """The fields of an object while it is read: their texts in order, and the values of those that may have
    several."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._several: dict[str, list[str]] = {}

    def joined(self) -> dict[str, str]:
        """The fields in the order in which they came."""
        for name, values in self._several.items():
            self.texts[name] = VALUE_SEPARATOR.join(filter(None, values))
        return self.texts

    def add(self, name: str, item: object, *, depth: int) -> None:
        """Add what `item` holds, under this name or names that begin with it."""
        if depth > MAX_DEPTH:
            raise TooDeep
        name = name[:MAX_NAME]
        if isinstance(item, dict) and item:
            for member, inner in item.items():
                self.add(f"{name}.{member}", inner, depth=depth + 1)
        elif isinstance(item, list) and item:
            self._add_list(name, item, depth=depth)
        else:
            self._append(name, _text(item))

    def _add_list(self, name: str, items: Sequence[object], *, depth: int) -> None:
        expanded = False
        for item in sorted(items, key=_is_secondary):
            value = _value_of(item)
            if isinstance(value, dict) and expanded:
                self._append(f"{name} (others)", _in_one_line(value, depth=depth))
            else:
                self.add(name, value, depth=depth + 1)
                expanded = expanded or isinstance(value, dict)

    def _append(self, name: str, text: str) -> None:
        if name not in self._several:
            self._several[name] = [self.texts.setdefault(name, "")]
        self._several[name].append(text)


def _in_one_line(item: Mapping[str, object], *, depth: int) -> str:
    fields = _Fields()
    fields.add("", item, depth=depth + 1)
    return ", ".join(filter(None, fields.joined().values()))


def _text(item: object) -> str:
    """A value that holds no others; what holds nothing is empty."""
    if isinstance(item, bool):
        return "true" if item else "false"
    return item.strip() if isinstance(item, str) else ""


def _is_secondary(item: object) -> bool:
    """Whether an item of a list is not marked as the primary one."""
    if not isinstance(item, dict):
        return True
    marks = {**item, **metadata} if isinstance(metadata := item.get("metadata"), dict) else item
    return not any(value is True and _plain(name) in _PRIMARY for name, value in marks.items())


def _value_of(item: object) -> object:
    """What an item of a list is about: of an object its one value, the object itself where it has several."""
    if not isinstance(item, dict):
        return item
    plain = {_plain(name): value for name, value in item.items()}
    if "value" in plain:
        return plain["value"]
    told = [name for name in plain if name not in _DESCRIBING]
    if len(told) == 2 and "name" in told and told[told[0] == "name"] in _VALUES:
        told.remove("name")  # the e-mail address of somebody, as Microsoft Graph gives it
    return plain[told[0]] if len(told) == 1 else item


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
