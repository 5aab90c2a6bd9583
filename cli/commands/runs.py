"""`sluice heal` and `sluice commit`: further runs of an import that has ended."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path

import click

from cli import account, output
from cli.api_client import Json
from cli.commands.imports import exit_code
from cli.commands.token import api_for, organization_option
from cli.watching import follow, upload
from sluice.errors import SluiceError


class NotCommitted(SluiceError):
    """{reason}"""


@click.command()
@click.argument("job", type=click.UUID)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@organization_option
@click.option("--json", "as_json", is_flag=True, help="Answer the job as one JSON document.")
def heal(job: uuid.UUID, file: Path, organization: str, as_json: bool) -> None:
    """Send the errors file of an import back, corrected, and show the account behind it.

    Exit code 3 means that some rows are still refused.
    """

    async def run() -> Json:
        async with api_for(organization) as api:
            begun = await upload(api, file, {}, heals=job, quiet=as_json)
            return await follow(api, begun, quiet=as_json)

    _show(asyncio.run(run()), as_json=as_json)


@click.command()
@click.argument("job", type=click.UUID)
@organization_option
@click.option("--json", "as_json", is_flag=True, help="Answer the job as one JSON document.")
def commit(job: uuid.UUID, organization: str, as_json: bool) -> None:
    """Write what a dry run foretold, if every row would still end so."""

    async def run() -> Json:
        async with api_for(organization) as api:
            return await follow(api, await api.commit(job), quiet=as_json)

    found = asyncio.run(run())
    if found["options"].get("dry_run"):
        raise NotCommitted(reason=found["reason"] or "Nothing was written: the commit was cancelled.")
    _show(found, as_json=as_json)


def _show(job: Json, *, as_json: bool) -> None:
    if as_json:
        output.print_json(job)
    else:
        account.show(job)
    sys.exit(exit_code(job))
