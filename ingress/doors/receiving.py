"""What the doors that take a file have in common: the form is read, the file stored, the job made."""

from __future__ import annotations

from aiohttp import web

from ingress.audit import Caller
from ingress.authentication import Principal
from ingress.commands.imports import Acceptance, Imports
from ingress.commands.jobs import Job
from ingress.commands.options import Profile
from ingress.commands.runs import Healing
from ingress.multipart import content_length, read_form
from ingress.services import Services

SERVICES = web.AppKey("services", Services)
IMPORTS = web.AppKey("imports", Imports)
PRINCIPAL = web.RequestKey("principal", Principal)
CALLER = web.RequestKey("caller", Caller)


async def receive(request: web.Request, profile: Profile) -> Job:
    """Take in one file by this door's profile; its job. Whatever refuses it leaves nothing behind."""
    acceptance = request.app[IMPORTS].acceptance(request[PRINCIPAL], profile)
    job = await take_in(request, acceptance)
    record(request, "import_started", job, door=profile.door)
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


def record(request: web.Request, action: str, job: Job, **details: str) -> None:
    """Write down in the audit log what was done to an import."""
    principal = request[PRINCIPAL]
    request.app[SERVICES].audit.record(
        action,
        request[CALLER],
        organization_id=principal.organization_id,
        user_id=principal.user_id,
        resource="import",
        resource_id=str(job.id),
        **details,
    )
