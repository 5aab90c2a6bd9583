"""What a file is: by its content, whatever its name says."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from ingress.formats.detect import detect
from ingress.formats.opening import Kind
from sluice.errors import FileNotCsv
from tests.unit.ingress.formats.workbooks import PACKAGE, make_package, make_workbook


def zipped(*files: tuple[str, bytes]) -> bytes:
    """A ZIP archive of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return out.getvalue()


TEXTS = [
    (b"name,email\nAnn,a@b.de\n", "", Kind.CSV),
    (b"name\temail\n", "list.tsv", Kind.CSV),
    (b"a;b\n1;2\n", "book.xlsx", Kind.CSV),
    (b"a;b\n1;2\n", "book.xls", Kind.CSV),
    (b"", "empty.csv", Kind.CSV),
    (b"\xef\xbb\xbfname,email\n", "", Kind.CSV),
    ("name,e-mail\nAnn,1\n".encode("utf-16"), "", Kind.CSV),
    (b"[id],[name]\n1,2\n", "", Kind.CSV),
    (b"{id},name\n1,2\n", "", Kind.CSV),
    (b"{id},name\n1,2\n", "broken.json", Kind.JSON),
    (b"dn,cn\nx,y\n", "", Kind.CSV),
    (b'[{"name": "Ann"}]', "", Kind.JSON),
    (b'[\n  {"name": "Ann"},\n', "", Kind.JSON),
    (b'\xef\xbb\xbf \n[{"name": "Ann"}]', "contacts.csv", Kind.JSON),
    ('[{"name": "Ann"}]'.encode("utf-16"), "", Kind.JSON),
    (b'{\n "contacts": [{"name": "Ann"}]}', "", Kind.JSON),
    (b'{"contacts": [' + b'{"name": "Ann"},' * 9000, "", Kind.JSON),
    (b'{"name": "' + b"x" * 90_000, "one.ndjson", Kind.NDJSON),
    (b"[]", "", Kind.JSON),
    (b'[["name"],["Ann"]]', "", Kind.JSON),
    (b"[" * 100_000, "", Kind.JSON),
    (b'[{"n": ' + b"1" * 5000 + b"}]", "", Kind.JSON),
    (b'{"name": "Ann"}\n{"name": "Ben"}\n', "", Kind.NDJSON),
    (b'{"name": Ann}\n{"name": "Ben"}\n', "", Kind.NDJSON),
    (b'{"name": "Ann"}\r\n', "", Kind.JSON),
    (b'{"contacts": [{"name": "Ann"}]}', "", Kind.JSON),
    (b'{"name": "Ann"}', "one.jsonl", Kind.NDJSON),
    (b'["name"]\n["Ann"]\n', "", Kind.NDJSON),
    (b"BEGIN:VCARD\r\nVERSION:3.0\r\n", "", Kind.VCARD),
    (b"\r\n begin:vcard\nversion:2.1\n", "cards.csv", Kind.VCARD),
    ("BEGIN:VCARD\r\nVERSION:3.0\r\n".encode("utf-16"), "", Kind.VCARD),
    (b"version: 1\ndn: cn=Ann,o=x\n", "", Kind.LDIF),
    (b"# exported\n# today\n\ndn:: Y249\ncn: x\n", "", Kind.LDIF),
    (b"dn: cn=Ann\nobjectclass: person\n", "", Kind.LDIF),
    (gzip.compress(b"a,b\n"), "list.csv", Kind.GZIP),
]


@pytest.mark.parametrize(("head", "name", "kind"), TEXTS)
def test_kinds_of_text(head: bytes, name: str, kind: Kind) -> None:
    """Text is told by its first characters; a name alone makes nothing a workbook."""
    assert detect(head, name) is kind


@pytest.mark.parametrize("kind", [Kind.XLSX, Kind.XLS, Kind.ODS])
def test_workbooks(tmp_path: Path, kind: Kind) -> None:
    """A workbook is known by its content, whatever it is called."""
    data = make_workbook(tmp_path / f"book.{kind}", [["a"], ["b"]]).read_bytes()
    assert detect(data, "list.csv") is kind
    assert detect(data[:600], "") is kind


def test_archives(tmp_path: Path) -> None:
    """An archive that holds a workbook is an archive, also when it holds it uncompressed."""
    book = make_package(tmp_path / "book.xlsx", "").read_bytes()
    assert detect(zipped(("list.csv", b"a,b\n")), "book.xlsx") is Kind.ZIP
    assert detect(zipped(("book.xlsx", book)), "book.xlsx") is Kind.ZIP
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("book.xlsx", book)
    assert detect(out.getvalue(), "book.xlsx") is Kind.ZIP


@pytest.mark.parametrize(
    "first", ["_rels/.rels", "docProps/app.xml", "[Content_Types].xml", "xl/workbook.xml"]
)
def test_the_parts_of_a_workbook_come_in_any_order(first: str) -> None:
    """Programs disagree about the first part; what follows it decides."""
    rest = [(name, text.encode()) for name, text in PACKAGE.items() if name != first]
    assert detect(zipped((first, PACKAGE.get(first, "<x/>").encode()), *rest)) is Kind.XLSX


def office(types: str) -> bytes:
    """A package of these content types."""
    return zipped(("[Content_Types].xml", types.encode()), ("x.xml", b""))


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (office("application/vnd.openxmlformats-officedocument.wordprocessingml.document"), "Word document"),
        (b"ID;PWXL;N;E\r\nP;PGeneral\r\n", "SYLK"),
        (b'TABLE\r\n0,1\r\n"EXCEL"\r\n', "DIF"),
        (office("application/vnd.openxmlformats-officedocument.presentationml.slide"), "presentation"),
        (office("application/vnd.ms-excel.sheet.binary.macroEnabled.main"), "xlsb"),
        (zipped(("mimetype", b"application/vnd.oasis.opendocument.text")), "no spreadsheet"),
        (b"\x09\x02\x06\x00\x00\x00\x10\x00", "Excel 4 or older"),
        (b"<html><body><table><tr><td>name</td></tr></table>", "web page"),
        (b"<!DOCTYPE html>\n<table>", "web page"),
        (b"  <table border=1><tr><th>name", "web page"),
        (b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">', "XML"),
        (b"%PDF-1.7\n", "PDF"),
        (bytes(range(256)) * 8, "binary"),
        (b"PK\x05\x06" + bytes(18), "empty ZIP"),
        (b"Rar!\x1a\x07\x00", "RAR"),
    ],
)
@pytest.mark.parametrize("name", ["list.csv", "book.xls", "book.xlsx", ""])
def test_what_cannot_be_read_is_named(head: bytes, found: str, name: str) -> None:
    """A document that is no table is refused with a sentence that says what it is, whatever it is called."""
    with pytest.raises(FileNotCsv, match=found):
        detect(head, name)
