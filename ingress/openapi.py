"""The description of the API: OpenAPI 3.1 made from the option tables, and a page that needs no internet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.metadata import version

from aiohttp import web

from ingress.commands.options import CONTACTS_IMPORT, FormOptions
from ingress.commands.runs import PROFILE
from ingress.openapi_files import paths as paths_of_files
from ingress.openapi_files import schemas as schemas_of_files
from ingress.openapi_shapes import (
    NUMBER,
    TEXT,
    TIME,
    Json,
    answers_of,
    data_of,
    form_of,
    in_path,
    in_query,
    json_of,
    object_of,
    page_of,
    ref,
)
from sluice.job import JobState, RunKind
from sluice.outcome import Outcome

PATH = "/v1/openapi.json"


def _schemas() -> Json:
    counts = object_of({outcome.value: NUMBER for outcome in Outcome})
    fault = object_of({"field": TEXT, "code": TEXT, "message": TEXT, "value": TEXT})
    error = {
        "code": TEXT,
        "message": TEXT,
        "details": object_of(
            {name: {"type": ["string", "null"]} for name in ("field", "value", "constraint")}
        ),
        "timestamp": TEXT,
        "requestId": TEXT,
    }
    return {
        "Error": object_of({"error": object_of(error)}),
        "Job": object_of(
            {
                "id": {"type": "string", "format": "uuid"},
                "state": {"enum": [state.value for state in JobState]},
                "reason": {"type": ["string", "null"]},
                "run": {**NUMBER, "description": "From 1; healing and committing are further runs."},
                "run_kind": {"enum": [kind.value for kind in RunKind]},
                "rows_read": {**NUMBER, "description": "Every row so far; the counts sum to it."},
                "total_rows": {**NUMBER, "description": "Rows decided and not cancelled."},
                "processed_rows": {**NUMBER, "description": "Rows that are decided or staged."},
                "progress": {"type": "number", "description": "Percent of the file."},
                "counts": object_of({**counts["properties"], "pending": NUMBER}),
                "file": object_of({"name": TEXT, "bytes": NUMBER, "sha256": TEXT}),
                "list_id": {"type": ["string", "null"]},
                "options": {"type": "object"},
                "rate_rows_per_second": {"type": "number"},
                "eta_seconds": {"type": ["number", "null"]},
                "cancel_requested": {"type": "boolean"},
                "timings": {"type": "object"},
                "created_at": TIME,
                "started_at": TIME,
                "completed_at": TIME,
                "created_by": TEXT,
                "undo": {
                    **object_of(
                        {
                            "total": {"type": ["integer", "null"], "description": "Null until counted."},
                            "done": {**NUMBER, "description": "Contacts reversed or kept."},
                            "reversed": NUMBER,
                            "kept_edited": {**NUMBER, "description": "Edited or deleted since."},
                            "kept_colliding": {**NUMBER, "description": "Its identity has a new holder."},
                            "left_lists": {**NUMBER, "description": "Contacts taken off a list."},
                        }
                    ),
                    "type": ["object", "null"],
                    "description": "How far its undo is, in contacts; null until one was asked for.",
                },
            }
        ),
        "KeptContact": object_of(
            {
                "contact_id": {"type": "string", "format": "uuid"},
                "reason": {"enum": ["edited", "deleted", "colliding"]},
                "message": TEXT,
                "held_by": {
                    "type": ["string", "null"],
                    "description": "Who holds an identity that the contact had before.",
                },
                "contact": {"type": "object", "description": "Its name, e-mail and phone as they are now."},
            }
        ),
        "HistoryEvent": object_of(
            {
                "event": {**TEXT, "description": "accepted, started, paused, completed, undo_asked, …"},
                "run": NUMBER,
                "at": {"type": "string", "format": "date-time"},
                "user_id": {"type": ["string", "null"], "description": "Null where a worker did it."},
                "details": {"type": "object"},
            }
        ),
        "Row": object_of(
            {
                "row_no": NUMBER,
                "source_line": {"type": ["integer", "null"]},
                "outcome": {"enum": [*(outcome.value for outcome in Outcome), "pending"]},
                "contact_id": {"type": ["string", "null"]},
                "errors": {"type": "array", "items": fault},
                "values": {
                    "type": ["object", "null"],
                    "description": "The cells by the source's own columns; null when the source is gone.",
                },
                "run": {**NUMBER, "description": "The run that decided it; source_line is in its file."},
                "changes": {
                    "type": ["object", "null"],
                    "description": "Of a dry run's updates: field to its value before and after, cut short.",
                    "additionalProperties": object_of(
                        {name: {"type": ["string", "null"]} for name in ("from", "to")}
                    ),
                },
                "surplus": {"type": "array", "items": TEXT},
            }
        ),
        "ContactsImported": object_of(
            {
                "success": {"type": "boolean"},
                "status": {"enum": [state.value for state in JobState]},
                "jobId": {"type": "string", "format": "uuid"},
                "created": NUMBER,
                "updated": NUMBER,
                "skipped": NUMBER,
                "failed": NUMBER,
                "total": NUMBER,
                "errors": {
                    "type": "array",
                    "maxItems": 1000,
                    "items": object_of(
                        {
                            "row": {**NUMBER, "description": "From 1 behind the header."},
                            "line": {"type": ["integer", "null"], "description": "The source's line."},
                            "field": TEXT,
                            "code": TEXT,
                            "message": TEXT,
                        }
                    ),
                },
                "errorsUrl": {"type": ["string", "null"]},
                "processingTimeMs": NUMBER,
                "outcomes": counts,
            }
        ),
    }


def _file_or_upload(options: Json) -> Json:
    """The form with the file, or its options as JSON with the id of an uploaded one."""
    body = form_of(options)
    upload = {**object_of({"fileId": TEXT, **options}, required=False), "required": ["fileId"]}
    body["content"].update(json_of(upload)["content"])
    return body


def _paths() -> Json:
    options = FormOptions.model_json_schema()["properties"]
    choices = {
        name: {"enum": list(CONTACTS_IMPORT.choices[name]), "default": "skip"}
        for name in CONTACTS_IMPORT.fields
    }
    job = in_path("job_id", "The import's id.")
    paging = [
        in_query("cursor", "next_cursor of the page before."),
        in_query("limit", "50 if missing; at most 100 imports or 500 rows."),
    ]
    taking = (400, 403, 413, 415, 422)
    imported = answers_of(200, ref("ContactsImported"), *taking)
    imported["202"] = {**imported["200"], "description": "Not finished yet: the same shape, counts so far."}
    errors = answers_of(200, TEXT, 404)
    errors["200"]["content"] = {"text/csv": {"schema": TEXT}}
    return {
        "/api/contacts/import": {
            "post": {
                "operationId": "importContacts",
                "summary": "Import a file and wait for the result.",
                "requestBody": form_of(choices),
                "responses": imported,
            }
        },
        "/v1/imports": {
            "post": {
                "operationId": "createImport",
                "summary": "Import a file, or one that was uploaded before; answers at once with the job.",
                "requestBody": _file_or_upload(options),
                "responses": answers_of(202, data_of(ref("Job")), 404, 409, *taking),
            },
            "get": {
                "operationId": "listImports",
                "summary": "The organization's imports, newest first.",
                "parameters": [*paging, in_query("state", "Only jobs in this state.")],
                "responses": answers_of(200, page_of(ref("Job")), 422),
            },
        },
        "/v1/imports/{job_id}": {
            "get": {
                "operationId": "getImport",
                "summary": "One import: state, counts by outcome, rate, time left.",
                "parameters": [job],
                "responses": answers_of(200, data_of(ref("Job")), 404),
            }
        },
        "/v1/imports/{job_id}/rows": {
            "get": {
                "operationId": "listRows",
                "summary": "What became of the rows, in order.",
                "parameters": [job, *paging, in_query("outcome", "Only rows with this outcome.")],
                "responses": answers_of(200, page_of(ref("Row")), 404, 422),
            },
            "post": {
                "operationId": "healRows",
                "summary": "Send the errors file again, corrected: its rows run again under their numbers.",
                "parameters": [job],
                "requestBody": form_of({name: options[name] for name in PROFILE.fields}),
                "responses": answers_of(202, data_of(ref("Job")), 400, 403, 404, 409, 413, 415, 422),
            },
        },
        "/v1/imports/{job_id}/commit": {
            "post": {
                "operationId": "commitImport",
                "summary": "Write a dry run, if every row still ends as it was foretold.",
                "parameters": [job],
                "responses": {
                    **answers_of(200, data_of(ref("Job")), 403, 404, 409),
                    "202": {"description": "Not finished yet; the job's state tells the end."},
                },
            }
        },
        "/v1/imports/{job_id}/rows/{row_no}": {
            "get": {
                "operationId": "getRow",
                "summary": "Where one row went.",
                "parameters": [job, in_path("row_no", "From 1 behind the header.")],
                "responses": answers_of(200, data_of(ref("Row")), 404),
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
                    **answers_of(202, data_of(ref("Job")), 403, 404, 409),
                    "200": {"description": "It was cancelled before."},
                },
            }
        },
        "/v1/imports/{job_id}/pause": {
            "post": {
                "operationId": "pauseImport",
                "summary": "Read no more of an import until it is resumed; what was read is still applied.",
                "parameters": [job],
                "responses": answers_of(200, data_of(ref("Job")), 403, 404, 409),
            }
        },
        "/v1/imports/{job_id}/resume": {
            "post": {
                "operationId": "resumeImport",
                "summary": "Let a paused import go on where it stopped.",
                "parameters": [job],
                "responses": answers_of(200, data_of(ref("Job")), 403, 404, 409),
            }
        },
        "/v1/imports/{job_id}/undo": {
            "post": {
                "operationId": "undoImport",
                "summary": "Take an ended import back, in the background; what was edited since is kept.",
                "parameters": [job],
                "responses": {
                    **answers_of(202, data_of(ref("Job")), 403, 404, 409),
                    "200": {"description": "It is undone: the import had written nothing."},
                },
            },
            "get": {
                "operationId": "listKeptContacts",
                "summary": "The contacts that an undo left as they are, and why.",
                "parameters": [job, *paging],
                "responses": answers_of(200, page_of(ref("KeptContact")), 404, 422),
            },
        },
        "/v1/imports/{job_id}/history": {
            "get": {
                "operationId": "listHistory",
                "summary": "What happened to an import, in order.",
                "parameters": [job, *paging],
                "responses": answers_of(200, page_of(ref("HistoryEvent")), 404, 422),
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
        "paths": {**_paths(), **paths_of_files()},
        "components": {
            "schemas": {**_schemas(), **schemas_of_files()},
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
        kind, content = next(iter(body["content"].items()))
        for name, schema in content["schema"]["properties"].items():
            choices = ", ".join(map(str, schema.get("enum", ())))
            default = f" Default: {schema['default']}." if schema.get("default") not in (None, []) else ""
            where = "JSON" if kind == "application/json" else "form"
            yield name, where, f"{schema.get('description', '')} {choices}{default}".strip()
