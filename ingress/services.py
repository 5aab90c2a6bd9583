"""What the API is made of, once for the process; handed to every door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from ingress.audit import Audit
from ingress.authentication import Directory, TokenVerifier
from ingress.database import Database
from ingress.limits import Limits
from ingress.multipart import BODY_SECONDS, IDLE_SECONDS
from ingress.producing import Bell
from ingress.state import StateStore, make_state
from ingress.status import Progress
from ingress.store import Store, open_store
from sluice.clock import Clock, SystemClock
from sluice.settings import Settings
from sluice.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need. Making it waits for nothing: what is away shows when it is used."""

    settings: Settings
    clock: Clock
    database: Database
    store: Store
    state: StateStore
    verifier: TokenVerifier
    directory: Directory
    limits: Limits
    audit: Audit
    progress: Progress
    bell: Bell
    telemetry: Telemetry
    idle_seconds: float = IDLE_SECONDS
    body_seconds: float = BODY_SECONDS


@asynccontextmanager
async def open_services(
    settings: Settings,
    clock: Clock | None = None,
    *,
    idle_seconds: float = IDLE_SECONDS,
    body_seconds: float = BODY_SECONDS,
) -> AsyncIterator[Services]:
    """The services of one process, closed in the end."""
    clock = clock or SystemClock()
    database = Database(settings.database_url.get_secret_value())
    await database.open()
    bell = Bell(settings, clock)
    try:
        async with open_store(settings) as store:
            yield Services(
                settings=settings,
                clock=clock,
                database=database,
                store=store,
                state=make_state(settings, partial(database.acting_for, user_id=None), store, clock),
                verifier=TokenVerifier(settings.jwt_secret.get_secret_value(), clock),
                directory=Directory(database, clock),
                limits=Limits(settings, clock),
                audit=Audit(database, clock),
                progress=Progress(clock),
                bell=bell,
                telemetry=Telemetry("ingress"),
                idle_seconds=idle_seconds,
                body_seconds=body_seconds,
            )
    finally:
        await bell.close()
        await database.close()
