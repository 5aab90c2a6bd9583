"""The values of a JSON document one at a time, with a row's worth of it in memory.

The text is read in pieces, and every value is parsed for itself by the standard library's parser in C. One
that is longer than a row may be, or nested too deep for the parser, is skipped to its end by its brackets.
All else is checked: a document that is no JSON (RFC 8259) is refused, with the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from ingress.formats.json_values import object_of, scan, told
from ingress.formats.rows import MAX_ROW_BYTES, FileUnreadable
from ingress.formats.source import SourceText
from sluice.errors import FileEmpty

_BLANKS = re.compile(r"[ \t\n\r]*")
_BRACKET_OR_QUOTE = re.compile(r'["\[\]{}]')
_END_OR_ESCAPE = re.compile(r'"|\\.', re.DOTALL)
_BEHIND_SCALAR = re.compile(r"[ \t\n\r,\]}]")
_LIST_OF_OBJECTS = re.compile(r"\[[ \t\n\r]*\{")


class Found(NamedTuple):
    """A value and how it is written; where it could not be parsed, the code of why."""

    value: Any
    source: str
    fault: str = ""


class JsonCursor:
    """A place in a JSON text; at least `MAX_ROW_BYTES` characters from there are at hand, or all that follow.

    Blanks before what is asked for are passed over. Raises FileUnreadable for what is no JSON.
    """

    def __init__(self, source: SourceText) -> None:
        self._pieces = source.pieces()
        self._text = ""
        self._at = 0
        # Of the text's first character; the place is told to people, the offset says how far a value reached.
        self._offset, self._line, self._column = 0, 1, 1
        self._complete = False

    def next(self) -> str:
        """The next character, empty at the end; it is not taken."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._at = blanks.end() if blanks else self._at
            if len(self._text) - self._at > MAX_ROW_BYTES or not self._fill():
                return self._text[self._at : self._at + 1]

    def take(self, character: str) -> bool:
        """Take this character if it is the next."""
        found = self.next() == character
        self._at += found
        return found

    def begins_list_of_objects(self) -> bool:
        """Whether a list follows whose first element is an object."""
        return self.next() == "[" and _LIST_OF_OBJECTS.match(self._text, self._at) is not None

    def value(self) -> Found:
        """Take the next value."""
        self.next()
        start, at = self._offset + self._at, self._at
        try:
            value, end = scan(self._text, at)
        except RecursionError:
            self._skip()
            return Found(None, "", "too_deep")
        except json.JSONDecodeError as error:
            problem = self._problem(error)
            if not self._complete:
                self._skip()
                if self._offset + self._at - start > MAX_ROW_BYTES:
                    return Found(None, "", "row_too_long")
            raise FileUnreadable(kind="JSON", problem=problem) from None
        if end - at > MAX_ROW_BYTES:
            self._skip()
            return Found(None, "", "row_too_long")
        self._at = end
        return Found(value, self._text[at:end])

    def refuse(self, problem: str) -> NoReturn:
        """Refuse the file for what stands here."""
        if not self.next():
            problem = "it ends too early"
        raise FileUnreadable(kind="JSON", problem=self._sentence(problem, self._at))

    def _problem(self, error: json.JSONDecodeError) -> str:
        """What the parser has against the text, as a sentence."""
        if self._at == len(self._text):
            return self._sentence("it ends too early", self._at)
        return self._sentence(told(error), max(error.pos, self._at))

    def _sentence(self, problem: str, at: int) -> str:
        lines = self._text.count("\n", 0, at)
        column = at - self._text.rfind("\n", 0, at) if lines else at + self._column
        return f"at line {self._line + lines}, column {column}, {problem}. Export it again."

    def _skip(self) -> None:
        """Go behind the value that begins here, by its brackets and quotation marks alone."""
        if self._text[self._at] not in '"[{':
            self._find(_BEHIND_SCALAR)
            self._at -= 1
            return
        depth = 0
        while True:
            mark = self._find(_BRACKET_OR_QUOTE)
            if mark == '"':
                while self._find(_END_OR_ESCAPE) != '"':
                    pass
            else:
                depth += 1 if mark in "[{" else -1
            if depth == 0:
                return

    def _find(self, pattern: re.Pattern[str]) -> str:
        """Go behind the next match, which is short."""
        while (match := pattern.search(self._text, self._at)) is None:
            # An escape may be cut by the piece's end.
            self._at = max(self._at, len(self._text) - 1)
            if not self._fill():
                self._at = len(self._text)
                self.refuse("")
        self._at = match.end()
        return match[0]

    def _fill(self) -> bool:
        """Read on, and forget what lies behind; False when the text is complete."""
        piece = next(self._pieces, None)
        if piece is None:
            self._complete = True
            return False
        lines = self._text.count("\n", 0, self._at)
        self._line += lines
        self._column = self._at - self._text.rfind("\n", 0, self._at) if lines else self._column + self._at
        self._offset += self._at
        self._text, self._at = self._text[self._at :] + piece, 0
        return True


class JsonList:
    """The elements of the list in a document: the whole of it, or its one member that is a list of objects.

    `note` is a sentence where that had to be chosen, known when `elements` has ended.
    """

    def __init__(self, source: SourceText) -> None:
        self._source = source
        self.note = ""

    def elements(self) -> Iterator[Found]:
        """The elements in order. Raises FileEmpty, and FileUnreadable for anything else."""
        cursor = JsonCursor(self._source)
        if not cursor.next():
            raise FileEmpty()
        if cursor.next() == "[":
            yield from _elements(cursor)
        elif cursor.next() == "{":
            yield from self._member_elements(cursor)
        else:
            cursor.value()
            raise FileUnreadable(
                kind="list of contacts", problem="it is a single JSON value. Send an array of objects."
            )
        if cursor.next():
            cursor.refuse("text follows behind the end")

    def _member_elements(self, cursor: JsonCursor) -> Iterator[Found]:
        """The elements of the list in an object; the object itself where it has no list."""
        chosen = ""
        own: list[tuple[str, Any]] = []
        size = 0
        for name in _members(cursor):
            if cursor.begins_list_of_objects():
                if chosen:
                    problem = (
                        f'"{_shown(chosen)}" and "{_shown(name)}" are both lists. Keep the contacts only.'
                    )
                    raise FileUnreadable(kind="single list of contacts", problem=problem)
                chosen = name
                yield from _elements(cursor)
                continue
            found = cursor.value()
            size += len(name) + len(found.source) if not found.fault else MAX_ROW_BYTES
            if size <= MAX_ROW_BYTES:
                own.append((name, found.value))
        if chosen:
            self.note = f'The contacts were taken from the list "{_shown(chosen)}" of the file.'
        elif all(value != [] for _, value in own):
            self.note = "The file holds one JSON object, which was taken as one contact."
            yield Found(object_of(own), "\\u", "row_too_long" if size > MAX_ROW_BYTES else "")


def _shown(name: str) -> str:
    """A name as a sentence repeats it: of bounded length, and text whatever the file holds."""
    return name[:100].encode("utf-8", "replace").decode()


def _elements(cursor: JsonCursor) -> Iterator[Found]:
    """The elements of the list that begins here."""
    cursor.take("[")
    if cursor.take("]"):
        return
    while True:
        yield cursor.value()
        if cursor.take("]"):
            return
        if not cursor.take(","):
            cursor.refuse('there is no "," behind the element')


def _members(cursor: JsonCursor) -> Iterator[str]:
    """The names in the object that begins here; the caller takes the value behind each."""
    cursor.take("{")
    if cursor.take("}"):
        return
    while True:
        if cursor.next() != '"':
            cursor.refuse("there is no name in quotation marks")
        name = cursor.value().value
        if not cursor.take(":"):
            cursor.refuse('there is no ":" behind the name')
        yield name or ""
        if cursor.take("}"):
            return
        if not cursor.take(","):
            cursor.refuse('there is no "," behind the value')
