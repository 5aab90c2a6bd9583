"""`sluice demo`: one file, imported in every way there is, with every row accounted for each time."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from cli import account, output
from cli.api_client import Json
from cli.commands.dnc import opened
from cli.commands.token import USER, api_for, token_for
from cli.watching import follow, upload
from ingress.commands.accounts import Account, ensure_account
from sluice.clock import SystemClock
from sluice.outcome import Outcome
from sluice.settings import Settings, load_settings
from tasks import dnc as lists
from tasks.postgres import connected

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

NOT_FROM_A_FILE = frozenset({Outcome.FAILED})
"""The database has to refuse one row for itself, which no row of a sound file makes it do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One import of the sample file."""

    title: str
    says: str
    options: Mapping[str, str] = field(default_factory=dict)


STEPS = (
    Step("atomic", "all or nothing: some rows are refused, so nothing is written", {"mode": "atomic"}),
    Step("first", "now the sound rows are written and the others answered"),
    Step("again", "the same file once more: nothing is doubled"),
    Step("overwrite", "given values replace stored ones", {"on_duplicate": "overwrite"}),
    Step("merge", "the newer value wins, blanks are filled, tags joined", {"on_duplicate": "merge_newest"}),
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Answer the jobs as one JSON document.")
def demo(as_json: bool) -> None:
    """Import 1,000 sample contacts in every way and account for every row."""
    settings = load_settings()
    organization = f"Demo {SystemClock().now():%Y-%m-%d %H:%M:%S}"
    jobs, owner = asyncio.run(_demo(settings, organization, quiet=as_json))
    if as_json:
        output.print_json({"organization": organization, "jobs": [job for _, job in jobs]})
    else:
        _show(settings, organization, owner, jobs)
    for problem in problems(jobs):
        output.fail(problem)
    sys.exit(output.FAILED if problems(jobs) else output.OK)


async def _demo(
    settings: Settings, organization: str, *, quiet: bool
) -> tuple[list[tuple[str, Json]], Account]:
    owner = await ensure_account(settings, organization=organization, user=USER, role="admin")
    file = EXAMPLES / "contacts.csv"
    common = {"match_on": "either", "dnc_policy": "exclude", "exclude_rows": excluded_rows(file)}
    jobs = []
    await _load_do_not_call(settings, owner)
    async with api_for(organization) as api:
        for step in STEPS:
            if not quiet:
                output.say(f"{step.title}: {step.says}")
            job = await upload(api, file, {**common, **step.options}, quiet=quiet)
            jobs.append((step.title, await follow(api, job, quiet=quiet)))
    return jobs, owner


async def _load_do_not_call(settings: Settings, owner: Account) -> None:
    file = EXAMPLES / "do-not-call.csv"
    target = lists.Target("Asked not to be called", "company", owner.organization_id)
    async with connected(settings) as connection:
        with opened(file) as text:
            entries = lists.read_entries(text, "US")
            await lists.load(connection, target, entries, replace=True, now=SystemClock().now())


def excluded_rows(file: Path) -> str:
    """The rows that somebody entered to try the form, as `exclude_rows` takes them."""
    with opened(file) as text:
        rows = enumerate(csv.DictReader(text), start=1)
        return ",".join(str(number) for number, row in rows if row["Last Name"] == "Test")


def problems(jobs: Sequence[tuple[str, Json]]) -> list[str]:
    """What the demo shows to be wrong: rows without an account, outcomes that did not occur."""
    found = [f"{title}: the outcomes do not sum to the rows read." for title in account.disagreeing(jobs)]
    missing = [
        outcome.value
        for outcome in Outcome
        if outcome not in NOT_FROM_A_FILE and not any(job["counts"].get(outcome.value) for _, job in jobs)
    ]
    if missing:
        found.append(f"No row ended as {', '.join(missing)}: the sample or a rule has changed.")
    return found


def _show(settings: Settings, organization: str, owner: Account, jobs: list[tuple[str, Json]]) -> None:
    base = f"http://{settings.api_host}:{settings.api_port}"
    output.console.print()
    account.show_accounts(jobs, meanings=False)
    output.console.print("[dim]every row once in each; `failed` cannot come from a sound file[/dim]\n")
    output.say(f"Organization  {organization} ({owner.organization_id})")
    output.say(f"API           {base}/docs")
    output.say(f"Its imports   {base}/v1/imports")
    output.say(f'On the line   sluice jobs --org "{organization}"; sluice events --from-start')
    output.say(f"Token         {token_for(settings, owner)}")
