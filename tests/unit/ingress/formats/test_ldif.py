"""Entries become rows, by RFC 2849 and as directories and Thunderbird write them; nothing is fetched."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.formats.ldif import open_ldif
from ingress.formats.opening import Asked
from ingress.formats.rows import MAX_COLUMNS, FileHasTooManyFields, FileUnreadable
from sluice.errors import FileEmpty, FileRefused
from tests.unit.ingress.formats.opened import opened

CORPORA = Path(os.environ.get("SLUICE_CORPORA", "corpora"))
ENTRY_FILES = sorted(CORPORA.glob("ldif-*/*.ldif"))

unhurried = settings(deadline=None)


def base64_of(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("cn: Ann van Dyk\nmail:a@x.org", {"cn": "Ann van Dyk", "mail": "a@x.org"}),
        ("mail: a@x.org\nMail: b@x.org\nmail: a@x.org", {"mail": "a@x.org ::: b@x.org"}),
        (f"cn:: {base64_of('José')}", {"cn": "José"}),
        ("description: one tw\n o\n  three", {"description": "one two three"}),
        (f"description:: {base64_of('x' * 60)[:40]}\n {base64_of('x' * 60)[40:]}", {"description": "x" * 60}),
        ("# a comment\n  of two lines: x\ncn: Ann", {"cn": "Ann"}),
        ("cn;lang-ja: A\ncn: B", {"cn;lang-ja": "A", "cn": "B"}),
        ("changetype: add\ncn: Ann", {"cn": "Ann"}),
        ("control: 1.2.3 true\nchangetype: add\ncn: Ann", {"cn": "Ann"}),
        ("description: :x: y\ntitle:", {"description": ":x: y"}),
        ("postalAddress: 1 Main St $ Bonn", {"postalAddress": "1 Main St $ Bonn"}),
    ],
)
def test_what_an_attribute_becomes(body: str, fields: dict[str, str]) -> None:
    """Base64, folding, comments, options, several values and records that add."""
    for end in ("\n", "\r\n"):
        table = opened(open_ldif, f"version: 1\ndn: x=1\n{body}\n".replace("\n", end).encode())
        assert table.cells == [{"dn": "x=1", **fields}]
        assert table.faults == {}
        assert table.lines == [2]


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("pic:< file:///x", "Values that are elsewhere, which are not fetched, were left out: pic."),
        ("userPassword: secret", "Passwords were left out: userPassword."),
        (f"jpegPhoto:: {base64_of(bytes(range(256)))}", "Values that are no text were left out: jpegPhoto."),
        (f"jpegPhoto:: {'A' * 400_000}", "Values that are no text were left out: jpegPhoto."),
        (f"logonHours:: {base64_of(bytes(21))}", "Values that are no text were left out: logonHours."),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named(body: str, note: str) -> None:
    """Pictures, passwords and what lies elsewhere are no cells, and the notes say so."""
    table = opened(open_ldif, f"dn: x=1\ncn: Ann\n{body}\nsn: Dyk\n".encode())
    assert table.cells == [{"dn": "x=1", "cn": "Ann", "sn": "Dyk"}]
    assert table.notes == (note,)
    assert table.faults == {}


@pytest.mark.parametrize(
    ("data", "faults", "rows"),
    [
        (b"dn: x=1\nchangetype: delete\n\ndn: x=2\ncn: A\n", {1: "change_record"}, 2),
        (
            b"dn: x=1\nchangetype: modify\nadd: cn\ncn: A\n-\n\nadd: sn\n-\n\ndn: x=2\ncn: A\n",
            {1: "change_record"},
            2,
        ),
        (b"dn: x=1\nchangetype: \xff\0\n", {1: "change_record"}, 1),
        (b"cn: A\n\ndn: x=2\ncn: B\n", {1: "no_dn"}, 2),
        (b"dn: x=1\ncn: A\ndn: x=2\ncn: B\n", {}, 2),
        (b"dn: x=1\ncn: A\nno attribute\nsn: B\n", {1: "broken_line"}, 1),
        (b"dn: x=1\ncn:: no base64!\n", {1: "broken_line"}, 1),
        (b"dn: x=1\ncn:: /w==\n", {1: "bad_encoding"}, 1),
        (b"dn: x=1\ncn: A\0\n", {1: "nul_byte"}, 1),
        (b"dn: x=1\ncn: " + b"A" * 300_000 + b"\nsn: B\n", {1: "row_too_long"}, 1),
        (b"dn: x=1\ncn: " + b"A\n " * 300_000 + b"\nsn: B\n", {1: "row_too_long"}, 1),
        (b"dn: x=1\n" + b"member: x=100\n" * 50_000, {1: "row_too_long"}, 1),
    ],
)
def test_no_entry_is_lost(data: bytes, faults: dict[int, str], rows: int) -> None:
    """An entry that cannot be taken is a faulty row with its line, and the next one is whole."""
    table = opened(open_ldif, data)
    assert table.faults == faults
    assert len(table.rows) == rows
    assert not {"add", "-"} & set(table.columns)
    assert all(sentence.encode().isascii() for sentence in table.sentences)


def test_files_without_an_entry_are_refused() -> None:
    """Nothing, no entry, and too many attributes each end in a sentence."""
    with pytest.raises(FileEmpty):
        opened(open_ldif, b"")
    for data in (b"version: 1\n", b"hello\n\nworld\n"):
        with pytest.raises(FileUnreadable):
            opened(open_ldif, data)
    with pytest.raises(FileHasTooManyFields):
        opened(open_ldif, b"dn: x=1\n" + b"".join(b"a%d: 1\n" % number for number in range(MAX_COLUMNS)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_found(encoding: str) -> None:
    """Old programs write their code page instead of base64."""
    data = "dn: cn=Müller\ncn: Jörg Müller\ndescription: schöne Grüße\n".encode(encoding)
    assert opened(open_ldif, data).cells[0]["cn"] == "Jörg Müller"


def test_memory_is_flat(tmp_path: Path) -> None:
    """Four times the entries take no more memory."""

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.ldif"
        path.write_bytes(b"dn: x=1\ncn: Ann\njpegPhoto:: " + b"/9j/" * 500 + b"\n\n")
        path.write_bytes(path.read_bytes() * count)
        tracemalloc.start()
        assert sum(1 for _ in open_ldif(path, Asked()).rows) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(4_000) < 1.2 * peak(1_000)


@pytest.mark.skipif(not ENTRY_FILES, reason="SLUICE_CORPORA names no folder")
@pytest.mark.parametrize("path", ENTRY_FILES, ids=lambda path: path.name)
def test_every_entry_of_the_corpora_comes_out(path: Path) -> None:
    """There are as many rows as dn: lines; only the changes of the RFC's examples are faulty."""
    data = path.read_bytes()
    table = opened(open_ldif, data)
    assert len(table.rows) == len(re.findall(rb"^dn:", data, re.MULTILINE))
    changes = len(re.findall(rb"^changetype: (?:delete|modrdn|modify)", data, re.MULTILINE))
    assert list(table.faults.values()) == ["change_record"] * changes
    assert "password" not in str(table.cells)


@pytest.mark.skipif(not ENTRY_FILES, reason="SLUICE_CORPORA names no folder")
def test_the_examples_of_the_rfc_are_read_right() -> None:
    """Base64, language tags and folding of RFC 2849's own examples."""
    table = opened(open_ldif, (CORPORA / "ldif-spring-ldap" / "rfc2849-examples.ldif").read_bytes())
    by_line = dict(zip(table.lines, table.cells, strict=True))
    assert by_line[88]["cn;lang-ja"] == "小笠原 ロドニー"
    assert by_line[36]["description"].endswith("extensively in search of perfect sailing conditions.")
    assert by_line[11]["cn"] == "Barbara Jensen ::: Barbara J Jensen ::: Babs Jensen"


hostile = st.lists(
    st.sampled_from(["dn:", "cn", ":", ":: ", ":<", "/w==", "#", " ", "\n", "\n\n", "changetype: x", "-"])
).map(lambda parts: "".join(parts).encode())  # fmt: skip


@unhurried
@given(data=st.one_of(st.binary(max_size=200), hostile))
def test_any_bytes_end_in_rows_or_a_refusal(data: bytes) -> None:
    """Whatever the bytes, nothing but FileRefused is raised, and every cell can be stored."""
    with contextlib.suppress(FileRefused):
        for _, row, _ in opened(open_ldif, data).rows:
            assert all("\0" not in cell and cell.encode() == cell.encode() for cell in row)


words = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Z", "C")), min_size=1
)
people = st.dictionaries(
    st.sampled_from(["cn", "sn", "mail", "mozillaNickname", "description"]), words, min_size=1
)


@unhurried
@given(contacts=st.lists(people, min_size=1, max_size=6), width=st.integers(20, 76))
def test_written_entries_come_out_as_they_went_in(contacts: list[dict[str, str]], width: int) -> None:
    """Every text survives base64 and folding."""
    lines = []
    for number, contact in enumerate(contacts):
        lines.append(f"dn: x={number}")
        lines += [f"{name}:: {base64_of(value)}" for name, value in contact.items()]
        lines.append("")
    folded = ["\n ".join(line[at : at + width] for at in range(0, len(line), width)) for line in lines]
    table = opened(open_ldif, "\n".join(folded).encode())
    assert table.faults == {}
    assert table.cells == [{"dn": f"x={number}", **contact} for number, contact in enumerate(contacts)]
