"""Planted bugs of the reader and of the streams."""

from __future__ import annotations

from typing import Any

from sluice.errors import DatabaseUnavailable, ListUnavailable
from tests.chaos.patches import Entry, replace


def _told(entry: Entry) -> bool:
    return entry.bite(f"bug {entry.options['name']}")


def forget_when_stored(entry: Entry) -> None:
    def make(original: Any) -> Any:
        def answered(self: Any, batch_no: int, stored: bool) -> None:
            original(self, batch_no, stored)
            if stored and _told(entry):
                self.applied(batch_no)

        return answered

    replace("ingress.reading.sending:JobSending._answered", make)


def accept_ahead(entry: Entry) -> None:
    from streams.identities import Acceptance

    def make(original: Any) -> Any:
        def accept(read: Any, seen: Any) -> Any:
            acceptance = original(read, seen)
            return Acceptance.NEXT if acceptance is Acceptance.AHEAD and _told(entry) else acceptance

        return accept

    replace("streams.pipeline:accept", make)


def swallow_list_outage(entry: Entry) -> None:
    def freshens(original: Any) -> Any:
        async def freshen(self: Any, job_id: str) -> None:
            try:
                await original(self, job_id)
            except DatabaseUnavailable:
                if not _told(entry):
                    raise

        return freshen

    def lists(original: Any) -> Any:
        def listings(self: Any, organization_id: str, numbers: Any) -> Any:
            try:
                return original(self, organization_id, numbers)
            except ListUnavailable:
                if not _told(entry):
                    raise
                return {}

        return listings

    replace("streams.dnc:DncFollower.freshen", freshens)
    replace("streams.dnc:DncLists.listings", lists)
