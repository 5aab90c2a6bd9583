"""What a file is, by its first bytes; its name decides only where the bytes allow both.

Everything that is no other kind and no known stranger is delimited text, whatever its name says.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import msgspec

from ingress.formats.encoding import guess_encoding
from ingress.formats.inspect import refuse_other_formats
from ingress.formats.opening import Kind
from sluice.errors import FileNotCsv

# How much of the start is looked at as text.
SAMPLE_BYTES = 64 * 1024

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # the ZIP specification (APPNOTE), 4.3.7
_SIZE_FOLLOWS = 0x08  # the entry's size stands behind its data
_ENCRYPTED = 0x01

# An Office document is a ZIP archive that begins with one of these (Open Packaging Conventions).
_OFFICE_PARTS = ("[Content_Types].xml", "_rels/", "docProps/", "xl/", "customXml/", "word/", "ppt/")
# What a package's main part may be; a document may also name what is embedded in it, which is no main part.
_OFFICE_TYPES: Sequence[tuple[re.Pattern[bytes], str | None]] = (
    (re.compile(rb"(spreadsheetml\.\w+|ms-excel\.(sheet|template)\.macroEnabled)\.main\+xml"), None),
    (re.compile(rb"ms-excel\.sheet\.binary"), "it is a binary Excel workbook (xlsb)"),
    (re.compile(rb"wordprocessingml|ms-word"), "it is a Word document"),
    (re.compile(rb"presentationml|ms-powerpoint"), "it is a presentation"),
)
_ODS_TYPE = b"application/vnd.oasis.opendocument.spreadsheet"

# The start of a sheet in Excel 2, 3 and 4, which wrote no container around it: record number and length.
_BARE_SHEETS = (b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00", b"\x09\x08\x10\x00")

_VCARD = re.compile(r"begin:vcard\s", re.IGNORECASE)
_LDIF = re.compile(r"(#[^\n]*\n\s*)*(version:\s*\d+\s*$|dn::?\s)", re.IGNORECASE | re.MULTILINE)
_STRANGERS: Sequence[tuple[re.Pattern[str], str]] = (
    (
        re.compile(r"<(table|head|body|meta|style|script|div)[\s>]", re.IGNORECASE),
        "it is a part of a web page",
    ),
    (re.compile(r"ID;P\w+;"), "it is a SYLK file"),
    (re.compile(r"TABLE\s+0,1\s"), "it is a DIF file"),
)
_LIKE_JSON = re.compile(r'\{\s*["}]|\{\s*$|\[\s*[\[{"\]]|\[\s*$')
_LINES_OF_JSON = (".ndjson", ".jsonl")


def detect(head: bytes, filename: str = "") -> Kind:
    """The kind of the file that starts with `head`: up to 256 KiB, all of it if it is shorter.

    Raises FileNotCsv for what cannot be read at all, and says what it is.
    """
    if head.startswith(b"PK\x03\x04"):
        return _packed(head)
    if head.startswith(b"\x1f\x8b"):
        return Kind.GZIP
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return Kind.XLS
    if head.startswith(_BARE_SHEETS):
        raise FileNotCsv(found="it is a workbook of Excel 4 or older")
    return _text(head, PurePath(filename).suffix.lower())


def _text(head: bytes, suffix: str) -> Kind:
    guess = guess_encoding(head[:4096], complete=False)
    sample = head[guess.bom_bytes : SAMPLE_BYTES]
    try:
        text = sample.decode(guess.encoding, "replace").lstrip("\ufeff \t\r\n")
    except LookupError:
        return Kind.CSV  # whose reading says what is wrong with the encoding
    if _VCARD.match(text):
        return Kind.VCARD
    if _LDIF.match(text):
        return Kind.LDIF
    if text[:1] in ("{", "[") and (json := _json(text, suffix)):
        return json
    for pattern, found in _STRANGERS:
        if pattern.match(text):
            raise FileNotCsv(found=found)
    refuse_other_formats(head)
    return Kind.CSV


def _json(text: str, suffix: str) -> Kind | None:
    """JSON or lines of JSON; None for a text that only begins like it.

    One object alone is JSON, as a list within it may be; lines it is if another value follows.
    """
    first, _, rest = text.partition("\n")
    rest = rest.lstrip()
    try:
        msgspec.json.decode(first)
        lines = bool(rest)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        if not _LIKE_JSON.match(text) and suffix not in (".json", *_LINES_OF_JSON):
            return None
        # A first line may be broken, too: what matters is that the second begins anew.
        lines = first.rstrip().endswith("}") and rest.startswith("{")
    return Kind.NDJSON if lines or suffix in _LINES_OF_JSON else Kind.JSON


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    flags: int
    method: int
    packed: bytes  # as far as the head has it


def _packed(head: bytes) -> Kind:
    """A ZIP archive: a workbook or a mere archive."""
    for number, entry in enumerate(_entries(head)):
        if number == 0 and entry.name == "mimetype":
            return _open_document(entry)
        if number == 0 and not entry.name.startswith(_OFFICE_PARTS):
            return Kind.ZIP
        if entry.name == "[Content_Types].xml":
            return _office(entry)
    return Kind.XLSX


def _open_document(entry: _Entry) -> Kind:
    if _start_of(entry).startswith(_ODS_TYPE):
        return Kind.ODS
    raise FileNotCsv(found="it is an OpenDocument file, but no spreadsheet")


def _office(entry: _Entry) -> Kind:
    start = _start_of(entry)
    for main_part, found in _OFFICE_TYPES:
        if main_part.search(start):
            if found:
                raise FileNotCsv(found=found)
            break
    return Kind.XLSX


def _start_of(entry: _Entry) -> bytes:
    """The first bytes of an entry, unpacked; nothing where it cannot be."""
    if entry.flags & _ENCRYPTED or entry.method not in (0, 8):
        return b""
    if entry.method == 0:
        return entry.packed
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(entry.packed, SAMPLE_BYTES)
    except zlib.error:
        return b""


def _entries(head: bytes) -> Iterator[_Entry]:
    """The archive's first entries, as far as their sizes can be followed."""
    at = 0
    while at + _LOCAL_HEADER.size <= len(head):
        mark, _, flags, method, _, _, _, size, _, name, extra = _LOCAL_HEADER.unpack_from(head, at)
        if mark != b"PK\x03\x04":
            return
        named = at + _LOCAL_HEADER.size
        data = named + name + extra
        behind = len(head) if flags & _SIZE_FOLLOWS else data + size
        yield _Entry(head[named : named + name].decode("utf-8", "replace"), flags, method, head[data:behind])
        at = behind
