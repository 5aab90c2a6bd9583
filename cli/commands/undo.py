"""`sluice undo`: take an import back."""

from __future__ import annotations

import asyncio
import sys
import uuid

import click

from cli import account, output
from cli.api_client import Json
from cli.commands.token import api_for, organization_option
from cli.watching import follow_undo
from sluice.job import JobState

SHOWN = 20
"""Kept contacts that a person is shown; the API lists them all."""


@click.command()
@click.argument("job", type=click.UUID)
@organization_option
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the end and show it.")
@click.option("--json", "as_json", is_flag=True, help="Answer the job as one JSON document.")
def undo(job: uuid.UUID, organization: str, wait: bool, as_json: bool) -> None:
    """Take an ended import back.

    Contacts that it created go, contacts that it changed are as before. What was edited since is kept.
    """
    found, kept = asyncio.run(_undo(job, organization, wait, quiet=as_json))
    if as_json:
        output.print_json(found)
    elif wait:
        account.show_undo(found, kept)
    else:
        output.say(f"Job {found['id']} is {found['state']}. See it with: sluice jobs")
    sys.exit(output.OK if not wait or found["state"] == JobState.UNDONE else output.FAILED)


async def _undo(job_id: uuid.UUID, organization: str, wait: bool, *, quiet: bool) -> tuple[Json, list[Json]]:
    async with api_for(organization) as api:
        job = await api.undo(job_id)
        if not wait:
            return job, []
        job = await follow_undo(api, job, quiet=quiet)
        return job, await api.kept(job_id, SHOWN)
