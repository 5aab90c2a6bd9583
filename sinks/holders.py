"""The sink's own hints, made where the stream's did not hold: one question for all holders of a segment's
identities, as four values each, instead of whole contacts and the row rules for every row.

What is read here is not locked. It is believed as the stream's hints are: as far as it can be confirmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from sinks import judging
from sinks.batch import Batch, Hint, Job
from sinks.queries import SQL
from sinks.reading import Connection
from sluice.contact import ContactId
from sluice.rules import MatchOn


class Holder(NamedTuple):
    """Who holds an identity: the contact, its content's fingerprint, its e-mail and number or ""."""

    contact: ContactId
    content: bytes
    email: str
    phone: str


class Holders:
    """The contacts that hold the identities of some rows."""

    def __init__(self) -> None:
        self.by_email: dict[str, Holder] = {}
        self.by_phone: dict[str, Holder] = {}

    def of(self, kind: str, value: str) -> Holder | None:
        """Who holds an e-mail or a phone."""
        return (self.by_email if kind == "email" else self.by_phone).get(value)

    def add(self, records: Iterable[Iterable[Any]]) -> None:
        """Take in what a query answered: contact, content, e-mail, number."""
        for record in records:
            holder = Holder._make(record)
            if holder.email:
                self.by_email[holder.email] = holder
            if holder.phone:
                self.by_phone[holder.phone] = holder


async def ask(connection: Connection, job: Job, batches: Sequence[Batch]) -> Holders:
    """Who holds the identities of these batches' rows. Numbers are asked for where no e-mail has told."""
    found = Holders()
    emails, phones = set[str](), set[str]()
    for batch in batches:
        rows = range(batch.row_count)
        emails.update(judging.identities(batch, rows, "email"))
        phones.update(judging.identities(batch, rows, "phone_formatted"))
    if emails:
        found.add(await connection.fetch(SQL["holders_of_emails"], job.organization_id, list(emails)))
    if phones := phones - found.by_phone.keys():
        found.add(await connection.fetch(SQL["holders_of_phones"], job.organization_id, list(phones)))
    return found


def hinted_anew(batch: Batch, holders: Holders) -> Batch:
    """The batch with hints that say what `holders` know; what they leave open has none."""
    email, phone = batch.columns.get("email"), batch.columns.get("phone_formatted")
    by_email, by_phone, match_on = holders.by_email, holders.by_phone, batch.policy.match_on
    message, drops = batch.message, batch.drops
    contents, times = message.fingerprints, message.modified_at
    hints, hinted = bytearray(batch.row_count), list[bytes]()
    for index, row in enumerate(message.rows):
        if index in drops:
            continue
        first = by_email.get(row[email]) if email is not None else None
        second = by_phone.get(row[phone]) if phone is not None else None
        if first is None and second is None:
            hints[index] = Hint.NEW
            continue
        if match_on is MatchOn.PHONE:
            first, second = second, first
        matched = first
        if match_on is MatchOn.EITHER:
            # Only a holder of all that the row is matched by can be confirmed as "is X".
            given = [
                holder
                for column, holder in ((email, first), (phone, second))
                if column is not None and row[column]
            ]
            matched = given[0] if all(each is given[0] for each in given) else None
        if matched is None:
            continue
        # A row with a time of its own may have to stamp the contact, so it is not settled by its content.
        same = matched.content == contents[16 * index : 16 * index + 16] and not (times and times[index])
        hints[index] = Hint.SAME if same else Hint.IS
        hinted.append(matched.contact)
    told = msgspec.structs.replace(message, hints=bytes(hints), hinted=b"".join(hinted))
    return replace(batch, message=told)
