"""Which contacts an undo puts back: never one that was edited, never two with one identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.changes import identities_of
from sluice.contact import Contact
from tasks.undo.judging import Identity, Image, Kept, Reason, exchanged, judge

X, Y, Z, W = (bytes([n]) * 16 for n in (1, 2, 3, 4))


def image(
    contact: bytes,
    email: str = "",
    phone: str = "",
    *,
    edited: bool = False,
    batch_no: int = 1,
) -> Image:
    values = {name: value for name, value in (("email", email), ("phone_formatted", phone)) if value}
    return Image(Contact(contact, values, 1), 2, edited, batch_no)


def judged(
    images: list[Image], held: dict[str, bytes], versions: dict[bytes, int] | None = None
) -> dict[bytes, Kept]:
    """What is kept; all are at version 2 unless `versions` says otherwise, `held` has e-mails."""
    by_id = {each.before.id: each for each in images}
    holders: dict[Identity, bytes] = {("email", email): holder for email, holder in held.items()}
    return judge(by_id, dict.fromkeys(by_id, 2) if versions is None else versions, holders)


@pytest.mark.requirement("K-13")
def test_a_contact_at_the_version_that_the_job_left_is_put_back() -> None:
    """Its identities may be free, or its own still."""
    assert judged([image(X, "a"), image(Y, "b", "+1")], {"b": Y}) == {}


def test_a_contact_that_was_edited_or_deleted_since_is_kept() -> None:
    """After the job by its version, within the job by the mark of its image."""
    images = [image(X), image(Y), image(Z, edited=True), image(W)]
    assert judged(images, {}, {X: 3, Z: 2, W: 2}) == {
        X: Kept(Reason.EDITED),
        Y: Kept(Reason.DELETED),
        Z: Kept(Reason.EDITED),
    }


@pytest.mark.parametrize("holder_is", ["a stranger", "edited"])
def test_who_needs_an_identity_of_a_contact_that_stays_is_kept(holder_is: str) -> None:
    """And so is whoever needs one of theirs, along the whole chain; who needs none of them is not."""
    images = [image(X, "a"), image(Y, "b"), image(Z, "c")]
    images += [image(W, "z", edited=True)] if holder_is == "edited" else []
    assert judged(images, {"a": W, "b": X, "c": Z}) == {
        X: Kept(Reason.COLLIDING, W),
        Y: Kept(Reason.COLLIDING, X),
    } | ({W: Kept(Reason.EDITED)} if holder_is == "edited" else {})


def test_identities_that_changed_hands_within_the_job_change_back() -> None:
    """Swapped or handed on in a ring: everybody is put back, and everybody lets go first."""
    ring = [image(X, "a"), image(Y, "b"), image(Z, "c"), image(W, "d")]
    held = {"a": Y, "b": Z, "c": X, "d": W}
    assert judged(ring, held) == {}
    holders = {("email", email): holder for email, holder in held.items()}
    assert exchanged({each.before.id: each for each in ring}, holders) == [X, Y, Z]


def test_an_identity_that_was_found_twice_goes_to_whom_the_job_found_it_with_last() -> None:
    """Unless its holder has it now and had it before."""
    assert judged([image(X, "a", batch_no=1), image(Y, "a", batch_no=2)], {}) == {
        X: Kept(Reason.COLLIDING, Y)
    }
    assert judged([image(X, "a", batch_no=1), image(Y, "a", batch_no=2)], {"a": X}) == {
        Y: Kept(Reason.COLLIDING, X)
    }


contacts = st.sampled_from([X, Y, Z, W])
emails = st.sampled_from("abcdef")


@given(
    st.dictionaries(contacts, st.tuples(emails, st.booleans(), st.integers(1, 3))),
    st.dictionaries(emails, contacts | st.just(b"\x09" * 16)),
)
def test_what_is_put_back_never_collides(
    drawn: dict[bytes, tuple[str, bool, int]], held: dict[str, bytes]
) -> None:
    """With nobody who stays, nor with one another; and nobody is kept without a reason."""
    images = {
        contact: image(contact, email, edited=edited, batch_no=batch_no)
        for contact, (email, edited, batch_no) in drawn.items()
    }
    kept = judged(list(images.values()), held)
    back = {contact: each for contact, each in images.items() if contact not in kept}
    staying = {email for email, holder in held.items() if holder not in back}
    wanted = [value for each in back.values() for _, value in identities_of(each.before)]
    assert not staying & set(wanted)
    assert len(wanted) == len(set(wanted))
    for contact, why in kept.items():
        assert (why.reason is Reason.EDITED) == images[contact].edited
        if why.reason is Reason.COLLIDING:
            assert images[contact].before.identity("email") in staying | set(wanted)
