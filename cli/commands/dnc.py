"""`sluice dnc load` and `sluice dnc check`."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, get_args

import click
from rich.markup import escape

from cli import output
from cli.api_client import FileUnreadable
from cli.commands.token import ORGANIZATION, USER
from ingress.commands.accounts import ensure_account
from sluice.clock import SystemClock
from sluice.settings import Settings, load_settings
from sluice.values.phone import PhoneFault, parse_phone
from tasks import dnc as lists
from tasks.postgres import connected

SHOWN_LINES = 20

region_option = click.option(
    "--region", default="US", show_default=True, metavar="CC", help="Of numbers without a country code."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer as one JSON document.")


@click.group()
def dnc() -> None:
    """Do-Not-Call lists: load one from a file, ask for a number."""


@dnc.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--list", "name", required=True, metavar="NAME", help="The list; made if it is new.")
@click.option(
    "--org",
    "organization",
    metavar="NAME",
    help=f"Whose list it is. [default: {ORGANIZATION} for a company's, else shared by all]",
)
@click.option(
    "--type", "kind", type=click.Choice(get_args(lists.ListType)), default="company", show_default=True
)
@click.option("--replace", is_flag=True, help="Numbers that the file does not name stop matching.")
@region_option
@json_option
def load(
    file: Path,
    name: str,
    organization: str | None,
    kind: lists.ListType,
    replace: bool,
    region: str,
    as_json: bool,
) -> None:
    """Load numbers, one a line, into a list; a second column is the reason.

    The whole file is one new version of the list, or none of it is. Exit code 3 means that some lines held no
    valid number; they are named and the others are loaded.
    """
    whose = organization or (ORGANIZATION if kind == "company" else None)
    loaded = asyncio.run(_load(file, name, whose, kind, replace, region.upper()))
    if as_json:
        output.print_json(
            {
                "list_id": str(loaded.list_id),
                "version": loaded.version,
                "read": loaded.read,
                "entries": loaded.entries,
                "bad_lines": [asdict(each) for each in loaded.bad_lines],
            }
        )
    else:
        _show(name, loaded)
    sys.exit(output.FINISHED_WITH_REJECTED_ROWS if loaded.bad_lines else output.OK)


async def _load(
    file: Path, name: str, whose: str | None, kind: lists.ListType, replace: bool, region: str
) -> lists.Loaded:
    settings = load_settings()
    target = lists.Target(name, kind, await _owner(settings, whose))
    now = SystemClock().now()
    async with connected(settings) as connection:
        with opened(file) as text:
            entries = lists.read_entries(text, region)
            return await lists.load(connection, target, entries, replace=replace, now=now)


async def _owner(settings: Settings, name: str | None) -> uuid.UUID | None:
    if name is None:
        return None
    account = await ensure_account(settings, organization=name, user=USER, role="admin")
    return account.organization_id


@contextmanager
def opened(file: Path) -> Iterator[IO[str]]:
    """A text file of any line endings, with or without byte order mark. Raises FileUnreadable."""
    try:
        with file.open(encoding="utf-8-sig", newline=None) as text:
            yield text
    except UnicodeDecodeError as error:
        raise FileUnreadable(path=file, reason="it is not UTF-8 text") from error
    except OSError as error:
        raise FileUnreadable(path=file, reason=error.strerror or type(error).__name__) from error


def _show(name: str, loaded: lists.Loaded) -> None:
    output.say(
        f'"{name}" is at version {loaded.version}: {loaded.read:,} numbers read, {loaded.entries:,} listed.'
    )
    for bad in loaded.bad_lines[:SHOWN_LINES]:
        output.errors.print(f"line {bad.line}: {escape(bad.problem)}", style="red")
    if (more := len(loaded.bad_lines) - SHOWN_LINES) > 0:
        output.errors.print(f"and {more:,} lines more", style="red")


@dnc.command()
@click.argument("number")
@click.option("--org", "organization", default=ORGANIZATION, show_default=True, metavar="NAME")
@region_option
@json_option
def check(number: str, organization: str, region: str, as_json: bool) -> None:
    """Ask whether a number may be called.

    Exit code 0 means that no list holds it; 3 that one does, or that one is too old to say.
    """
    phone = parse_phone(number, region.upper(), "strict")
    if isinstance(phone, PhoneFault) or not phone.e164:
        raise click.UsageError(f'"{number}" is not a valid phone number.')
    verdict = asyncio.run(_check(phone.e164, organization))
    if as_json:
        date = verdict.date.isoformat() if verdict.date else None
        output.print_json(asdict(verdict) | {"date": date})
    else:
        output.say(_sentence(verdict))
    sys.exit(output.OK if verdict.status == "clean" else output.FINISHED_WITH_REJECTED_ROWS)


async def _check(number: str, organization: str) -> lists.Verdict:
    async with connected(load_settings()) as connection:
        owner = await lists.organization_named(connection, organization)
        return await lists.check(connection, owner, number, now=SystemClock().now())


def _sentence(verdict: lists.Verdict) -> str:
    number, date = verdict.phone_number, verdict.date.date().isoformat() if verdict.date else ""
    if verdict.status == "clean":
        return f"{number} is on no list."
    where = f'"{verdict.list_name}" (version {verdict.version} of {date})'
    if verdict.status == "listed":
        return f"{number} is on {where}{f': {verdict.reason}' if verdict.reason else ''}."
    return f"Nobody can say: {where} is older than 31 days. Load it again."
