"""LDIF (RFC 2849) as rows: one entry is one row, its source line that of its first line.

- The columns are the attributes, by the name that is first used (their case means nothing), with their
  options: `cn;lang-ja` is a column of its own. Several values are joined by " ::: ".
- What an address (`:<`) points to is never fetched. Values that are no text and passwords are left out. The
  notes name the attributes.
- A change record of type add is an entry; every other change is a faulty row. So are an entry without a dn:
  line, and one with a line that is none.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from ingress.formats.opening import VALUE_SEPARATOR, Asked, Table
from ingress.formats.records import Record, RowFault, row_fault, sound_record, table_of
from ingress.formats.rows import MAX_ROW_BYTES, FileUnreadable
from ingress.formats.source import SourceLine, SourceText, open_source

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}(?:;[\w-]{1,99}){0,9}", re.ASCII)

# Where a value of these is no UTF-8, it is text in a wrong encoding and no picture or certificate.
_TEXTS = frozenset(
    {"dn", "cn", "sn", "givenname", "displayname", "mail", "o", "ou", "l", "st", "c", "co", "street", "title"}
    | {"postalcode", "postaladdress", "description", "telephonenumber", "mobile", "homephone", "uid"}
)

_PASSWORDS = frozenset(
    {"userpassword", "unicodepwd", "sambantpassword", "sambalmpassword", "krbprincipalkey", "authpassword"}
)

_CHANGES = frozenset({"delete", "modify", "modrdn", "moddn"})

_LISTED_IN_NOTE = 10


def open_ldif(path: Path, asked: Asked) -> Table:
    """The entries of a file.

    Raises FileEmpty, FileUnreadable for a file without a dn: line, FileHasTooManyFields, and
    what `open_source` raises.
    """
    source = open_source(path, asked.encoding)
    reader = _Reader(source)
    return table_of(reader.records, what="entry", notes=lambda: [*source.notes, *reader.notes()])


class _Entry:
    """An entry while its lines come: where it begins, its values by attribute in lower case, its fault."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.values: dict[str, list[str]] = {}
        self.fault: RowFault | None = None
        self.size = 0
        self.is_change = False

    def find_fault(self, code: str, **facts: object) -> None:
        """Say what is wrong with the entry; the first fault stays."""
        self.fault = self.fault or row_fault(code, **facts)


class _Reader:
    """Goes through a file entry by entry; remembers what it left out, and how the attributes are spelled."""

    def __init__(self, source: SourceText) -> None:
        self._source = source
        self._left_out: dict[str, dict[str, None]] = {}
        self._spelled: dict[str, str] = {}
        self._has_dn = False

    def notes(self) -> list[str]:
        """A sentence for each reason to leave attributes out."""
        return [
            f"{reason} were left out: {', '.join(list(names)[:_LISTED_IN_NOTE])}."
            for reason, names in sorted(self._left_out.items())
        ]

    def records(self) -> Iterator[Record]:
        """Every entry and every change, in order."""
        entry: _Entry | None = None
        for number, data, is_cut in _unfolded(self._source):
            text = data.decode(self._source.line_encoding, "surrogateescape").lstrip("\ufeff")
            # Some programs put empty lines into a change, others none between entries.
            if entry is not None and (_begins_entry(text) or not (text or entry.is_change)):
                yield self._record(entry)
                entry = None
            if text and (entry is not None or text[:8].lower() != "version:"):
                entry = entry or self._begin(number, text)
                self._read(entry, number, text, is_cut=is_cut)
        if entry is not None:
            yield self._record(entry)
        if not self._has_dn:
            raise FileUnreadable(kind="LDIF file", problem="it has no dn: line. Export it again.")

    def _begin(self, number: int, text: str) -> _Entry:
        entry = _Entry(number)
        if _begins_entry(text):
            self._has_dn = True
        else:
            entry.find_fault("no_dn")
        return entry

    def _read(self, entry: _Entry, number: int, text: str, *, is_cut: bool) -> None:
        """Take one line of the entry."""
        if entry.is_change:
            return
        name, colon, rest = text.partition(":")
        if not colon or not _NAME.fullmatch(name):
            entry.find_fault("broken_line", line=number, problem="it is no attribute with a value")
            return
        key = name.lower()
        if key == "changetype":
            change = rest.strip().lower()
            entry.is_change = change != "add"
            if entry.is_change:
                entry.find_fault("change_record", change=change if change in _CHANGES else "unknown")
        elif key != "control":
            value = self._value(entry, number, name, rest, is_cut=is_cut)
            self._spelled.setdefault(key, name)
            if value is not None:
                entry.values.setdefault(key, []).append(value)

    def _value(self, entry: _Entry, number: int, name: str, rest: str, *, is_cut: bool) -> str | None:
        """The value behind the attribute's first colon; None for one that is left out."""
        plain = name.lower().partition(";")[0]
        if plain in _PASSWORDS:
            self._leave_out("Passwords", name)
            return None
        if rest.startswith("<"):
            self._leave_out("Values that are elsewhere, which are not fetched,", name)
            return None
        may_be_binary = rest.startswith(":") and plain not in _TEXTS
        if is_cut and may_be_binary:
            self._leave_out("Values that are no text", name)
            return None
        entry.size += len(name) + len(rest)
        if is_cut or entry.size > MAX_ROW_BYTES:
            entry.find_fault("row_too_long", limit=MAX_ROW_BYTES)
            return None
        if not rest.startswith(":"):
            return rest.strip()
        try:
            data = binascii.a2b_base64(rest[1:].strip(), strict_mode=True)
        except ValueError:
            entry.find_fault("broken_line", line=number, problem="it holds no base64")
            return None
        if may_be_binary and not _is_text(data):
            entry.size -= len(name) + len(rest)
            self._leave_out("Values that are no text", name)
            return None
        return data.decode("utf-8", "surrogateescape").strip()

    def _leave_out(self, reason: str, name: str) -> None:
        self._left_out.setdefault(reason, {})[name] = None

    def _record(self, entry: _Entry) -> Record:
        fields = {self._spelled[key]: _joined(values) for key, values in entry.values.items()}
        return sound_record(entry.line, fields, entry.fault, self._source.encoding)


def _unfolded(source: SourceText) -> Iterator[SourceLine]:
    """The lines without their folding and without comments; an empty one between entries."""
    first, parts, size, is_cut = 0, [b""], 0, False
    is_comment = False
    for number, data, cut in source.lines():
        if data[:1] == b" " and (is_comment or parts[0]):
            size += len(data)
            is_cut |= cut or size > MAX_ROW_BYTES
            if not is_comment and not is_cut:
                parts.append(data[1:])
            continue
        if parts[0]:
            yield first, b"".join(parts), is_cut
        is_comment = data[:1] == b"#"
        first, parts, size, is_cut = number, [b"" if is_comment else data], len(data), cut
        if not data.strip():
            yield number, b"", False
    if parts[0]:
        yield first, b"".join(parts), is_cut


def _begins_entry(text: str) -> bool:
    return text[:3].lower() == "dn:"


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _joined(values: list[str]) -> str:
    return values[0] if len(values) == 1 else VALUE_SEPARATOR.join(dict.fromkeys(filter(None, values)))
