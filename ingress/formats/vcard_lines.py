"""vCard text as properties: unfolded, taken apart and decoded (versions 2.1, RFC 2426, RFC 6350).

Lenient where programs differ, as each of these is written by one that many people use: base64 that is not
indented, a soft line break before an empty line, parameters without a name, a colon in one without quotation
marks.
"""

from __future__ import annotations

import binascii
import codecs
import quopri
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ingress.formats.encoding import canonical_encoding
from ingress.formats.rows import MAX_ROW_BYTES
from ingress.formats.source import SourceText

_BINARY_NAMES = frozenset({"PHOTO", "LOGO", "SOUND", "KEY"})

# No preference: behind 1 to 100 (RFC 6350, 5.3).
UNPREFERRED = 101

# An address of a picture may be long, the picture itself is not kept.
MAX_BINARY_BYTES = 8 * 1024

_BINARY = re.compile(rb"(?:[\w-]+\.)?(?:photo|logo|sound|key)[;:]", re.IGNORECASE)
_BASE64_LINE = re.compile(rb"[A-Za-z0-9+/=]+[ \t]*")
_QUOTED_PRINTABLE = re.compile(rb"[^:]*[;=]quoted-printable", re.IGNORECASE)
_BASE64 = re.compile(rb"[^:]*[;=](?:base64|b)[;:]", re.IGNORECASE)
_CARD_ENDS = re.compile(rb"\s*(?:begin|end):vcard\s*", re.IGNORECASE)
_VERSION_2 = re.compile(rb"version:\s*2", re.IGNORECASE)
_QUOTED_HEAD = re.compile(r'(?:[^":]|"[^"]*")*:')
_PARAMETER = re.compile(r';((?:[^";]|"[^"]*")*)')
_NAME = re.compile(r"(?:([\w-]+)\.)?([\w-]+)", re.ASCII)
_SEPARATORS = {mark: re.compile(rf"\\.|{mark}", re.DOTALL) for mark in ";,"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

_ENCODINGS = {"QUOTED-PRINTABLE": "q", "Q": "q", "BASE64": "b", "B": "b", "8BIT": "", "7BIT": ""}


class ContentLine(NamedTuple):
    """An unfolded line: the physical line where it begins, its text, and whether it is only the beginning."""

    number: int
    text: str
    is_cut: bool


class Head(NamedTuple):
    """What stands before a value.

    The name is in upper case, the types are in lower case, the preference is 1 for the first, the encoding is
    "q" for quoted-printable, "b" for base64 or nothing.
    """

    name: str
    group: str
    types: frozenset[str]
    preference: int
    encoding: str
    charset: str

    @property
    def is_binary(self) -> bool:
        """Whether the value is a picture, a sound or a key, which is a cell by its address only."""
        return self.name in _BINARY_NAMES


def content_lines(source: SourceText) -> Iterator[ContentLine]:
    """The unfolded lines of a file that are not empty; of one longer than a row may be, the beginning.

    Folding leaves a blank in version 2.1 and none in the later ones, so the VERSION lines are looked at.
    """
    encoding = source.line_encoding
    line: _Unfolding | None = None
    is_old = False
    for number, data, is_cut in source.lines():
        if line is not None and line.goes_on(data):
            line.add(data, is_cut, is_old=is_old)
            continue
        if not data:  # programs leave empty lines behind base64, and where they wrote CR CR LF
            continue
        if line is not None:
            yield line.whole(encoding)
        line = _Unfolding(number, data, is_cut)
        if data[:1] in b"VvBbEe":
            is_old = bool(_VERSION_2.match(data)) or (is_old and not _CARD_ENDS.fullmatch(data))
    if line is not None:
        yield line.whole(encoding)


class _Unfolding:
    """A line to which others may belong."""

    __slots__ = ("_is_base64", "_is_cut", "_is_quoted", "_limit", "_number", "_parts", "_size")

    def __init__(self, number: int, data: bytes, is_cut: bool) -> None:
        self._number = number
        self._parts = [data]
        self._size = len(data)
        self._is_cut = is_cut
        # Looked up when another line comes, as most lines stand alone.
        self._limit = 0
        self._is_quoted: bool | None = None
        self._is_base64: bool | None = None

    def goes_on(self, data: bytes) -> bool:
        """Whether the next physical line belongs to this one."""
        if data[:1] in (b" ", b"\t"):
            return True
        if self._parts[-1][-1:] == b"=" and self._is_quoted_printable():
            return not _CARD_ENDS.fullmatch(data)
        if b":" in data or not _BASE64_LINE.fullmatch(data):
            return False
        if self._is_base64 is None:
            self._is_base64 = _BASE64.match(self._parts[0]) is not None
        return self._is_base64

    def add(self, data: bytes, is_cut: bool, *, is_old: bool) -> None:
        """Take the next physical line."""
        if self._parts[-1][-1:] == b"=" and self._is_quoted_printable():
            self._parts[-1] = self._parts[-1][:-1]
        elif data[:1] in (b" ", b"\t"):
            data = b" " + data.lstrip(b" \t") if is_old else data[1:]
        self._limit = self._limit or (MAX_BINARY_BYTES if _BINARY.match(self._parts[0]) else MAX_ROW_BYTES)
        self._size += len(data)
        self._is_cut |= is_cut or self._size > self._limit
        if self._size <= self._limit:
            self._parts.append(data)
        else:  # what is too long is lost, but its end tells whether the line goes on
            self._parts[-1] = data

    def whole(self, encoding: str) -> ContentLine:
        """The line, now that no other belongs to it."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        text = data.decode(encoding, "surrogateescape")
        return ContentLine(self._number, text.lstrip("\ufeff"), self._is_cut)

    def _is_quoted_printable(self) -> bool:
        if self._is_quoted is None:
            self._is_quoted = _QUOTED_PRINTABLE.match(b"".join(self._parts)) is not None
        return self._is_quoted


def property_of(text: str) -> tuple[Head, str] | None:
    """The head and the value as it is written; None for a line that is no property."""
    head, colon, value = text.partition(":")
    if '"' in head and (match := _QUOTED_HEAD.match(text)):
        head, value = match[0][:-1], text[match.end() :]
    if not colon:
        return None
    parsed = _known_head(head) if len(head) <= _REMEMBERED else _parse_head(head)
    return (parsed, value) if parsed else None


def _parse_head(head: str) -> Head | None:
    name, _, parameters = head.partition(";")
    match = _NAME.fullmatch(name.strip())
    if match is None:
        return None
    types: set[str] = set()
    preference, encoding, charset = UNPREFERRED, "", ""
    for parameter in _PARAMETER.findall(";" + parameters):
        key, equals, value = parameter.partition("=")
        key, value = (key.strip().upper(), value.strip(' "')) if equals else ("", key.strip(' "'))
        if key == "ENCODING" or (not key and value.upper() in _ENCODINGS):
            encoding = _ENCODINGS.get(value.upper(), "")
        elif key == "CHARSET":
            charset = _charset_of(value)
        elif key == "PREF":
            preference = min(preference, int(value)) if value.isdecimal() and len(value) < 4 else preference
        elif key in ("", "TYPE"):
            types.update(value.lower().split(","))
    if "pref" in types:
        preference = min(preference, 1)
    return Head(match[2].upper(), match[1] or "", frozenset(types), preference, encoding, charset)


def _charset_of(name: str) -> str:
    """The codec of a CHARSET; ASCII for one that is not known, so that what it holds beyond is a fault."""
    if known := canonical_encoding(name):
        return known
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "ascii"
    return found if found.startswith("iso2022") else "ascii"


# The same few heads stand in every card of a file; longer ones than this are rare.
_REMEMBERED = 200
_known_head = lru_cache(maxsize=1024)(_parse_head)


class Charset:
    """Values to texts: by their own CHARSET, else by the file's encoding.

    Bytes that are no text stay halves of characters, as "surrogateescape" makes them.

    Quoted-printable often names no character set, in a file that is ASCII otherwise. With `guess` it is then
    Windows-1252 where it cannot be UTF-8, and `guessed` says so.
    """

    def __init__(self, encoding: str, *, guess: bool) -> None:
        self._encoding = encoding
        self._guess = guess
        self.guessed = ""

    def decode(self, head: Head, value: str) -> str:
        """The value's text, with its escapes; empty where base64 holds no text."""
        if not head.encoding and (not head.charset or value.isascii()):
            return value
        data = value.encode(self._encoding, "surrogateescape")
        charset = head.charset or self._encoding
        if head.encoding == "b":
            return _base64_text(data, charset)
        if head.encoding == "q":
            data = quopri.decodestring(data)
        try:
            return data.decode(charset)
        except UnicodeDecodeError:
            if head.charset or not self._guess:
                return data.decode(charset, "surrogateescape")
        self.guessed = "windows-1252"
        return data.decode("cp1252", "surrogateescape")


def _base64_text(data: bytes, charset: str) -> str:
    try:
        return binascii.a2b_base64(data).decode(charset)
    except ValueError:
        return ""


def split_value(value: str, separator: str) -> list[str]:
    """The components (";") or list items (",") of a value, their escapes as they are."""
    if "\\" not in value:
        return value.split(separator)
    parts, start = [], 0
    for match in re.finditer(_SEPARATORS[separator], value):
        if match[0] == separator:
            parts.append(value[start : match.start()])
            start = match.end()
    return [*parts, value[start:]]


def unescape(value: str, *, is_old: bool) -> str:
    """A text value without its escapes, trimmed. Version 2.1 (`is_old`) has none for a line end."""
    if "\\" in value:
        value = _ESCAPE.sub(_unescape_old if is_old else _unescape, value)
    return (value.replace("\r\n", "\n") if "\r" in value else value).strip()


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] in "nN" else _unescape_old(match)


def _unescape_old(match: re.Match[str]) -> str:
    return match[1] if match[1] in '\\;,:"' else match[0]
