"""`sluice import`, `sluice jobs` and `sluice rows`."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from cli import account, output
from cli.api_client import Api, Json
from cli.commands.token import api_for, organization_option
from cli.watching import follow, upload
from ingress.commands.options import FormOptions
from sluice.outcome import REFUSED, Outcome


def _choices(option: str) -> click.Choice[str]:
    """What the API takes for an option: one list, not two."""
    return click.Choice(get_args(FormOptions.model_fields[option].annotation))


class Pair(click.ParamType):
    """`SOURCE=FIELD`; the last `=` divides, because a column's name may hold one."""

    name = "SOURCE=FIELD"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        source, divider, field = str(value).rpartition("=")
        if not divider or not source:
            self.fail(f'"{value}" is not SOURCE=FIELD, such as "Mobile No=phone".', param, ctx)
        return source, field.strip()


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@organization_option
@click.option("--on-duplicate", type=_choices("on_duplicate"), help="What a row does to a known contact.")
@click.option("--match-on", type=_choices("match_on"), help="By what a row finds its contact.")
@click.option("--dnc-policy", type=_choices("dnc_policy"), help="Mark listed numbers, or leave them out.")
@click.option("--phone-check", type=_choices("phone_check"), help="How strictly numbers are checked.")
@click.option("--mode", type=_choices("mode"), help="atomic: nothing is written unless every row can be.")
@click.option("--blanks", type=_choices("blanks"), help="Whether a blank cell clears what is stored.")
@click.option("--region", metavar="CC", help="Country of numbers without a country code, such as US.")
@click.option("--list", "list_name", metavar="NAME", help="Put all contacts on this list.")
@click.option("--map", "mapping", type=Pair(), multiple=True, help="Which field a column holds; repeatable.")
@click.option("--exclude-rows", metavar="N,N", help="Rows to leave out, counted from 1 below the header.")
@click.option("--dry-run", is_flag=True, help="Judge every row and write nothing.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the end and show it.")
@click.option("--json", "as_json", is_flag=True, help="Answer the job as one JSON document.")
def import_(
    file: Path,
    organization: str,
    mapping: Sequence[tuple[str, str]],
    dry_run: bool,
    wait: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Import a file of contacts and account for every row of it.

    Exit code 3 means that it was imported and that some rows were refused; `sluice rows` shows them.
    """
    form = {name: value for name, value in options.items() if value is not None}
    if mapping:
        form["mapping"] = json.dumps(dict(mapping))
    if dry_run:
        form["dry_run"] = "true"
    job = asyncio.run(_import(file, organization, form, wait, quiet=as_json))
    if as_json:
        output.print_json(job)
    elif wait:
        account.show(job)
    else:
        output.say(f"Job {job['id']} is {job['state']}. See it with: sluice jobs")
    sys.exit(exit_code(job) if wait else output.OK)


async def _import(file: Path, organization: str, form: Mapping[str, str], wait: bool, *, quiet: bool) -> Json:
    async with api_for(organization) as api:
        job = await upload(api, file, form, quiet=quiet)
        return await follow(api, job, quiet=quiet) if wait else job


def exit_code(job: Json) -> int:
    """1 for a job that did not complete, 3 for one with rows that a person has to mend, else 0."""
    if job["state"] != "completed":
        return output.FAILED
    refused = sum(job["counts"].get(outcome.value, 0) for outcome in REFUSED)
    return output.FINISHED_WITH_REJECTED_ROWS if refused else output.OK


@click.command()
@organization_option
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Answer as one JSON document.")
def jobs(organization: str, limit: int, as_json: bool) -> None:
    """List the newest imports."""

    async def fetch() -> list[Json]:
        async with api_for(organization) as api:
            return await api.jobs(limit)

    found = asyncio.run(fetch())
    if as_json:
        output.print_json(found)
    elif found:
        account.show_jobs(found)
    else:
        output.say(f'There are no imports in "{organization}" yet. Begin with: sluice import FILE')


@click.command()
@click.argument("job", type=click.UUID)
@organization_option
@click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="Only these rows.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def rows(job: uuid.UUID, organization: str, outcome: str | None, limit: int, as_json: bool) -> None:
    """Show what became of the rows of an import."""

    async def fetch() -> list[Json]:
        async with api_for(organization) as api:
            return await _rows(api, job, outcome, limit)

    found = asyncio.run(fetch())
    if as_json:
        for row in found:
            click.echo(json.dumps(row, ensure_ascii=False))
    elif found:
        account.show_rows(found)
        if len(found) == limit:
            output.say(f"These are the first {limit}; --limit shows more.")
    else:
        output.say("There is no such row.")


async def _rows(api: Api, job: uuid.UUID, outcome: str | None, limit: int) -> list[Json]:
    return [row async for row in api.rows(job, outcome, limit)]
