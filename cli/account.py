"""The row account and the lists of jobs and rows, as tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from cli import output
from cli.api_client import Json
from sluice.outcome import REFUSED, WRITING, Outcome

MEANINGS: Mapping[Outcome, str] = {
    Outcome.CREATED: "new contacts",
    Outcome.UPDATED: "changed a contact",
    Outcome.UNCHANGED: "said nothing new",
    Outcome.MERGED: "merged into a contact",
    Outcome.DUPLICATE_IN_FILE: "came earlier in the file",
    Outcome.DUPLICATE_EXISTING: "were there before",
    Outcome.EXCLUDED: "left out as asked",
    Outcome.NO_IDENTITY: "no e-mail and no phone",
    Outcome.SUPPRESSED_DNC: "on a Do-Not-Call list",
    Outcome.INVALID: "a value breaks its rule",
    Outcome.CONFLICT: "belong to two contacts",
    Outcome.FAILED: "refused by the database",
    Outcome.CANCELLED: "not written any more",
}


def style(outcome: str) -> str:
    """Green was written, red waits for a person, the rest (`pending` too) is as it should be."""
    if outcome in WRITING:
        return "green"
    return "red" if outcome in REFUSED else "dim"


def show(job: Json) -> None:
    """What became of every row of one job."""
    show_accounts([(job["state"], job)])
    if job.get("reason"):
        output.say(f"The job is {job['state']}: {job['reason']}")
    if any(job["counts"].get(outcome.value) for outcome in REFUSED):
        output.say(f"See the refused rows with: sluice rows {job['id']} --outcome invalid")


def show_accounts(jobs: Sequence[tuple[str, Json]], *, meanings: bool = True) -> None:
    """One column of counts for each job, one line for each outcome that occurs in any of them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rows that were")
    for title, _ in jobs:
        table.add_column(title, justify="right")
    if meanings:
        table.add_column("")
    for outcome in Outcome:
        counts = [job["counts"].get(outcome.value, 0) for _, job in jobs]
        if any(counts):
            cells = [f"{count:,}" if count else "·" for count in counts]
            meaning = [MEANINGS[outcome]] if meanings else []
            table.add_row(outcome.value, *cells, *meaning, style=style(outcome))
    table.add_section()
    sums = [f"{sum(job['counts'].values()):,}" for _, job in jobs]
    verdict = [] if not meanings else ["not the rows read!" if disagreeing(jobs) else "every row once"]
    table.add_row("rows read", *sums, *verdict, style="bold")
    output.console.print(table)


def disagreeing(jobs: Sequence[tuple[str, Json]]) -> list[str]:
    """Titles of jobs whose outcomes do not sum to the rows read; there should be none, ever."""
    return [title for title, job in jobs if sum(job["counts"].values()) != rows_read(job)]


def rows_read(job: Json) -> int:
    """The rows read: a job's total leaves out those that were cancelled."""
    return int(job["total_rows"]) + int(job["counts"].get(Outcome.CANCELLED.value, 0))


def show_jobs(jobs: Sequence[Json]) -> None:
    """The newest first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file and job", min_width=36, overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("refused", justify="right")
    table.add_column("made", no_wrap=True)
    for job in jobs:
        refused = sum(job["counts"].get(outcome.value, 0) for outcome in REFUSED)
        table.add_row(
            f"{escape(job['file']['name'])}\n[dim]{job['id']}[/dim]",
            job["state"],
            f"{job['processed_rows']:,}",
            f"[red]{refused:,}[/red]" if refused else "·",
            job["created_at"][5:16].replace("T", " "),
        )
    output.console.print(table)


def show_undo(job: Json, kept: Sequence[Json]) -> None:
    """What an undo did, and the first of the contacts that it kept."""
    undo = job["undo"]
    lines = (
        ("reversed", undo["reversed"], "as before the import", "green"),
        ("kept", undo["kept_edited"], "edited or deleted since", "yellow"),
        ("kept", undo["kept_colliding"], "their e-mail or phone has a new holder", "yellow"),
        ("left a list", undo["left_lists"], "nobody else had put them there", "green"),
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("contacts that were")
    table.add_column(job["state"], justify="right")
    table.add_column("")
    for title, count, meaning, colour in lines:
        table.add_row(title, f"{count:,}" if count else "·", meaning, style=colour if count else "dim")
    output.console.print(table)
    if job.get("reason"):
        output.say(f"The job is {job['state']}: {job['reason']}")
    for each in kept:
        name = each["contact"].get("email") or each["contact"].get("phone") or ""
        output.say(f"{each['contact_id']} {name}: {each['message']}")
    if len(kept) < undo["kept_edited"] + undo["kept_colliding"]:
        output.say(f"The rest is listed at /v1/imports/{job['id']}/undo")


def show_rows(rows: Sequence[Json]) -> None:
    """Row, line, outcome, and the reasons of refused rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("row", justify="right")
    table.add_column("line", justify="right")
    table.add_column("outcome", no_wrap=True)
    table.add_column("contact or reason", overflow="fold")
    for row in rows:
        reasons = "; ".join(f"{each['field']}: {each['message']}" for each in row["errors"])
        why = reasons or row["contact_id"] or ""
        outcome = row["outcome"]
        table.add_row(str(row["row_no"]), str(row["source_line"]), outcome, escape(why), style=style(outcome))
    output.console.print(table)
