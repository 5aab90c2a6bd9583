"""Scrub: numbers that are on a Do-Not-Call list, or cannot be cleared (K-43).

Under `exclude` such a row ends here, under `flag` its contact is stored and marked. A look-up that cannot be
made blocks: `ListUnavailable` is waited for by whoever runs the steps, and nobody passes meanwhile.
"""

from __future__ import annotations

from sluice.events import DncMark, FieldFault
from sluice.outcome import Outcome
from streams.batch import Batch
from streams.look_ups import Listing, LookUps


def scrub(batch: Batch, look_ups: LookUps) -> None:
    """Mark or refuse the rows whose number is listed."""
    numbers = batch.columns.get("phone_formatted", [])
    found = look_ups.dnc.listings(batch.read.organization_id, numbers)
    if not found:
        return
    for index in list(batch.live()):
        listing = found.get(numbers[index])
        if listing is None:
            continue
        if batch.read.options.dnc_policy == "exclude":
            batch.refuse(index, Outcome.SUPPRESSED_DNC, [_fault(batch, index, listing)])
        else:
            batch.marks[index] = DncMark(index=index, **listing._asdict())


def _fault(batch: Batch, index: int, listing: Listing) -> FieldFault:
    message = (
        f"{listing.reason} (Do-Not-Call list {listing.list_id}, version {listing.version}, "
        f"{listing.listed_on})"
    )
    value = batch.columns["phone"][index]
    return FieldFault(field="phone", code="dnc_listed", message=message, value=value)
