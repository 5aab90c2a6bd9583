"""Headers and value of a batch tell the same, or it is nobody's."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from sluice.envelope import check_agreement, envelope_of, position_text
from sluice.errors import MessageContradictory, MessageUndecodable
from sluice.events import RowsRead
from sluice.topics import ROWS_READ
from tests.unit.sluice.samples import event_of

SAMPLE = event_of(ROWS_READ.name)
assert isinstance(SAMPLE, RowsRead)
BATCH = msgspec.structs.replace(SAMPLE, organization_id=str(uuid.uuid4()), job_id=str(uuid.uuid4()))
FACTS = {
    "organization_id": BATCH.organization_id,
    "job_id": BATCH.job_id,
    "run": BATCH.run,
    "lease_epoch": BATCH.lease_epoch,
    "batch_no": BATCH.batch_no,
    "first_row_no": BATCH.first_row_no,
    "row_count": len(BATCH.rows),
    "start": position_text(BATCH.start),
    "end": position_text(BATCH.end),
    "is_last": "true" if BATCH.is_last else "false",
}


def headers(**changes: object) -> list[tuple[str, bytes | None]]:
    return [(name, str(fact).encode()) for name, fact in {**FACTS, **changes}.items()]


def test_headers_that_agree_are_believed() -> None:
    """So is a batch whose headers are missing, or are not ours."""
    check_agreement(headers(), BATCH)
    check_agreement([], BATCH)
    check_agreement([("traceparent", b"00-1"), ("run", None)], BATCH)


@pytest.mark.parametrize("name", list(FACTS))
def test_a_header_that_says_otherwise_makes_the_message_nobodys(name: str) -> None:
    """Each of them, by name: a damaged value may be another valid one, and a header may lie."""
    other = "7:7:7:7" if name in ("start", "end") else "9999"
    with pytest.raises(MessageContradictory, match=name):
        check_agreement(headers(**{name: other}), BATCH)
    assert issubclass(MessageContradictory, MessageUndecodable)


@pytest.mark.parametrize("flipped", ["lease_epoch", "batch_no", "run", "first_row_no"])
def test_a_flipped_number_in_the_value_is_found_out(flipped: str) -> None:
    """The one bit that would have made every later batch outdated, for one."""
    damaged = msgspec.structs.replace(BATCH, **{flipped: getattr(BATCH, flipped) ^ (1 << 40)})
    with pytest.raises(MessageContradictory, match=flipped):
        check_agreement(headers(), damaged)


def test_an_envelope_is_what_the_headers_say() -> None:
    """All of it, so that a batch nobody can decode can be answered under its own name."""
    envelope = envelope_of(headers(is_last="true"))
    assert envelope is not None
    assert (str(envelope.job_id), envelope.batch_no, envelope.start, envelope.is_last) == (
        BATCH.job_id, BATCH.batch_no, BATCH.start, True,
    )  # fmt: skip
