"""Do-Not-Call lists as rows: loading a file into one, and asking for one number.

A load is one transaction: entries, the list's next version, its count, and the outbox record by which every
process that scrubs hears of it. So a version is either whole or not there.
"""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from sluice.errors import Refused
from sluice.events import DncChanged
from sluice.topics import DNC_CHANGED
from sluice.values.phone import Phone, parse_phone
from tasks.postgres import Connection, statements

ListType = Literal["company", "state", "industry"]

STALE_AFTER = timedelta(days=31)
"""A list that was not refreshed for longer clears nobody (16 CFR 310.4(b)(3)(iv): no more than 31 days)."""

CHUNK_ENTRIES = 10_000
"""Entries written by one statement: bounds the memory of a load, whatever the file's size."""

_SEPARATOR = re.compile(r"[,;\t|]")
_NUMBER_HEADERS = frozenset({"phone", "phonenumber", "number", "telephone", "tel", "mobile"})


class ListHasOtherType(Refused):
    """The list "{name}" is a {held} list, not a {wanted} list. Load it as what it is, or name another."""

    code = "LIST_HAS_OTHER_TYPE"


class OrganizationUnknown(Refused):
    """There is no organization called "{name}". The command `sluice token --org NAME` makes one."""

    code = "NOT_FOUND"
    status = 404


@dataclass(frozen=True, slots=True)
class Entry:
    """One number of a file, in E.164."""

    number: str
    reason: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of a file without a usable number; the line counts from 1."""

    line: int
    problem: str


@dataclass(slots=True)
class Loaded:
    """What a load did. `entries` counts the list's active entries afterwards."""

    list_id: uuid.UUID
    version: int
    read: int = 0
    entries: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Target:
    """Which list a file is for; no organization: one that all share."""

    name: str
    type: ListType
    organization_id: uuid.UUID | None


def read_entries(lines: Iterable[str], region: str) -> Iterator[Entry | BadLine]:
    """The numbers of a CSV or text file: the first column is the number, the second, if any, the reason.

    Blank lines are passed over, and so is a header, which is a first line that names its column.
    """
    for line, text in enumerate(lines, start=1):
        number, reason = _cells(text)
        if not number or (line == 1 and _is_header(number)):
            continue
        phone = parse_phone(number, region, "strict")
        if isinstance(phone, Phone):
            yield Entry(phone.e164, reason)
        else:
            yield BadLine(line, phone.message)


def _cells(text: str) -> tuple[str, str]:
    """Number and reason of one line. Each line is read alone, so an open quote cannot swallow the next."""
    separator = _SEPARATOR.search(text)
    try:
        cells = next(csv.reader([text], delimiter=separator[0] if separator else ","), [])
    except csv.Error:
        cells = [text]
    number, reason = [*cells, "", ""][:2]
    return number.strip(), reason.strip()[:255]


def _is_header(text: str) -> bool:
    return re.sub(r"[^a-z]", "", text.lower()) in _NUMBER_HEADERS


async def load(
    connection: Connection,
    target: Target,
    entries: Iterable[Entry | BadLine],
    *,
    replace: bool,
    now: datetime,
) -> Loaded:
    """Write the entries as the list's next version. With `replace`, entries not named stop matching.

    Raises:
        ListHasOtherType: there is a list of this name, of another type.
    """
    sql = statements("dnc")
    async with connection.transaction():
        loaded = await _next_version(connection, target)
        for chunk in _chunks(entries, loaded):
            await connection.execute(
                sql["upsert_entries"],
                loaded.list_id,
                target.organization_id,
                list(chunk),
                list(chunk.values()),
                loaded.version,
            )
        if replace:
            await connection.execute(
                sql["retire_others"], loaded.list_id, loaded.version, target.organization_id
            )
        loaded.entries = await connection.fetchval(sql["finish_version"], loaded.list_id, loaded.version)
        await _announce(connection, target, loaded, now)
    return loaded


async def _next_version(connection: Connection, target: Target) -> Loaded:
    sql, slug = statements("dnc"), slug_of(target.name)
    await connection.execute(sql["make_list"], target.organization_id, target.name, slug, target.type)
    held = await connection.fetchrow(sql["lock_list"], target.organization_id, slug)
    assert held is not None, "the list was made or found a statement ago"
    if held["type"] != target.type:
        raise ListHasOtherType(name=target.name, held=held["type"], wanted=target.type)
    return Loaded(held["id"], held["version"] + 1)


def _chunks(entries: Iterable[Entry | BadLine], loaded: Loaded) -> Iterator[dict[str, str]]:
    """Number to reason, no number twice in one statement; counts and bad lines go to `loaded`."""
    chunk: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, BadLine):
            loaded.bad_lines.append(entry)
            continue
        loaded.read += 1
        chunk[entry.number] = entry.reason or chunk.get(entry.number, "")
        if len(chunk) >= CHUNK_ENTRIES:
            yield chunk
            chunk = {}
    if chunk:
        yield chunk


async def _announce(connection: Connection, target: Target, loaded: Loaded, now: datetime) -> None:
    event = DncChanged(
        list_id=str(loaded.list_id),
        organization_id=str(target.organization_id) if target.organization_id else None,
        version=loaded.version,
        changed_at=int(now.timestamp() * 1000),
    )
    await connection.execute(
        statements("dnc")["announce"],
        target.organization_id,
        DNC_CHANGED.name,
        event.list_id,
        msgspec.json.encode(event).decode(),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the lists say of one number: the list that names it, or the one that is too old to clear it."""

    phone_number: str
    status: Literal["clean", "listed", "unknown"]
    list_name: str = ""
    version: int = 0
    date: datetime | None = None
    reason: str = ""


async def check(
    connection: Connection, organization_id: uuid.UUID | None, number: str, *, now: datetime
) -> Verdict:
    """Ask every loaded list that holds for the organization; one that is too old makes it `unknown`."""
    rows = await connection.fetch(statements("dnc")["consulted_lists"], organization_id, number)
    for row in rows:
        if row["listed"]:
            reason = row["reason"] or ""
            return Verdict(number, "listed", row["name"], row["version"], row["last_updated"], reason)
    for row in rows:
        if now - row["last_updated"] > STALE_AFTER:
            return Verdict(number, "unknown", row["name"], row["version"], row["last_updated"], "stale")
    return Verdict(number, "clean")


async def organization_named(connection: Connection, name: str) -> uuid.UUID:
    """The organization that people call so.

    Raises:
        OrganizationUnknown: there is none.
    """
    found = await connection.fetchval(statements("dnc")["organization_named"], name)
    if found is None:
        raise OrganizationUnknown(name=name)
    return uuid.UUID(bytes=found.bytes)


def slug_of(name: str) -> str:
    """A list's name for addresses: `California State DNC` is `california-state-dnc`; at most 100 letters.

    What has letters outside ASCII gets a digest, so that two names never share a slug by losing them.
    """
    plain = unicodedata.normalize("NFKD", name.strip().lower())
    words = re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode()).strip("-")
    if plain.isascii() and words and len(words) <= 100:
        return words
    return f"{words[:80]}-{hashlib.blake2b(plain.encode(), digest_size=6).hexdigest()}".strip("-")
