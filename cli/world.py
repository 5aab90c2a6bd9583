"""`sluice run`, and the commands that make the world match the catalogue; each is safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from cli import roles
from sluice.errors import SettingsInvalid
from sluice.settings import load_settings


@click.command()
@click.argument("role", metavar=f"[{'|'.join(roles.ALL)}]")
def run(role: str) -> None:
    """Run one role until SIGTERM, with the settings of the environment."""
    roles.load(role).run(load_settings())


def migrations() -> Path:
    """The directory of the migrations."""
    import sinks

    return Path(sinks.__path__[0]) / "migrations"


@click.command()
def migrate() -> None:
    """Bring the database's tables up to date."""
    from sluice.migrations import migrate as run_migrations

    settings = load_settings()
    if settings.migrate_database_url is None:
        raise SettingsInvalid(problem="MIGRATE_DATABASE_URL is missing.")
    dsn = settings.migrate_database_url.get_secret_value()
    _say_each(run_migrations(dsn, migrations()), "applied {}", "The database is up to date.")


@click.command()
def topics() -> None:
    """Make the topics of the catalogue."""
    from sluice.broker import ensure_topics

    bootstrap = load_settings().kafka_bootstrap_servers
    _say_each(ensure_topics(bootstrap), "made {}", "All topics are there.")


@click.command()
def prepare() -> None:
    """Make everything that the roles need: tables, topics, bucket and schemas."""
    from cli.local.world import make_world

    asyncio.run(make_world(load_settings()))
    click.echo("Tables, topics, bucket and schemas are there.")


@click.group()
def schemas() -> None:
    """Compare the schemas with the registry's, or register them."""


@schemas.command()
def check() -> None:
    """Say what `push` would register; refuse a change that breaks readers."""
    from sluice.avro import check_schemas

    registry = load_settings().schema_registry_url
    _say_each(check_schemas(registry), "new: {}", "The registry knows all schemas.")


@schemas.command()
def push() -> None:
    """Register the schemas; a change that breaks readers is refused."""
    from sluice.avro import push_schemas

    registry = load_settings().schema_registry_url
    _say_each(push_schemas(registry), "registered {}", "The registry knows all schemas.")


def _say_each(work: Coroutine[Any, Any, list[str]], line: str, nothing: str) -> None:
    """Do the work and say what it did."""
    done = asyncio.run(work)
    for each in done:
        click.echo(line.format(each))
    if not done:
        click.echo(nothing)
