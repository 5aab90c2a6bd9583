"""One event of every kind, made from its type annotations, so that a new field cannot be forgotten."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec

from sluice.events import EVENTS


def event_of(topic: str, *, filled: bool = True) -> Any:
    """An event of a topic. With `filled` every optional value is there and every list has two items."""
    return _value(EVENTS[topic], topic, filled)


def _value(kind: Any, name: str, filled: bool) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (inner,) = [each for each in arguments if each is not type(None)]
        return _value(inner, name, filled) if filled else None
    if origin is list:
        return [_value(arguments[0], f"{name}[{index}]", filled) for index in range(2 if filled else 0)]
    if origin is dict:
        return {f"key of {name}": _value(arguments[1], name, filled)} if filled else {}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{field: _value(hints[field], field, filled) for field in kind.__struct_fields__})
    plain = {str: f"{name} ñ", int: len(name), float: 1.5, bool: True, bytes: name.encode()}
    return plain[kind]
