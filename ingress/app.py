"""The ingress role: the HTTP API, its middlewares, and what runs beside the requests."""

from __future__ import annotations

import asyncio
import re
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
import uvloop
from aiohttp import web
from aiohttp.hdrs import METH_ALL

from ingress import cross_origin, openapi
from ingress.audit import Caller
from ingress.authentication import Principal, bearer_token
from ingress.commands.imports import Imports
from ingress.commands.wizard import Wizard
from ingress.doors import contacts_import, health, mapping_templates, uploads, v1_imports, v1_undo, wizard
from ingress.doors.errors import MethodUnknown, PathUnknown, Unexpected, error_response
from ingress.doors.health import HEALTH, Health
from ingress.doors.receiving import CALLER, IMPORTS, PRINCIPAL, SERVICES
from ingress.doors.wizard import WIZARD
from ingress.services import Services, open_services
from ingress.status import follow
from sluice.avro import load_codec
from sluice.errors import AuthenticationFailed, Refused, RequestInvalid, SluiceError, Unavailable
from sluice.settings import Settings
from sluice.telemetry import configure_logging

OPEN = frozenset({"/health", "/metrics", "/docs", openapi.PATH})
"""Paths that answer without a token."""

RECONNECT_SECONDS = 2.0
SHUTDOWN_SECONDS = 10.0
"""How long requests may go on after SIGTERM; an upload that is cut off then leaves nothing behind."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")

log = structlog.get_logger("sluice.ingress")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(services: Services) -> web.Application:
    """The API over these services."""
    app = web.Application(middlewares=[_answer, _authenticate])
    app[SERVICES] = services
    app[IMPORTS] = Imports(services)
    app[WIZARD] = Wizard(services, app[IMPORTS])
    app[HEALTH] = Health(services)
    app.on_response_prepare.append(_add_headers)
    app.add_routes(
        [
            web.get("/health", health.health),
            web.get("/metrics", health.metrics),
            web.get(openapi.PATH, openapi.description),
            web.get("/docs", openapi.page),
            web.post(contacts_import.PATH, contacts_import.import_contacts),
            *v1_imports.routes(),
            *v1_undo.routes(),
            *wizard.routes(),
            *uploads.routes(),
            *mapping_templates.routes(),
        ]
    )
    return app


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name the request, measure it, and turn every error into an answer that tells no more than it should."""
    services = request.app[SERVICES]
    began = services.clock.monotonic()
    request[CALLER] = caller = _caller(request)
    if cross_origin.is_preflight(request):
        return cross_origin.preflight(request.headers["Origin"], services.settings.allowed_origins)
    try:
        response = await handler(request)
    except Exception as error:
        response = _error_response(request, caller, error)
    pattern = _pattern(request)
    telemetry = services.telemetry
    # A method of the caller's own making would be a series of its own.
    method = request.method if request.method in METH_ALL else "other"
    telemetry.count("sluice_http_requests_total", route=pattern, method=method, status=str(response.status))
    telemetry.observe("sluice_http_request_seconds", services.clock.monotonic() - began, route=pattern)
    return response


def _error_response(request: web.Request, caller: Caller, error: Exception) -> web.Response:
    ours = _ours(error)
    if isinstance(ours, Unexpected):
        log.error("request failed", request_id=caller.request_id, exc_info=error)
    elif isinstance(ours, Unavailable):
        log.warning("service away", request_id=caller.request_id, error=type(ours).__name__)
    else:
        log.info("request refused", request_id=caller.request_id, code=ours.code, status=ours.status)
    now = request.app[SERVICES].clock.now()
    return error_response(ours, request.path, caller.request_id, now)


def _ours(error: Exception) -> SluiceError:
    """The error as one that may be told; what nobody foresaw is only `Unexpected`."""
    if isinstance(error, SluiceError) and (error.status < 500 or isinstance(error, Unavailable)):
        return error
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodUnknown(allowed=", ".join(sorted(error.allowed_methods)))
    if isinstance(error, web.HTTPNotFound):
        return PathUnknown()
    if isinstance(error, web.HTTPClientError):
        return RequestInvalid(problem=f"The request cannot be read: {error.reason}.")
    return Unexpected()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Every answer says which request it belongs to; a request that broke HTTP itself never got an id."""
    caller = request.get(CALLER)
    if caller is not None:
        response.headers["X-Request-ID"] = caller.request_id
        allowed = request.app[SERVICES].settings.allowed_origins
        cross_origin.let_read(response, request.headers.get("Origin"), allowed)


@web.middleware
async def _authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Before any work: who calls, for whom, and whether not too often (S0-005)."""
    services = request.app[SERVICES]
    if request.path in OPEN:
        return await handler(request)
    caller = request[CALLER]
    try:
        principal = await _identify(services, request)
    except (Refused, Unavailable) as error:
        _refused(services, request, caller, error)
        raise
    services.telemetry.count("sluice_authentications_total", result="accepted")
    services.audit.record(
        "authentication_succeeded",
        caller,
        organization_id=principal.organization_id,
        user_id=principal.user_id,
        resource=request.method,
        resource_id=_pattern(request),
    )
    services.limits.call(principal)
    request[PRINCIPAL] = principal
    return await handler(request)


async def _identify(services: Services, request: web.Request) -> Principal:
    claims = services.verifier.verify(bearer_token(request.headers.get("Authorization")))
    return await services.directory.resolve(claims, request.headers.get("X-Organization-ID"))


def _refused(services: Services, request: web.Request, caller: Caller, error: SluiceError) -> None:
    """Write the attempt down and count it against the address. Raises RateLimited in the refusal's place."""
    services.telemetry.count("sluice_authentications_total", result="refused")
    services.audit.record(
        "authentication_failed",
        caller,
        resource=request.method,
        resource_id=_pattern(request),
        code=error.code,
    )
    if isinstance(error, AuthenticationFailed):
        services.limits.unauthenticated(caller.address)


def _pattern(request: web.Request) -> str:
    """The route's own path: what a caller writes into an address, personal data perhaps, is not kept."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


def _caller(request: web.Request) -> Caller:
    given = request.headers.get("X-Request-ID", "")
    request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    address = peer[0] if isinstance(peer, tuple) else None
    return Caller(address, request.headers.get("User-Agent"), request_id)


@asynccontextmanager
async def beside_requests(services: Services) -> AsyncIterator[None]:
    """What runs while requests are answered: the audit log's writer, the bell, the status follower."""
    works = [
        asyncio.create_task(services.audit.run(), name="audit"),
        asyncio.create_task(_reach_broker(services), name="broker"),
    ]
    try:
        yield
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        try:
            await services.audit.flush()
        except Unavailable:
            log.warning("audit entries kept in the log only")


async def _reach_broker(services: Services) -> None:
    """Reach registry and broker, again and again until it works; then follow the jobs' progress."""
    codec, rings = None, False
    while True:
        try:
            codec = codec or await load_codec(services.settings.schema_registry_url)
            if not rings:
                await services.bell.connect(codec)
                rings = True
            services.bell.tried = True
            services.telemetry.gauge("sluice_waiting", 0, dependency="broker")
            await follow(services.settings, codec, services.progress)
        except Unavailable as error:
            log.warning("broker away", error=type(error).__name__)
        services.bell.tried = True
        services.telemetry.gauge("sluice_waiting", 1, dependency="broker")
        await asyncio.sleep(RECONNECT_SECONDS)


@asynccontextmanager
async def serving(services: Services, host: str, port: int) -> AsyncIterator[int]:
    """Serve the API; the port that it is on, which is a free one when 0 was asked for."""
    async with beside_requests(services):
        runner = web.AppRunner(
            make_app(services),
            access_log=None,
            shutdown_timeout=SHUTDOWN_SECONDS,
            keepalive_timeout=75,
            # A compressed body is refused by the doors; unpacked here, its size would be the sender's joke.
            auto_decompress=False,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then return."""
    configure_logging(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(settings))


async def _until_signalled(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopping.set)
    async with (
        open_services(settings) as services,
        serving(services, settings.api_host, settings.api_port) as port,
    ):
        log.info("listening", host=settings.api_host, port=port)
        await stopping.wait()
    log.info("stopped")
