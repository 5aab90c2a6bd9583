"""What the doors that take a file have in common: the form is read, the file stored, the job made."""

from __future__ import annotations

from aiohttp import web

from ingress.audit import Caller
from ingress.authentication import Principal
from ingress.commands.imports import Imports
from ingress.commands.jobs import Job
from ingress.commands.options import Profile
from ingress.multipart import content_length, read_form
from ingress.services import Services

SERVICES = web.AppKey("services", Services)
IMPORTS = web.AppKey("imports", Imports)
PRINCIPAL = web.RequestKey("principal", Principal)
CALLER = web.RequestKey("caller", Caller)


async def receive(request: web.Request, profile: Profile) -> Job:
    """Take in one file by this door's profile; its job. Whatever refuses it leaves nothing behind."""
    services, principal = request.app[SERVICES], request[PRINCIPAL]
    acceptance = request.app[IMPORTS].acceptance(principal, profile)
    try:
        await acceptance.begin(content_length(request))
        await read_form(
            request,
            acceptance.fields,
            acceptance.take_file,
            idle_seconds=services.idle_seconds,
            body_seconds=services.body_seconds,
        )
        job = await acceptance.accept()
    except BaseException:
        # Whatever it was, a cancelled request included: what was stored so far belongs to nobody.
        await acceptance.discard()
        raise
    services.audit.record(
        "import_started",
        request[CALLER],
        organization_id=principal.organization_id,
        user_id=principal.user_id,
        resource="import",
        resource_id=str(job.id),
        door=profile.door,
    )
    return job
