"""What is made in the servers before the roles start: tables, topics, bucket, schemas. Safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cli.local.failures import WorldFailed
from sluice.errors import SettingsInvalid, SluiceError
from sluice.settings import Settings, load_settings

Answers = Callable[[str], Awaitable[None]]


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that a role with this environment has. Raises SettingsInvalid."""
    return load_settings(**{name.lower(): value for name, value in environment.items()})


async def _at_once(_server: str) -> None:
    return None


async def make_world(settings: Settings, answers: Answers = _at_once) -> None:
    """Make everything side by side, each part as soon as `answers` returns for its server.

    Raises:
        WorldFailed: a part cannot be made; the sentence names it and why.
    """
    from cli.world import migrations
    from ingress.uploads import ensure_bucket
    from sluice.avro import push_schemas
    from sluice.broker import ensure_topics
    from sluice.migrations import migrate

    if settings.migrate_database_url is None:
        raise SettingsInvalid(problem="MIGRATE_DATABASE_URL is missing.")
    owner = settings.migrate_database_url.get_secret_value()

    async def part(server: str, step: str, make: Callable[[], Awaitable[Any]]) -> None:
        await answers(server)
        try:
            await make()
        except SluiceError as error:
            raise WorldFailed(step=step, reason=str(error).rstrip(".")) from error
        except Exception as error:
            raise WorldFailed(step=step, reason=f"{type(error).__name__}: {error}") from error

    await asyncio.gather(
        part("postgres", "the migration", lambda: migrate(owner, migrations())),
        part("kafka", "making the topics", lambda: ensure_topics(settings.kafka_bootstrap_servers)),
        part("s3", "making the bucket", lambda: ensure_bucket(settings)),
        part("registry", "registering the schemas", lambda: push_schemas(settings.schema_registry_url)),
    )
