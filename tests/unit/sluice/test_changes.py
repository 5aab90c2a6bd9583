"""What is told of changed contacts: who let an identity go, who holds it now."""

from __future__ import annotations

import uuid

from sluice.changes import identities_changed
from sluice.contact import Contact, fingerprint, identity_hash, identity_key

SECRET, ORGANIZATION = bytes(range(32)), uuid.UUID(int=7)
KEY = identity_key(SECRET, ORGANIZATION, "contacts")
X, Y = b"x" * 16, b"y" * 16


def contact(contact_id: bytes, email: str = "", phone: str = "") -> Contact:
    return Contact(contact_id, {"email": email, "phone_formatted": phone})


def email(value: str) -> bytes:
    return identity_hash(KEY, "email", value)


def phone(value: str) -> bytes:
    return identity_hash(KEY, "phone", value)


def test_what_is_let_go_comes_before_what_is_held() -> None:
    """A deleted contact lets go; one change tells both identities of a holder, with its content's print."""
    after = contact(X, "new", "+1")
    told = identities_changed(
        SECRET, ORGANIZATION, [contact(X, "old", "+1"), contact(Y, phone="+2")], [after]
    )
    assert told is not None
    assert (told.organization_id, told.target) == (str(ORGANIZATION), "contacts")
    assert [(each.kind, each.hash, each.contact_id) for each in told.changes] == [
        ("email", email("old"), None),
        ("phone", phone("+2"), None),
        ("email", email("new"), X),
    ]
    assert told.changes[2].other_hash == phone("+1")
    assert told.changes[2].fingerprint == fingerprint(after.values)


def test_an_identity_that_changes_hands_is_never_said_to_be_free() -> None:
    """Two contacts that swap are two holders, and nothing in between."""
    before, after = [contact(X, "a"), contact(Y, "b")], [contact(X, "b"), contact(Y, "a")]
    told = identities_changed(SECRET, ORGANIZATION, before, after)
    assert told is not None
    assert [(each.hash, each.contact_id) for each in told.changes] == [(email("b"), X), (email("a"), Y)]


def test_contacts_without_identities_are_not_told_of() -> None:
    """A number that is none is found by nobody."""
    assert identities_changed(SECRET, ORGANIZATION, [contact(X)], [contact(X)]) is None
