"""The description of the doors for files: the wizard's six routes, S4's uploads, saved mappings."""

from __future__ import annotations

from collections.abc import Mapping

from ingress.commands.options import UPLOADS
from ingress.openapi_shapes import (
    MAYBE_TEXT,
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
    ref,
)
from sluice.outcome import Outcome

_FILE_ID: Json = {"type": "string", "description": "What POST /api/upload answered."}
_MAPPING: Json = {"type": "object", "description": "Column to field, or fields with their sources."}
_ROW: Json = {"type": "object", "description": "_rowIndex, _isValid, _errors, and the row's values."}

WIZARD_REFUSALS: Mapping[int, str] = {
    400: "A value is missing or cannot be.",
    401: "No valid token.",
    403: "The role does not allow it.",
    404: "Not there, or not your own.",
    409: "The file is past this step, or is being analyzed in another way.",
    429: "Rate limit exceeded; Retry-After says when to come back.",
    500: "The route's own failure; a service may be away, so try again.",
}
"""Status to what it means for the wizard; every one has the body of `WizardError`."""


def schemas() -> Json:
    """The shapes of these doors."""
    columns = {"type": "array", "items": TEXT}
    rows = {"type": "array", "items": _ROW}
    told: Json = {"processed": NUMBER, "total": {"type": ["integer", "null"]}, "status": TEXT}
    proposals: Json = {"type": "array", "items": {"type": "object"}}
    results = ("totalRows", "validContacts", "invalidContacts", "duplicates", "imported", "skipped")
    template = {"id": TEXT, "name": TEXT, "mapping": _MAPPING, "created_at": TIME, "updated_at": TIME}
    return {
        "WizardError": object_of({"error": TEXT, "code": TEXT}),
        "ImportFailure": {
            **object_of({"error": TEXT, "code": TEXT, "reason": MAYBE_TEXT}, required=False),
            "required": ["code", "error"],
        },
        "Analysis": object_of(
            {
                "status": {"enum": ["analyzing", "complete", "error"]},
                "progress": {
                    **object_of({**told, "proposals": proposals}, required=False),
                    "required": sorted(told),
                },
                "message": TEXT,
                "summary": object_of(
                    {
                        **dict.fromkeys(("totalRows", "validRows", "invalidRows"), NUMBER),
                        "columns": columns,
                        "columnSummary": {"type": "object"},
                        "sampleRows": rows,
                        "s3Key": TEXT,
                        "fileId": TEXT,
                        "proposals": proposals,
                        "sheets": {"type": "array", "items": TEXT, "description": "Of a workbook."},
                        "notes": {
                            "type": "array",
                            "items": TEXT,
                            "description": "For the person who confirms.",
                        },
                        "encoding": TEXT,
                        "delimiter": TEXT,
                    },
                    required=False,
                ),
            },
            required=False,
        ),
        "Preview": object_of({"rows": rows, **dict.fromkeys(("total", "page", "pageSize"), NUMBER)}),
        "ImportResult": object_of(
            {
                "success": {"type": "boolean"},
                "imported": NUMBER,
                "skipped": NUMBER,
                "errors": {"type": "array", "items": object_of({"row": NUMBER, "message": TEXT})},
                "fileId": _FILE_ID,
            },
            required=False,
        ),
        "UploadStatus": object_of(
            {
                "id": TEXT,
                "filename": TEXT,
                "status": {"enum": ["pending", "processing", "completed", "failed"]},
                "reason": MAYBE_TEXT,
                "progress": {"type": "number"},
                "results": object_of(dict.fromkeys(results, NUMBER)),
                "outcomes": object_of({outcome.value: NUMBER for outcome in Outcome}),
                "validationErrors": {
                    "type": "array",
                    "maxItems": 100,
                    "items": object_of({"row": NUMBER, "error": TEXT, "data": {"type": "object"}}),
                },
                "createdAt": TIME,
                "completedAt": TIME,
            }
        ),
        "MappingTemplate": object_of(template),
    }


def paths() -> Json:
    """The paths of these doors."""
    return {**_wizard(), **_uploads(), **_templates()}


def _wizard() -> Json:
    announced = object_of(
        {"uploadUrl": TEXT, "fileId": TEXT, "s3Key": TEXT, "uploadPost": {"type": "object"}}
    )
    finished = _told(ref("ImportResult"), 400, 403, 404)
    finished["202"] = {**finished["200"], "description": "Not finished yet: counts so far; ask again."}
    finished["500"] = {
        "description": "The import failed, with its reason; or a service is away, so try again.",
        "content": {"application/json": {"schema": ref("ImportFailure")}},
    }
    return {
        "/api/upload": _post(
            "announceUpload",
            "A URL to which the browser may PUT its file, and a form that holds it to its size.",
            {"filename": TEXT, "fileType": TEXT, "fileSize": NUMBER},
            _told(announced, 400, 403),
        ),
        "/api/analyze": _post(
            "analyze",
            "Analyze a file that was uploaded; sheet, encoding and delimiter may be named.",
            {"fileId": _FILE_ID, "s3Key": TEXT},
            _told(object_of({"status": {"const": "analyzing"}}), 400, 403, 404, 409),
            {"sheet": TEXT, "encoding": TEXT, "delimiter": TEXT},
        ),
        "/api/analyze/status/{file_id}": {
            "get": {
                "operationId": "getAnalysis",
                "summary": "How far an analysis is, or what it found.",
                "parameters": [in_path("file_id", "The file's id.")],
                "responses": _told(ref("Analysis"), 404),
            }
        },
        "/api/map-columns": _post(
            "mapColumns",
            "Choose which column is which field; the sample is judged anew.",
            {"fileId": _FILE_ID, "mapping": _MAPPING},
            _told(object_of({"success": {"const": True}}), 400, 403, 404),
            {"rules": {"type": "array", "items": {"type": "object"}}},
        ),
        "/api/preview": {
            "get": {
                "operationId": "preview",
                "summary": "A hundred rows of the sample.",
                "parameters": [in_query("fileId", "The file's id."), in_query("page", "From 1.")],
                "responses": _told(ref("Preview"), 400, 404),
            }
        },
        "/api/import": _post(
            "runImport",
            "Import the mapped file and wait for the result.",
            {"fileId": _FILE_ID},
            finished,
            {"excludedRows": {"type": "array", "items": {"type": "integer", "minimum": 1}}},
        ),
    }


def _uploads() -> Json:
    flags = {name: {"enum": list(choices), "default": "true"} for name, choices in UPLOADS.choices.items()}
    lists = {
        "listId": {**TEXT, "description": "A list that all contacts are put on."},
        "listName": {**TEXT, "description": "The same by name; made if it is new."},
    }
    accepted = ("jobId", "filename", "status", "estimatedProcessingTime")
    template = answers_of(200, TEXT, 422)
    template["200"]["content"] = {
        "text/csv": {"schema": TEXT},
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": {},
    }
    return {
        "/v1/uploads/contacts": {
            "post": {
                "operationId": "uploadContacts",
                "summary": "Import a file of any kind; answers at once.",
                "requestBody": form_of({**lists, **flags}),
                "responses": answers_of(
                    202,
                    data_of(object_of({**dict.fromkeys(accepted, TEXT), "fileSize": NUMBER})),
                    *(400, 403, 413, 415, 422),
                ),
            }
        },
        "/v1/uploads/contacts/{job_id}": {
            "get": {
                "operationId": "getUpload",
                "summary": "One import in four words: results, and the first hundred faults.",
                "parameters": [in_path("job_id", "The job's id.")],
                "responses": answers_of(200, data_of(ref("UploadStatus")), 404),
            }
        },
        "/v1/uploads/template": {
            "get": {
                "operationId": "getTemplate",
                "summary": "The empty file that people fill in.",
                "parameters": [in_query("format", "csv or xlsx.", {"enum": ["csv", "xlsx"]})],
                "responses": template,
            }
        },
    }


def _templates() -> Json:
    template = ref("MappingTemplate")
    listed = object_of({"data": {"type": "array", "items": template}})
    gone = answers_of(204, TEXT, 403, 404)
    gone["204"] = {"description": "It is gone."}
    saved = answers_of(201, data_of(template), 400, 403, 409, 422)
    return {
        "/v1/mapping-templates": {
            "get": {
                "operationId": "listMappingTemplates",
                "summary": "The mappings that the organization saved, by name.",
                "responses": answers_of(200, listed),
            },
            "post": {
                "operationId": "saveMappingTemplate",
                "summary": "Save a mapping under a name, in the place of one that has it.",
                "requestBody": json_of(object_of({"name": TEXT, "mapping": _MAPPING})),
                "responses": {**saved, "200": {**saved["201"], "description": "It took another's place."}},
            },
        },
        "/v1/mapping-templates/{template_id}": {
            "delete": {
                "operationId": "deleteMappingTemplate",
                "summary": "Forget a saved mapping.",
                "parameters": [in_path("template_id", "The template's id.")],
                "responses": gone,
            }
        },
    }


def _post(operation: str, summary: str, needed: Json, answers: Json, more: Json | None = None) -> Json:
    body = {**object_of({**needed, **(more or {})}, required=False), "required": sorted(needed)}
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "requestBody": json_of(body),
            "responses": answers,
        }
    }


def _told(schema: Json, *refused: int) -> Json:
    """A wizard's answer, and its refusals in its own form."""
    answers: Json = {"200": {"description": "Done.", "content": {"application/json": {"schema": schema}}}}
    for code in (*refused, 401, 429, 500):
        answers[str(code)] = {
            "description": WIZARD_REFUSALS[code],
            "content": {"application/json": {"schema": ref("WizardError")}},
        }
    return answers
