"""The description of the API: OpenAPI 3.1 made from the option tables, and a page that needs no internet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from importlib.metadata import version
from typing import Any

from aiohttp import web

from ingress.commands.options import CONTACTS_IMPORT, FormOptions
from ingress.commands.runs import PROFILE
from sluice.job import JobState, RunKind
from sluice.outcome import Outcome

PATH = "/v1/openapi.json"

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_MAYBE_TEXT: Json = {"type": ["string", "null"]}
_NUMBER: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": ["string", "null"], "format": "date-time"}
_FILE: Json = {"type": "string", "contentMediaType": "text/csv", "description": "The CSV file."}

REFUSALS: Mapping[int, str] = {
    400: "No file, two files, or a body that was cut off.",
    401: "No valid token.",
    403: "The role does not allow it, or X-Organization-ID names another organization.",
    404: "Not there, or not your organization's.",
    409: "The import, or a row of it, is in a state that does not allow it.",
    413: "The file is larger than MAX_FILE_SIZE_MB.",
    415: "The content is not CSV, whatever the file is called.",
    422: "An option, a column or the file's content that cannot be used.",
    429: "Too many requests or imports; Retry-After says when to come back.",
    503: "A service is away; Retry-After says when to come back. Nothing was taken in.",
}
"""Status to what it means; every one has the body of `Error`."""


def _object(properties: Json, *, required: bool = True) -> Json:
    return {
        "type": "object",
        "properties": properties,
        **({"required": sorted(properties)} if required else {}),
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> Json:
    counts = _object({outcome.value: _NUMBER for outcome in Outcome})
    fault = _object({"field": _TEXT, "code": _TEXT, "message": _TEXT, "value": _TEXT})
    error = {
        "code": _TEXT,
        "message": _TEXT,
        "details": _object({name: {"type": ["string", "null"]} for name in ("field", "value", "constraint")}),
        "timestamp": _TEXT,
        "requestId": _TEXT,
    }
    return {
        "Error": _object({"error": _object(error)}),
        "Job": _object(
            {
                "id": {"type": "string", "format": "uuid"},
                "state": {"enum": [state.value for state in JobState]},
                "reason": {"type": ["string", "null"]},
                "run": {**_NUMBER, "description": "From 1; healing and committing are further runs."},
                "run_kind": {"enum": [kind.value for kind in RunKind]},
                "rows_read": {**_NUMBER, "description": "Every row so far; the counts sum to it."},
                "total_rows": {**_NUMBER, "description": "Rows decided and not cancelled."},
                "processed_rows": {**_NUMBER, "description": "Rows that are decided or staged."},
                "progress": {"type": "number", "description": "Percent of the file."},
                "counts": _object({**counts["properties"], "pending": _NUMBER}),
                "file": _object({"name": _TEXT, "bytes": _NUMBER, "sha256": _TEXT}),
                "list_id": {"type": ["string", "null"]},
                "options": {"type": "object"},
                "rate_rows_per_second": {"type": "number"},
                "eta_seconds": {"type": ["number", "null"]},
                "cancel_requested": {"type": "boolean"},
                "timings": {"type": "object"},
                "created_at": _TIME,
                "started_at": _TIME,
                "completed_at": _TIME,
                "created_by": _TEXT,
                "undo": {
                    **_object(
                        {
                            "total": {"type": ["integer", "null"], "description": "Null until counted."},
                            "done": {**_NUMBER, "description": "Contacts reversed or kept."},
                            "reversed": _NUMBER,
                            "kept_edited": {**_NUMBER, "description": "Edited or deleted since."},
                            "kept_colliding": {**_NUMBER, "description": "Its identity has a new holder."},
                            "left_lists": {**_NUMBER, "description": "Contacts taken off a list."},
                        }
                    ),
                    "type": ["object", "null"],
                    "description": "How far its undo is, in contacts; null until one was asked for.",
                },
            }
        ),
        "KeptContact": _object(
            {
                "contact_id": {"type": "string", "format": "uuid"},
                "reason": {"enum": ["edited", "deleted", "colliding"]},
                "message": _TEXT,
                "held_by": {
                    "type": ["string", "null"],
                    "description": "Who holds an identity that the contact had before.",
                },
                "contact": {"type": "object", "description": "Its name, e-mail and phone as they are now."},
            }
        ),
        "HistoryEvent": _object(
            {
                "event": {**_TEXT, "description": "accepted, started, paused, completed, undo_asked, …"},
                "run": _NUMBER,
                "at": {"type": "string", "format": "date-time"},
                "user_id": {"type": ["string", "null"], "description": "Null where a worker did it."},
                "details": {"type": "object"},
            }
        ),
        "Row": _object(
            {
                "row_no": _NUMBER,
                "source_line": {"type": ["integer", "null"]},
                "outcome": {"enum": [*(outcome.value for outcome in Outcome), "pending"]},
                "contact_id": {"type": ["string", "null"]},
                "errors": {"type": "array", "items": fault},
                "values": {
                    "type": ["object", "null"],
                    "description": "The cells by the source's own columns; null when the source is gone.",
                },
                "run": {**_NUMBER, "description": "The run that decided it; source_line is in its file."},
                "changes": {
                    "type": ["object", "null"],
                    "description": "Of a dry run's updates: field to its value before and after, cut short.",
                    "additionalProperties": _object(
                        {name: {"type": ["string", "null"]} for name in ("from", "to")}
                    ),
                },
                "surplus": {"type": "array", "items": _TEXT},
            }
        ),
        "ContactsImported": _object(
            {
                "success": {"type": "boolean"},
                "status": {"enum": [state.value for state in JobState]},
                "jobId": {"type": "string", "format": "uuid"},
                "created": _NUMBER,
                "updated": _NUMBER,
                "skipped": _NUMBER,
                "failed": _NUMBER,
                "total": _NUMBER,
                "errors": {
                    "type": "array",
                    "maxItems": 1000,
                    "items": _object(
                        {
                            "row": {**_NUMBER, "description": "From 1 behind the header."},
                            "line": {"type": ["integer", "null"], "description": "The source's line."},
                            "field": _TEXT,
                            "code": _TEXT,
                            "message": _TEXT,
                        }
                    ),
                },
                "errorsUrl": {"type": ["string", "null"]},
                "processingTimeMs": _NUMBER,
                "outcomes": counts,
            }
        ),
    }


def _answers(status: int, schema: Json, *refused: int) -> Json:
    answers: Json = {
        str(status): {"description": "Done.", "content": {"application/json": {"schema": schema}}}
    }
    for code in (*refused, 401, 429, 503):
        answers[str(code)] = {
            "description": REFUSALS[code],
            "content": {"application/json": {"schema": _ref("Error")}},
        }
    return answers


def _data(schema: Json) -> Json:
    return _object({"data": schema})


def _page(schema: Json) -> Json:
    cursor = _object({"next_cursor": {"type": ["string", "null"]}})
    return _object({"data": {"type": "array", "items": schema}, "pagination": cursor})


def _query(name: str, description: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema or _TEXT}


def _in_path(name: str, description: str) -> Json:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": _TEXT}


def _form(properties: Json) -> Json:
    form = {**_object({"file": _FILE, **properties}, required=False), "required": ["file"]}
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": {**form, "additionalProperties": False}}},
    }


def _paths() -> Json:
    options = FormOptions.model_json_schema()["properties"]
    choices = {
        name: {"enum": list(CONTACTS_IMPORT.choices[name]), "default": "skip"}
        for name in CONTACTS_IMPORT.fields
    }
    job = _in_path("job_id", "The import's id.")
    paging = [
        _query("cursor", "next_cursor of the page before."),
        _query("limit", "50 if missing; at most 100 imports or 500 rows."),
    ]
    taking = (400, 403, 413, 415, 422)
    imported = _answers(200, _ref("ContactsImported"), *taking)
    imported["202"] = {**imported["200"], "description": "Not finished yet: the same shape, counts so far."}
    errors = _answers(200, _TEXT, 404)
    errors["200"]["content"] = {"text/csv": {"schema": _TEXT}}
    return {
        "/api/contacts/import": {
            "post": {
                "operationId": "importContacts",
                "summary": "Import a file and wait for the result.",
                "requestBody": _form(choices),
                "responses": imported,
            }
        },
        "/v1/imports": {
            "post": {
                "operationId": "createImport",
                "summary": "Import a file; answers at once with the job.",
                "requestBody": _form(options),
                "responses": _answers(202, _data(_ref("Job")), *taking),
            },
            "get": {
                "operationId": "listImports",
                "summary": "The organization's imports, newest first.",
                "parameters": [*paging, _query("state", "Only jobs in this state.")],
                "responses": _answers(200, _page(_ref("Job")), 422),
            },
        },
        "/v1/imports/{job_id}": {
            "get": {
                "operationId": "getImport",
                "summary": "One import: state, counts by outcome, rate, time left.",
                "parameters": [job],
                "responses": _answers(200, _data(_ref("Job")), 404),
            }
        },
        "/v1/imports/{job_id}/rows": {
            "get": {
                "operationId": "listRows",
                "summary": "What became of the rows, in order.",
                "parameters": [job, *paging, _query("outcome", "Only rows with this outcome.")],
                "responses": _answers(200, _page(_ref("Row")), 404, 422),
            },
            "post": {
                "operationId": "healRows",
                "summary": "Send the errors file again, corrected: its rows run again under their numbers.",
                "parameters": [job],
                "requestBody": _form({name: options[name] for name in PROFILE.fields}),
                "responses": _answers(202, _data(_ref("Job")), 400, 403, 404, 409, 413, 415, 422),
            },
        },
        "/v1/imports/{job_id}/commit": {
            "post": {
                "operationId": "commitImport",
                "summary": "Write a dry run, if every row still ends as it was foretold.",
                "parameters": [job],
                "responses": {
                    **_answers(200, _data(_ref("Job")), 403, 404, 409),
                    "202": {"description": "Not finished yet; the job's state tells the end."},
                },
            }
        },
        "/v1/imports/{job_id}/rows/{row_no}": {
            "get": {
                "operationId": "getRow",
                "summary": "Where one row went.",
                "parameters": [job, _in_path("row_no", "From 1 behind the header.")],
                "responses": _answers(200, _data(_ref("Row")), 404),
            }
        },
        "/v1/imports/{job_id}/errors.csv": {
            "get": {
                "operationId": "getErrorsFile",
                "summary": "The refused rows with their reasons, to be mended and sent again.",
                "parameters": [job],
                "responses": errors,
            }
        },
        "/v1/imports/{job_id}/cancel": {
            "post": {
                "operationId": "cancelImport",
                "summary": "End an import; rows that are written stay.",
                "parameters": [job],
                "responses": {
                    **_answers(202, _data(_ref("Job")), 403, 404, 409),
                    "200": {"description": "It was cancelled before."},
                },
            }
        },
        "/v1/imports/{job_id}/pause": {
            "post": {
                "operationId": "pauseImport",
                "summary": "Read no more of an import until it is resumed; what was read is still applied.",
                "parameters": [job],
                "responses": _answers(200, _data(_ref("Job")), 403, 404, 409),
            }
        },
        "/v1/imports/{job_id}/resume": {
            "post": {
                "operationId": "resumeImport",
                "summary": "Let a paused import go on where it stopped.",
                "parameters": [job],
                "responses": _answers(200, _data(_ref("Job")), 403, 404, 409),
            }
        },
        "/v1/imports/{job_id}/undo": {
            "post": {
                "operationId": "undoImport",
                "summary": "Take an ended import back, in the background; what was edited since is kept.",
                "parameters": [job],
                "responses": {
                    **_answers(202, _data(_ref("Job")), 403, 404, 409),
                    "200": {"description": "It is undone: the import had written nothing."},
                },
            },
            "get": {
                "operationId": "listKeptContacts",
                "summary": "The contacts that an undo left as they are, and why.",
                "parameters": [job, *paging],
                "responses": _answers(200, _page(_ref("KeptContact")), 404, 422),
            },
        },
        "/v1/imports/{job_id}/history": {
            "get": {
                "operationId": "listHistory",
                "summary": "What happened to an import, in order.",
                "parameters": [job, *paging],
                "responses": _answers(200, _page(_ref("HistoryEvent")), 404, 422),
            }
        },
    }


@cache
def document() -> Json:
    """The OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": version("sluice"),
            "description": "Contact data in, clean contacts out, every row accounted for.",
        },
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


async def description(request: web.Request) -> web.Response:
    """The document as JSON."""
    return web.json_response(document())


async def page(request: web.Request) -> web.Response:
    """The same for people."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return web.Response(text=_html(), content_type="text/html", headers=headers)


@cache
def _html() -> str:
    sections = "".join(
        _section(path, method, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(
        f"<h3 id='{escape(name)}'>{escape(name)}</h3><pre>{escape(json.dumps(schema, indent=2))}</pre>"
        for name, schema in document()["components"]["schemas"].items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Sluice API</title>"
        "<meta name=viewport content='width=device-width'><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "code,pre{font-family:ui-monospace,monospace;font-size:.875em}"
        "pre{background:#f4f4f4;padding:1rem;overflow:auto}table{border-collapse:collapse;width:100%}"
        "td{border-top:1px solid #ddd;padding:.25rem .5rem;vertical-align:top}"
        "h2 code{background:#e8eef7;padding:.1rem .4rem;border-radius:.2rem}</style>"
        f"<h1>Sluice API</h1><p>{escape(document()['info']['description'])} Send a token as "
        f"<code>Authorization: Bearer …</code>. For programs: <a href='{PATH}'>{PATH}</a>.</p>"
        f"{sections}<h2>Shapes</h2>{schemas}"
    )


def _section(path: str, method: str, operation: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{escape(where)}<td>{escape(text)}"
        for name, where, text in _inputs(operation)
    )
    answers = "".join(
        f"<tr><td><code>{escape(status)}</code><td colspan=2>{escape(answer['description'])}"
        for status, answer in sorted(operation["responses"].items())
    )
    return (
        f"<h2><code>{method.upper()}</code> {escape(path)}</h2><p>{escape(operation['summary'])}</p>"
        f"<table>{rows}{answers}</table>"
    )


def _inputs(operation: Json) -> Iterator[tuple[str, str, str]]:
    for parameter in operation.get("parameters", ()):
        yield parameter["name"], parameter["in"], parameter["description"]
    if body := operation.get("requestBody"):
        for name, schema in body["content"]["multipart/form-data"]["schema"]["properties"].items():
            choices = ", ".join(map(str, schema.get("enum", ())))
            default = f" Default: {schema['default']}." if schema.get("default") not in (None, []) else ""
            yield name, "form", f"{schema.get('description', '')} {choices}{default}".strip()
