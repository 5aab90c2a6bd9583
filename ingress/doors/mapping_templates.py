"""`/v1/mapping-templates`: mappings that an organization saves under names."""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from ingress.commands.mappings import Template, Templates
from ingress.doors.receiving import PRINCIPAL, SERVICES, read_json
from ingress.doors.v1_imports import time_text
from sluice.errors import NotFound

PATH = "/v1/mapping-templates"


async def list_all(request: web.Request) -> web.Response:
    """The organization's templates, by name."""
    templates = await Templates(request.app[SERVICES]).all(request[PRINCIPAL])
    return web.json_response({"data": [template_json(each) for each in templates]})


async def save(request: web.Request) -> web.Response:
    """Save a mapping under a name: 201 when the name is new, 200 when it takes another's place."""
    body = await read_json(request)
    templates = Templates(request.app[SERVICES])
    template, is_new = await templates.save(request[PRINCIPAL], body.get("name"), body.get("mapping"))
    return web.json_response({"data": template_json(template)}, status=201 if is_new else 200)


async def delete(request: web.Request) -> web.Response:
    """Forget a template."""
    try:
        template_id = uuid.UUID(request.match_info["template_id"])
    except ValueError:
        raise NotFound(what="mapping template") from None
    await Templates(request.app[SERVICES]).delete(request[PRINCIPAL], template_id)
    return web.Response(status=204)


def template_json(template: Template) -> dict[str, Any]:
    """A template as `/v1` tells it."""
    return {
        "id": str(template.id),
        "name": template.name,
        "mapping": template.mapping,
        "created_at": time_text(template.created_at),
        "updated_at": time_text(template.updated_at),
    }


def routes() -> list[web.RouteDef]:
    """Paths to the functions above."""
    return [
        web.get(PATH, list_all, allow_head=False),
        web.post(PATH, save),
        web.delete(f"{PATH}/{{template_id}}", delete),
    ]
