"""Why a new version of a schema would break its readers, in words. The registry's own check decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def breaking_change(old: Mapping[str, Any], new: Mapping[str, Any], *, both: bool) -> str | None:
    """Name the first field by which `new` could not read what `old` wrote (and, with `both`, the reverse).

    The registry decides in the end; this says it in words, which the registry's answer does not.
    """
    return _unreadable(old, new) or (_unreadable(new, old) if both else None)


def _unreadable(written: Any, read: Any, path: str = "") -> str | None:
    kind_written, kind_read = _kind(written), _kind(read)
    if kind_read == "union":
        options = read if isinstance(read, list) else [read]
        written_options = written if isinstance(written, list) else [written]
        for option in written_options:
            if all(_unreadable(option, choice, path) for choice in options):
                return f"{path or 'the record'} may hold {_kind(option)}, which is read no more."
        return None
    if kind_written == "union":
        return next((problem for option in written if (problem := _unreadable(option, read, path))), None)
    if kind_written != kind_read and (kind_written, kind_read) not in _PROMOTIONS:
        return f"{path or 'the record'} changed from {kind_written} to {kind_read}."
    if kind_read == "record":
        held = {field["name"]: field for field in written["fields"]}
        for field in read["fields"]:
            name = f"{path}.{field['name']}" if path else f"field {field['name']}"
            if field["name"] not in held:
                if "default" not in field:
                    return f"{name} has no default, and older messages do not carry it."
                continue
            if problem := _unreadable(held[field["name"]]["type"], field["type"], name):
                return problem
        return None
    if kind_read in ("array", "map"):
        inner = "items" if kind_read == "array" else "values"
        return _unreadable(written[inner], read[inner], f"{path}[]")
    return None


_PROMOTIONS = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}


def _kind(schema: Any) -> str:
    if isinstance(schema, list):
        return "union"
    if isinstance(schema, dict):
        return str(schema["type"])
    # A name defined earlier in the schema, such as SourcePosition, was compared where it stands.
    return "record by name" if schema not in _PRIMITIVES else str(schema)


_PRIMITIVES = {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
