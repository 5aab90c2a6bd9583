"""vCard 2.1, 3.0 and 4.0 as rows: one card is one row, its source line that of its BEGIN:VCARD.

- The columns are our own fields (`FIELDS`), always and in this order, then what else the cards hold
  (`vcard_card.py` says under which name). Several values are joined by " ::: ", the preferred one first.
- A card is never lost. One without an end or a beginning, or with a line that is no property, is a faulty
  row, and so is a run of lines between the cards.
- A card that names a group is a faulty row too: it is no contact, and its members are cards themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ingress.formats.opening import Asked, Table
from ingress.formats.records import Record, row_fault, sound_record, table_of
from ingress.formats.rows import FileUnreadable
from ingress.formats.source import SourceText, open_source
from ingress.formats.vcard_card import FIELDS, Card
from ingress.formats.vcard_lines import Charset, content_lines

_MARKER = re.compile(r"\s*(begin|end)\s*:\s*vcard\s*", re.IGNORECASE)


def open_vcard(path: Path, asked: Asked) -> Table:
    """The cards of a file.

    Raises FileEmpty, FileUnreadable for a file without a card, FileHasTooManyFields, and what `open_source`
    raises.
    """
    source = open_source(path, asked.encoding)
    charset = Charset(source.line_encoding, guess=asked.encoding is None)

    def notes() -> list[str]:
        what = f"Some values name no character set and were read as {charset.guessed}."
        return [*source.notes, *([f"{what} Please check their accents."] if charset.guessed else [])]

    return table_of(lambda: _records(source, charset), what="card", fixed=FIELDS, notes=notes)


def _records(source: SourceText, charset: Charset) -> Iterator[Record]:
    """Every card, and every run of lines that belongs to none, in order."""
    card: Card | None = None
    begun = False
    for line in content_lines(source):
        marker = _marker(line.text)
        if marker == "begin":
            begun = True
            if card is not None and card.enters_agent():
                continue
            if card is not None:
                card.find_fault(row_fault("card_not_ended"))
                yield _record(card, source)
            card = Card(line.number)
        elif marker == "end":
            if card is None:
                card = Card(line.number, row_fault("card_not_begun"))
            if not card.leaves_agent():
                yield _record(card, source)
                card = None
        elif line.text.strip():
            if card is None:
                card = Card(line.number, row_fault("card_not_begun"))
            card.add(line, charset)
    if card is not None:
        card.find_fault(row_fault("card_not_ended"))
        yield _record(card, source)
    if not begun:
        raise FileUnreadable(kind="vCard file", problem="it has no BEGIN:VCARD. Export it again.")


def _marker(text: str) -> str:
    """ "begin" or "end" for a card's first or last line."""
    match = _MARKER.fullmatch(text) if text[:1] in "BbEe \t" else None
    return match[1].lower() if match else ""


def _record(card: Card, source: SourceText) -> Record:
    return sound_record(card.line, card.fields(), card.fault, source.encoding)
