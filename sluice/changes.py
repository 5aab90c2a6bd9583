"""What is told of changed contacts: their content as public events carry it, and who holds which identity."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence

from sluice.contact import (
    CONTACTS,
    CUSTOM,
    IDENTITIES,
    Contact,
    fingerprint,
    identity_hash,
    identity_key,
    split_tags,
)
from sluice.events import ContactValues, IdentitiesChanged, IdentityChange

VALUES = tuple(name for name in ContactValues.__struct_fields__ if name not in ("tags", "custom_fields"))
SOURCES: Mapping[str, str] = {"phone": "phone_formatted", "phone_as_given": "phone"}
"""Event field to contact field, where the names differ: in events `phone` is the E.164 number."""
NAMES: Mapping[str, str] = {source: name for name, source in SOURCES.items()}


def contact_values(values: Mapping[str, str]) -> ContactValues:
    """A contact's content as public events carry it."""
    plain = {name: values.get(SOURCES.get(name, name)) or None for name in VALUES}
    return ContactValues(
        **{**plain, "do_not_call": bool(plain["do_not_call"])},  # type: ignore[arg-type]
        tags=split_tags(values.get("tags", "")),
        custom_fields=custom_fields(values),
    )


def custom_fields(values: Mapping[str, str]) -> dict[str, str]:
    """The custom fields of a content, under their own names."""
    return {
        name.removeprefix(CUSTOM): value
        for name, value in values.items()
        if value and name.startswith(CUSTOM)
    }


def changed_fields(names: Sequence[str]) -> list[str]:
    """Changed contact fields by the names that events use."""
    return [NAMES.get(name, name) for name in names]


def identities_of(contact: Contact) -> Iterable[tuple[str, str]]:
    """The identities that a contact has, as kind and value."""
    return [(kind, value) for kind in IDENTITIES if (value := contact.identity(kind))]


def identities_changed(
    secret: bytes, organization_id: uuid.UUID, before: Iterable[Contact], after: Iterable[Contact]
) -> IdentitiesChanged | None:
    """Who holds what once the contacts `before` are as in `after`, and gone where they are not in it.

    What is let go comes first, so an identity that changes hands within one message ends at its new holder.
    None where no contact has an identity, before or after.
    """
    key = identity_key(secret, organization_id, CONTACTS.name)
    after = list(after)
    held = {identity for contact in after for identity in identities_of(contact)}
    free = dict.fromkeys(identity for contact in before for identity in identities_of(contact))
    changes = [
        IdentityChange(kind=kind, hash=identity_hash(key, kind, value), fingerprint=b"", other_hash=b"")
        for kind, value in free
        if (kind, value) not in held
    ]
    changes += [change for contact in after if (change := _holding(key, contact)) is not None]
    if not changes:
        return None
    return IdentitiesChanged(
        organization_id=str(organization_id), target=CONTACTS.name, scope="", changes=changes
    )


def _holding(key: bytes, contact: Contact) -> IdentityChange | None:
    """All that a contact holds: its other identity is held by it too."""
    hashes = [(kind, identity_hash(key, kind, value)) for kind, value in identities_of(contact)]
    if not hashes:
        return None
    (kind, digest), *other = hashes
    return IdentityChange(
        kind=kind,
        hash=digest,
        contact_id=contact.id,
        fingerprint=fingerprint(contact.values),
        other_hash=other[0][1] if other else b"",
    )
