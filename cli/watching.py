"""Uploading a file and following its job, with a progress bar for a person and in silence for a program."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cli import output
from cli.api_client import Api, Json
from sluice.job import ENDED, JobState

POLL_SECONDS = 0.25
LONGEST_POLL_SECONDS = 2.0


def hidden(quiet: bool) -> bool:
    """No bar for a program, nor where the errors go to a file."""
    return quiet or not output.errors.is_terminal


async def upload(
    api: Api, file: Path, form: Mapping[str, str], *, heals: uuid.UUID | None = None, quiet: bool
) -> Json:
    """Send the file; the new job, or the one whose rows it heals."""
    columns = (TextColumn("uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=output.errors, transient=True, disable=hidden(quiet)) as progress:
        task = progress.add_task("", total=file.stat().st_size)
        return await api.import_file(file, form, lambda sent: progress.advance(task, sent), heals=heals)


async def follow(api: Api, job: Json, *, quiet: bool) -> Json:
    """Poll the job until it has ended; its last answer."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TextColumn("{task.fields[rate]:>9}/s"),
        TimeRemainingColumn(),
    )
    job_id, delay = uuid.UUID(job["id"]), POLL_SECONDS
    with Progress(*columns, console=output.errors, transient=True, disable=hidden(quiet)) as progress:
        task = progress.add_task(job["state"], total=None, rate="")
        while job["state"] not in {state.value for state in ENDED - {JobState.UNDONE}}:
            await asyncio.sleep(delay)
            delay = min(delay * 1.2, LONGEST_POLL_SECONDS)
            job = await api.job(job_id)
            progress.update(
                task,
                description=job["state"],
                completed=job["processed_rows"],
                total=expected_rows(job),
                rate=f"{job.get('rate_rows_per_second') or 0:,.0f}",
            )
    return job


async def follow_undo(api: Api, job: Json, *, quiet: bool) -> Json:
    """Poll the job until its undo has ended; its last answer."""
    columns = (TextColumn("undoing"), BarColumn(), MofNCompleteColumn(), TextColumn("contacts"))
    job_id, delay = uuid.UUID(job["id"]), POLL_SECONDS
    with Progress(
        *columns, TimeRemainingColumn(), console=output.errors, transient=True, disable=hidden(quiet)
    ) as progress:
        task = progress.add_task("", total=None)
        while job["state"] == JobState.UNDOING:
            await asyncio.sleep(delay)
            delay = min(delay * 1.2, LONGEST_POLL_SECONDS)
            job = await api.job(job_id)
            progress.update(task, completed=job["undo"]["done"], total=job["undo"]["total"])
    return job


def expected_rows(job: Json) -> int | None:
    """How many rows the job will have: known at its end, before that from its rate and time left."""
    processed, rate, left = job["processed_rows"], job.get("rate_rows_per_second"), job.get("eta_seconds")
    if rate and left is not None:
        return int(processed + rate * left)
    return None
