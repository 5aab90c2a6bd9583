"""Which contacts an undo may put back, and which it keeps: pure, over what was read and locked (D14)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sluice.changes import identities_of
from sluice.contact import Contact, ContactId

Identity = tuple[str, str]
"""Kind and value."""


class Reason(StrEnum):
    """Why a contact is kept as it is."""

    EDITED = "edited"
    DELETED = "deleted"
    COLLIDING = "colliding"


@dataclass(frozen=True, slots=True)
class Kept:
    """A contact that stays; `held_by` has an identity that it would need."""

    reason: Reason
    held_by: ContactId | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A contact before the job first touched it, and how the job left it.

    `edited`: somebody else changed it between two touches of the job.
    """

    before: Contact
    left_version: int
    edited: bool
    batch_no: int


def is_edited(version: int, left_version: int, edited: bool) -> bool:
    """Whether a contact is not as the job left it. `version`: its own, or the one that it stands for."""
    return edited or version != left_version


def judge(
    images: Mapping[ContactId, Image],
    versions: Mapping[ContactId, int],
    holders: Mapping[Identity, ContactId],
) -> dict[ContactId, Kept]:
    """The contacts of `images` that are kept; all others can be put back together.

    `versions` has the contacts that are still there, each with the version that it stands for; `holders` has
    everybody who holds an identity that an image names.
    """
    kept = {
        contact: Kept(Reason.EDITED if contact in versions else Reason.DELETED)
        for contact, image in images.items()
        if contact not in versions or is_edited(versions[contact], image.left_version, image.edited)
    }
    claims = _claims(image for contact, image in images.items() if contact not in kept)
    _keep_colliding(kept, claims, images, holders)
    while losers := _losers(kept, claims, holders):
        kept |= losers
        _keep_colliding(kept, claims, images, holders)
    return kept


def _claims(images: Iterable[Image]) -> dict[Identity, list[ContactId]]:
    """Who wants each identity back, the last written first."""
    claims: dict[Identity, list[ContactId]] = {}
    for image in sorted(images, key=lambda each: (each.batch_no, each.before.id), reverse=True):
        for identity in identities_of(image.before):
            claims.setdefault(identity, []).append(image.before.id)
    return claims


def _keep_colliding(
    kept: dict[ContactId, Kept],
    claims: Mapping[Identity, Sequence[ContactId]],
    images: Mapping[ContactId, Image],
    holders: Mapping[Identity, ContactId],
) -> None:
    """Keep whoever needs an identity of a contact that stays, and then whoever needs one of theirs."""
    held: dict[ContactId, list[Identity]] = {}
    for identity, holder in holders.items():
        held.setdefault(holder, []).append(identity)
    pending = [identity for identity, holder in holders.items() if holder in kept or holder not in images]
    while pending:
        identity = pending.pop()
        holder = holders[identity]
        for contact in claims.get(identity, ()):
            if contact not in kept and contact != holder:
                kept[contact] = Kept(Reason.COLLIDING, holder)
                pending += held.get(contact, ())


def _losers(
    kept: Mapping[ContactId, Kept],
    claims: Mapping[Identity, Sequence[ContactId]],
    holders: Mapping[Identity, ContactId],
) -> dict[ContactId, Kept]:
    """Those that share a claim: the job found one identity first with one contact, later with another.

    It goes to the later one, which is the reverse order of writing, unless its holder never lost it.
    """
    losers: dict[ContactId, Kept] = {}
    for identity, claimants in claims.items():
        open_claims = [contact for contact in claimants if contact not in kept]
        if len(open_claims) > 1:
            holder = holders.get(identity)
            winner = holder if holder in open_claims else open_claims[0]
            losers |= {each: Kept(Reason.COLLIDING, winner) for each in open_claims if each != winner}
    return losers


def exchanged(images: Mapping[ContactId, Image], holders: Mapping[Identity, ContactId]) -> list[ContactId]:
    """Contacts that are put back and hold an identity which another one gets: it must be let go first."""
    return sorted(
        {
            holder
            for contact, image in images.items()
            for identity in identities_of(image.before)
            if (holder := holders.get(identity, contact)) != contact
        }
    )
