"""What the agents work with, put together once by `streams.app`."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.avro import Codec
from sluice.clock import Clock
from sluice.telemetry import Telemetry
from streams.dead_letters import DeadLetters
from streams.decoding import NewerSchemas
from streams.identities import Identities
from streams.look_ups import DncLookUp
from streams.progress import ProgressTable
from streams.resolving import Resolver
from streams.sending import Sender


@dataclass(frozen=True, slots=True)
class Parts:
    """The borders and tables of one running app."""

    codec: Codec
    newer_schemas: NewerSchemas
    sender: Sender
    identities: Identities
    progress: ProgressTable
    dnc: DncLookUp
    dead_letters: DeadLetters
    resolver: Resolver
    # The key under which e-mails and phones are hashed.
    secret: bytes
    telemetry: Telemetry
    clock: Clock

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self.clock.now().timestamp() * 1000)
