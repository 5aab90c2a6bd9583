"""What the doors that take a file have in common: the form is read, the file stored, the job made."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError

from ingress.audit import Caller
from ingress.authentication import Principal
from ingress.commands.acceptance import Acceptance
from ingress.commands.imports import Imports
from ingress.commands.jobs import Job
from ingress.commands.options import Profile
from ingress.commands.runs import Healing
from ingress.multipart import BodyIncomplete, FormTooLarge, content_length, read_form
from ingress.services import Services
from sluice.errors import RequestInvalid

SERVICES = web.AppKey("services", Services)
IMPORTS = web.AppKey("imports", Imports)
PRINCIPAL = web.RequestKey("principal", Principal)
CALLER = web.RequestKey("caller", Caller)


async def read_json(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request's body, at most 1 MiB.

    Raises RequestInvalid, BodyIncomplete, FormTooLarge.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise RequestInvalid(problem="The request's body is compressed. Send it as it is.")
    try:
        async with asyncio.timeout(request.app[SERVICES].idle_seconds):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise FormTooLarge(limit=f"{request.client_max_size} bytes") from None
    except (TimeoutError, ConnectionError, EOFError, HttpProcessingError) as error:
        raise BodyIncomplete from error
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RequestInvalid(problem="The request's body has to be a JSON object.")
    return value


async def receive(request: web.Request, profile: Profile) -> Job:
    """Take in one file by this door's profile; its job. Whatever refuses it leaves nothing behind."""
    acceptance = request.app[IMPORTS].acceptance(request[PRINCIPAL], profile)
    job = await take_in(request, acceptance)
    record(request, "import_started", job.id, door=profile.door)
    return job


async def take_in(request: web.Request, acceptance: Acceptance | Healing) -> Job:
    """Read the request's form into what accepts its file; the job."""
    services = request.app[SERVICES]
    try:
        await acceptance.begin(content_length(request))
        await read_form(
            request,
            acceptance.fields,
            acceptance.take_file,
            idle_seconds=services.idle_seconds,
            body_seconds=services.body_seconds,
        )
        return await acceptance.accept()
    except BaseException:
        # Whatever it was, a cancelled request included: what was stored so far belongs to nobody.
        await acceptance.discard()
        raise


def record(request: web.Request, action: str, job_id: uuid.UUID, **details: str) -> None:
    """Write down in the audit log what was done to an import."""
    principal = request[PRINCIPAL]
    request.app[SERVICES].audit.record(
        action,
        request[CALLER],
        organization_id=principal.organization_id,
        user_id=principal.user_id,
        resource="import",
        resource_id=str(job_id),
        **details,
    )
