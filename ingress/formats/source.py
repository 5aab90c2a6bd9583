"""A source file as text: its encoding found once, then its physical lines or its whole text, read lazily.

For the formats that are text but no table: JSON, vCard and LDIF. What cannot be decoded stays where it is:
in a line's bytes, or as `MARK` in a text.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingress.formats.encoding import WIDE, EncodingGuess, LateEvidence, LineSplitter
from ingress.formats.inspect import HEAD_BYTES, choose_encoding
from sluice.errors import FileEmpty

# What stands in a text for bytes that are no character of its encoding: half a character, which no sound text
# can hold. (Python's own "surrogateescape" cannot do it for UTF-16.)
MARK = "\udc80"

PIECE_BYTES = 256 * 1024


# The name of the error handler (PEP 293) that puts it there.
MARKING = "sluice.mark"


# A physical line: its number from 1, its bytes without their end, and whether they are only its start because
# it is longer than a row may be. A tuple, as a file has millions.
SourceLine = tuple[int, bytes, bool]


@dataclass(frozen=True, slots=True)
class SourceText:
    """A file and how it is encoded. `notes` are sentences for the person who can confirm the encoding."""

    path: Path
    encoding: str
    bom_bytes: int
    notes: tuple[str, ...]

    @property
    def line_encoding(self) -> str:
        """The encoding of the lines that `lines` gives: the file's own, UTF-8 for UTF-16."""
        return "utf-8" if self.encoding in WIDE else self.encoding

    def lines(self) -> Iterator[SourceLine]:
        """The lines in order; memory is bounded by one piece and one row."""
        splitter = LineSplitter(self.encoding)
        number = 0
        with self.path.open("rb") as file:
            file.seek(self.bom_bytes)
            while True:
                piece = file.read(PIECE_BYTES)
                block = splitter.feed(piece) if piece else splitter.finish()
                lines = block.lines if self.encoding not in WIDE else list(map(self._narrow, block.lines))
                for index, line in enumerate(lines):
                    number += 1
                    yield number, line.rstrip(b"\r\n"), index in block.long
                if not piece:
                    return

    def pieces(self) -> Iterator[str]:
        """The text in pieces; bytes that are no text are `MARK`."""
        decoder = codecs.getincrementaldecoder(self.encoding)(MARKING)
        with self.path.open("rb") as file:
            file.seek(self.bom_bytes)
            while piece := file.read(PIECE_BYTES):
                yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)

    def _narrow(self, line: bytes) -> bytes:
        # A lone surrogate becomes bytes that are no UTF-8, so that it is found where the line is decoded.
        return line.decode(self.encoding, MARKING).encode("utf-8", "surrogatepass")


def open_source(path: Path, wanted: str | None) -> SourceText:
    """Find out how a file is encoded; `wanted` overrides it.

    Raises FileEmpty for a file without a byte, HeaderUnreadable for UTF-32, and OptionInvalid for a wanted
    encoding that does not exist.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        complete = not file.read(1)
    if not head:
        raise FileEmpty()
    guess = choose_encoding(head, wanted, complete=complete)
    # UTF-16 without a mark is ASCII and NUL, byte by byte, and certain enough.
    if wanted is None and not complete and head.isascii() and guess.encoding == "utf-8":
        guess = _late_guess(path) or guess
    return SourceText(path, guess.encoding, guess.bom_bytes, (guess.note,) if guess.note else ())


def _late_guess(path: Path) -> EncodingGuess | None:
    """What the whole file says of its encoding when its head says nothing, being ASCII."""
    evidence = LateEvidence()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            evidence.add(piece)
    return evidence.guess()


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Go on behind the bytes that are no text (a codec's error handler)."""
    assert isinstance(error, UnicodeDecodeError)
    return MARK, error.end


codecs.register_error(MARKING, _mark)
