"""What the steps may ask: protocols, so that the steps stay pure and the tests need no server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from streams.batch import Batch


class Listing(NamedTuple):
    """Why a number must not be called: the list, its version that was consulted, the entry's date."""

    list_id: str
    version: int
    listed_on: str
    reason: str


class DncLookUp(Protocol):
    """The Do-Not-Call lists that apply to an organization, however they are held."""

    def listings(self, organization_id: str, numbers: Sequence[str]) -> Mapping[str, Listing]:
        """The numbers (E.164) among `numbers` that are listed or cannot be cleared.

        Raises:
            ListUnavailable: a list cannot be consulted now.
        """
        ...


class IdentityLookUp(Protocol):
    """The identities table, for the partition of a batch."""

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The entry of each key, None for one that is not known."""
        ...


@dataclass(frozen=True, slots=True)
class LookUps:
    """Everything that the steps of one batch may ask."""

    dnc: DncLookUp
    identities: IdentityLookUp
    # The key under which e-mails and phones are hashed (Settings.identity_secret).
    secret: bytes


Step = Callable[[Batch, LookUps], None]
"""One step of the pipeline: it changes the batch in place, and may run twice on the same rows."""
