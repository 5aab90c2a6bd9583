"""The pieces that the description of the API is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
MAYBE_TEXT: Json = {"type": ["string", "null"]}
NUMBER: Json = {"type": "integer", "minimum": 0}
TIME: Json = {"type": ["string", "null"], "format": "date-time"}
FILE: Json = {"type": "string", "contentMediaType": "text/csv", "description": "The file."}

REFUSALS: Mapping[int, str] = {
    400: "No file, two files, or a body that was cut off.",
    401: "No valid token.",
    403: "The role does not allow it, or X-Organization-ID names another organization.",
    404: "Not there, or not your organization's.",
    409: "The import, or a row of it, is in a state that does not allow it.",
    413: "The file is larger than MAX_FILE_SIZE_MB.",
    415: "The content is of no kind that the door takes, whatever the file is called.",
    422: "An option, a column or the file's content that cannot be used.",
    429: "Too many requests or imports; Retry-After says when to come back.",
    503: "A service is away; Retry-After says when to come back. Nothing was taken in.",
}
"""Status to what it means; every one has the body of `Error`."""


def object_of(properties: Json, *, required: bool = True) -> Json:
    """An object; all its properties are there unless `required` is False."""
    return {
        "type": "object",
        "properties": properties,
        **({"required": sorted(properties)} if required else {}),
    }


def ref(name: str) -> Json:
    """A schema of the document by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def answers_of(status: int, schema: Json, *refused: int) -> Json:
    """An answer with this status and body, and what refuses it."""
    answers: Json = {
        str(status): {"description": "Done.", "content": {"application/json": {"schema": schema}}}
    }
    for code in (*refused, 401, 429, 503):
        answers[str(code)] = {
            "description": REFUSALS[code],
            "content": {"application/json": {"schema": ref("Error")}},
        }
    return answers


def data_of(schema: Json) -> Json:
    """A body that has it under `data`."""
    return object_of({"data": schema})


def page_of(schema: Json) -> Json:
    """A page of these."""
    cursor = object_of({"next_cursor": {"type": ["string", "null"]}})
    return object_of({"data": {"type": "array", "items": schema}, "pagination": cursor})


def in_query(name: str, description: str, schema: Json | None = None) -> Json:
    """A parameter behind the question mark."""
    return {"name": name, "in": "query", "description": description, "schema": schema or TEXT}


def in_path(name: str, description: str) -> Json:
    """A part of the path."""
    return {"name": name, "in": "path", "required": True, "description": description, "schema": TEXT}


def form_of(properties: Json) -> Json:
    """A multipart form with one file and these fields."""
    form = {**object_of({"file": FILE, **properties}, required=False), "required": ["file"]}
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": {**form, "additionalProperties": False}}},
    }


def json_of(schema: Json) -> Json:
    """A body of JSON."""
    return {"required": True, "content": {"application/json": {"schema": schema}}}
