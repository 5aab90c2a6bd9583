"""What a dry run would change in contacts: field by field, before and after, cut short (D14).

The texts are for a person who decides, so they are cut; and there is a limit for a batch, because a contact's
notes may be long and every row may be an update.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import msgspec

from sinks.judging import Result

MAX_TEXT = 200
"""Characters of a value that are kept; an ellipsis stands for the rest."""
MAX_FIELDS = 100
"""Changed fields of a row that are kept, in order of name."""
MAX_BATCH_BYTES = 256 * 1024
"""Of all changes of one batch, as JSON: rows beyond it show their outcome alone. 500 rows that each
change three fields have about 60 KiB."""
IN_MEMORY_BYTES = 8 * 1024 * 1024

Changes = Mapping[str, Mapping[str, list[str | None]]]
"""Row index as text to field to its values before and after, null for none."""


def changes_of(result: Result) -> Changes:
    """What the updated rows of a batch change."""
    found: dict[str, Mapping[str, list[str | None]]] = {}
    room = MAX_BATCH_BYTES
    for index, before in sorted(result.before.items()):
        _, changed, after = result.images[index]
        row = {name: [_cut(before.get(name)), _cut(after.get(name))] for name in sorted(changed)[:MAX_FIELDS]}
        room -= len(msgspec.json.encode(row))
        if room < 0:
            break
        found[str(index)] = row
    return found


def changes_json(changes: Changes) -> str:
    """As they are stored."""
    return msgspec.json.encode(changes).decode()


def _cut(text: str | None) -> str | None:
    if not text:
        return None
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


class Spool:
    """The changes of a whole dry run, kept outside memory until its writes are rolled back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[int, tuple[int, int]] = {}

    def add(self, batch_no: int, changes: Changes) -> None:
        """Keep a batch's changes."""
        if changes:
            data = msgspec.json.encode(changes)
            self._places[batch_no] = (self._file.seek(0, 2), len(data))
            self._file.write(data)

    def of(self, batch_no: int) -> Changes:
        """The changes of a batch; none for one that was not added."""
        if batch_no not in self._places:
            return {}
        offset, length = self._places[batch_no]
        self._file.seek(offset)
        found: dict[str, Any] = msgspec.json.decode(self._file.read(length))
        return found


@contextmanager
def spooled() -> Iterator[Spool]:
    """A spool for the block: in memory at first, then in a file that nobody else sees."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
        yield Spool(file)
