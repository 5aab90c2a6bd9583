"""What must hold after every round, whatever was done to the system. A check that fails names itself."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sluice.outcome import BY_LETTER
from tests.acceptance.client import canonical, stored_contacts
from tests.acceptance.oracle import Job, Organization
from tests.chaos.edits import EFFECTIVE
from tests.chaos.subscriber import EventKey, Subscriber
from tests.chaos.world import World

WRITING = {"created", "updated", "merged"}
REFUSED = {"invalid", "no_identity", "conflict", "failed"}
HIDDEN = {"made_by", "stamp"}
MOST_MEMORY_BYTES = 300 * 1024 * 1024
MORE_DESCRIPTORS = 120
"""What a process may have open beyond what it had after the first round: connections come and go, and each of
the 24 partitions of a streams process adds up to four files, one with each restart, before it merges them."""
LAG_SECONDS = 60


class Broken(AssertionError):
    """A promise that was broken; `check` is its name."""

    def __init__(self, check: str, what: object) -> None:
        super().__init__(f"{check}: {what}")
        self.check = check


@dataclass(frozen=True)
class Batch:
    """One applied batch as the database has it."""

    job_id: UUID
    rows: range
    outcomes: tuple[str, ...]


@dataclass
class Ran:
    """One job of a round: what was asked, and how it ended."""

    job: Job
    answer: Mapping[str, Any]
    cancelled: bool = False
    overwritten: bool = False
    """Its file was replaced while it was read: it ends failed, with the rows that were applied before."""

    @property
    def id(self) -> UUID:
        return UUID(self.answer["id"])


async def check_accounts(ran: Sequence[Ran]) -> None:
    """Every job has ended as it must, and its outcomes sum to the rows that were read."""
    for each in ran:
        counts, read = each.answer["counts"], each.answer["rows_read"]
        if sum(counts.values()) != read or counts["pending"]:
            raise Broken("accounts", (each.id, read, counts))
        if counts["failed"]:
            raise Broken("accounts", (each.id, "an outage became a row's failure", counts))
        states = {"completed", "cancelled"} if each.cancelled else {"completed"}
        if each.overwritten:
            states = {"failed", "completed"}
        elif each.job.options.mode == "atomic":
            states = states | {"failed"}
        if each.answer["state"] not in states:
            raise Broken("accounts", (each.id, each.answer["state"], each.answer["reason"]))
        if each.answer["state"] == "completed" and read != len(each.job.rows):
            raise Broken("accounts", (each.id, f"{read} rows read of {len(each.job.rows)}"))


async def check_organization(
    world: World, organization_id: str, ran: Sequence[Ran], listed: Sequence[str]
) -> set[EventKey]:
    """Outcomes and contacts equal the oracle's; returns the events that there must be, once each."""
    batches = await _batches(world, organization_id)
    everything = await _every_outcome(world, organization_id)
    oracle = Organization(listed=dict.fromkeys(listed, "listed"))
    for contact in world.existing.get(organization_id, ()):
        oracle.hold(contact)
    events: set[EventKey] = set()
    edits = await _edits(world, organization_id)
    jobs = {each.id: each for each in ran}
    for number in range(len(batches) + 1):
        for edit in edits.get(number, []):
            oracle.edit(edit["before"], edit["after"])
        if number == len(batches):
            break
        batch = batches[number]
        one = jobs[batch.job_id]
        if one.job.options.mode == "atomic" or one.job.options.dry_run:
            stored = [pair for pair in everything if pair.job_id == batch.job_id]
            oracle = _check_staged(oracle, one, stored)
        else:
            _check_batch(oracle, one, batch)
            stored = [batch]
        if not one.job.options.dry_run:
            events |= set(_events(organization_id, stored))
        await asyncio.sleep(0)
    await _take_notes(world, organization_id, oracle)
    contacts = [
        {name: value for name, value in contact.items() if value and name not in HIDDEN}
        for contact in oracle.contacts.values()
    ]
    _same(canonical(await stored_contacts(world.database, organization_id)), canonical(contacts))
    return events


async def _batches(world: World, organization_id: str) -> list[Batch]:
    return [_batch(row) for row in await world.database.fetch(EFFECTIVE, UUID(organization_id))]


async def _every_outcome(world: World, organization_id: str) -> list[Batch]:
    rows = await world.database.fetch(
        "SELECT job_id, first_row_no, row_count, outcomes FROM import_batches "
        "WHERE organization_id = $1 AND NOT staged ORDER BY job_id, batch_no",
        UUID(organization_id),
    )
    return [_batch(row) for row in rows]


def _batch(row: Mapping[str, Any]) -> Batch:
    rows = range(row["first_row_no"], row["first_row_no"] + row["row_count"])
    return Batch(row["job_id"], rows, tuple(BY_LETTER[letter].value for letter in row["outcomes"]))


async def _edits(world: World, organization_id: str) -> dict[int, list[dict[str, Any]]]:
    """Edits by the number of batches before them; -1 for those whose place does not matter."""
    rows = await world.database.fetch(
        "SELECT behind, edit FROM chaos_edits WHERE organization_id = $1 ORDER BY id", UUID(organization_id)
    )
    found = defaultdict(list)
    for row in rows:
        found[row["behind"]].append(json.loads(row["edit"]))
    return found


async def _take_notes(world: World, organization_id: str, oracle: Organization) -> None:
    """The last note that a user wrote on each contact, which nothing in the files touches."""
    rows = await world.database.fetch(
        """SELECT DISTINCT ON (c.id) c.email, c.phone_formatted, e.edit -> 'after' ->> 'notes' AS notes
           FROM chaos_edits e JOIN contacts c ON c.id = e.contact_id
           WHERE e.organization_id = $1 AND e.edit ->> 'kind' = 'notes' ORDER BY c.id, e.id DESC""",
        UUID(organization_id),
    )
    for row in rows:
        number = oracle.holder("email", row["email"] or "")
        if number is None:
            number = oracle.holder("phone_formatted", row["phone_formatted"] or "")
        if number is None:
            raise Broken("contacts", "a contact with a note is none of the oracle's")
        oracle.contacts[number]["notes"] = row["notes"]


def _check_batch(oracle: Organization, ran: Ran, batch: Batch) -> None:
    if ran.cancelled and set(batch.outcomes) == {"cancelled"}:
        return
    expected = oracle.apply(ran.id, ran.job, batch.rows)
    if list(batch.outcomes) != expected:
        _differ(ran, batch.rows, batch.outcomes, expected)


def _check_staged(oracle: Organization, ran: Ran, batches: Sequence[Batch]) -> Organization:
    """Judged whole: the organization afterwards, which is another one only if the job wrote."""
    rows = [row for batch in batches for row in batch.rows]
    stored = [outcome for batch in batches for outcome in batch.outcomes]
    if ran.cancelled and set(stored) == {"cancelled"}:
        return oracle
    trial = copy.deepcopy(oracle)
    expected = trial.apply(ran.id, ran.job, rows)
    if ran.job.options.dry_run:
        trial = oracle
    elif REFUSED & set(expected):
        trial = oracle
        expected = ["cancelled" if outcome in WRITING else outcome for outcome in expected]
    if stored != expected:
        _differ(ran, rows, stored, expected)
    return trial


def _differ(ran: Ran, rows: Sequence[int], stored: Sequence[str], expected: Sequence[str]) -> None:
    wrong = [(row, was, is_) for row, was, is_ in zip(rows, expected, stored, strict=True) if was != is_]
    raise Broken("outcomes", f"job {ran.id}: {len(wrong)} rows differ (row, oracle, stored): {wrong[:5]}")


def _events(organization_id: str, batches: Sequence[Batch]) -> Iterator[EventKey]:
    for batch in batches:
        for row, outcome in zip(batch.rows, batch.outcomes, strict=True):
            if outcome in WRITING:
                yield organization_id, str(batch.job_id), row


def _same(stored: list[str], expected: list[str]) -> None:
    if stored != expected:
        surplus = list((Counter(stored) - Counter(expected)).elements())
        missing = list((Counter(expected) - Counter(stored)).elements())
        raise Broken(
            "contacts",
            f"{len(surplus)} too many {surplus[:3]}, {len(missing)} missing {missing[:3]}",
        )


async def check_events(subscriber: Subscriber, expected: set[EventKey], organizations: Sequence[str]) -> None:
    """Each event was seen once, with an id of its own, and none before its row was readable."""
    seen = Counter({key: times for key, times in subscriber.seen.items() if key[0] in organizations})
    doubled = [key for key, times in seen.items() if times > 1]
    if doubled:
        raise Broken("events", f"{len(doubled)} seen more than once: {doubled[:3]}")
    if seen.keys() != expected:
        missing, surplus = expected - seen.keys(), seen.keys() - expected
        raise Broken(
            "events",
            f"{len(missing)} missing {sorted(missing)[:3]}, {len(surplus)} too many {sorted(surplus)[:3]}",
        )
    if len(subscriber.ids) != sum(subscriber.seen.values()):
        raise Broken("events", "two events share an id")


async def check_order(world: World, subscriber: Subscriber) -> None:
    """No event came before its row was readable; a contact that was deleted since excuses its own."""
    deleted = {
        str(row["contact_id"])
        for row in await world.database.fetch(
            "SELECT contact_id FROM chaos_edits WHERE edit ->> 'kind' = 'delete'"
        )
    }
    early = {key for contact, key in subscriber.too_early.items() if contact not in deleted}
    if early:
        raise Broken("order", f"{len(early)} events before their rows: {sorted(early)[:3]}")


async def check_lag(world: World) -> float:
    """Every consumer group has read everything within a minute; the seconds that it took."""
    started = time.monotonic()
    while True:
        lag = (await asyncio.to_thread(world.stack.status))["lag"]
        if lag and not any(lag.values()):
            return time.monotonic() - started
        if time.monotonic() - started > LAG_SECONDS:
            raise Broken("lag", lag)
        await asyncio.sleep(0.5)


async def check_resources(world: World) -> None:
    """Memory and file descriptors are where they were after the first round."""
    for unit, (resident, descriptors) in world.resources().items():
        if resident > MOST_MEMORY_BYTES:
            raise Broken("resources", f"{unit} holds {resident // 2**20} MB")
        usual = world.baseline.setdefault(unit, descriptors)
        if descriptors > usual + MORE_DESCRIPTORS:
            raise Broken("resources", f"{unit} has {descriptors} descriptors open, {usual} after round one")
