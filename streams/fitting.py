"""A batch grows on its way: here it is made to fit into one message, at the price of what is least needed."""

from __future__ import annotations

from sluice.avro import Codec
from sluice.events import FieldFault
from sluice.outcome import Outcome
from sluice.topics import ROWS_RESOLVED
from streams.batch import Batch, resolved

LARGEST_VALUE_BYTES = 1_000_000
"""A broker takes 1,048,588 bytes (its default `message.max.bytes`) of value, key and headers together."""

_TOO_LARGE = FieldFault(
    field="",
    code="row_too_large",
    message="The row is too large to be processed. Shorten its longest values and send it again.",
    value="",
)


def encode_fitting(codec: Codec, batch: Batch) -> bytes:
    """The batch's message. If it is too large, it keeps one fault a row, then its largest rows fail."""
    value = codec.encode(ROWS_RESOLVED.name, resolved(batch))
    if len(value) > LARGEST_VALUE_BYTES:
        _shorten_faults(batch)
        value = codec.encode(ROWS_RESOLVED.name, resolved(batch))
    while len(value) > LARGEST_VALUE_BYTES:
        _fail_largest(batch, len(value) - LARGEST_VALUE_BYTES)
        value = codec.encode(ROWS_RESOLVED.name, resolved(batch))
    return value


def _shorten_faults(batch: Batch) -> None:
    for refusal in batch.refusals.values():
        del refusal.faults[1:]


def _fail_largest(batch: Batch, excess_bytes: int) -> None:
    """Empty the largest rows until the excess is gone. The other rows lose their hints with them."""
    sizes = [sum(len(text.encode()) for text in row) for row in batch.rows()]
    for index in sorted(range(batch.row_count), key=sizes.__getitem__, reverse=True):
        for values in batch.columns.values():
            values[index] = ""
        batch.refusals.pop(index, None)
        batch.refuse(index, Outcome.FAILED, [_TOO_LARGE])
        batch.marks.pop(index, None)
        excess_bytes -= sizes[index]
        if excess_bytes <= 0:
            break
    else:
        # It is not the rows but the header.
        batch.columns.clear()
    batch.hints, batch.hinted = bytes(batch.row_count), b""
