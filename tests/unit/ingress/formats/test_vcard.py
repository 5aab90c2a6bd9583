"""Cards become rows: every program's way of writing them, and every card that is broken, accounted for."""

from __future__ import annotations

import base64
import contextlib
import os
import quopri
import re
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.formats.opening import Asked
from ingress.formats.rows import MAX_COLUMNS, FileHasTooManyFields, FileUnreadable
from ingress.formats.vcard import open_vcard
from ingress.formats.vcard_card import FIELDS
from sluice.errors import FileEmpty, FileRefused
from tests.unit.ingress.formats.opened import Opened, opened

CORPORA = Path(os.environ.get("SLUICE_CORPORA", "corpora"))
CARD_FILES = sorted(CORPORA.glob("vcard-*/*.vcf"))

unhurried = settings(deadline=None)


# An agent's card, with that of its own agent in it.
AGENT_CARD = """BEGIN:VCARD
FN:Joe
TEL:1
AGENT:
BEGIN:VCARD
FN:Jim
END:VCARD
END:VCARD"""


def cards(*bodies: str, version: str = "3.0", end: str = "\r\n") -> bytes:
    """A file of cards with these lines."""
    lines = [f"BEGIN:VCARD\nVERSION:{version}\n{body}\nEND:VCARD\n" for body in bodies]
    return "".join(lines).replace("\n", end).encode()


def fields_of(body: str, version: str = "3.0") -> dict[str, str]:
    """The fields of one sound card."""
    table = opened(open_vcard, cards(body, version=version))
    assert table.faults == {}
    (fields,) = table.cells
    return fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("N:van Dyk;Ann\nFN:Ann van Dyk", {"last_name": "van Dyk", "first_name": "Ann"}),
        (
            "N:Dyk;Ann\nN;ALTID=1:Dijk;Anna;;Dr.\nN:Dyk;Ann",
            {"last_name": "Dyk", "first_name": "Ann", "other_names": "Dr. Anna Dijk"},
        ),
        ("N:;;Ann;Dr.;MD", {"middle_name": "Ann", "name_prefix": "Dr.", "name_suffix": "MD"}),
        ("N:;;;;\nFN:Ann van Dyk", {"full_name": "Ann van Dyk"}),
        ("FN:ACME\nORG:ACME;Sales;West", {"company": "ACME", "department": "Sales, West"}),
        ("N:;;Philip,Paul;;", {"middle_name": "Philip Paul"}),
        ("EMAIL:a@x.org\nEMAIL;TYPE=INTERNET,PREF:b@x.org", {"email": "b@x.org ::: a@x.org"}),
        ("EMAIL;PREF=2:a@x.org\nEMAIL;PREF=1:b@x.org\nEMAIL:c", {"email": "b@x.org ::: a@x.org ::: c"}),
        ("EMAIL:a@x.org\nitem1.EMAIL:a@x.org\nitem1.X-ABLabel:Home", {"email": "a@x.org"}),
        ('TEL;VALUE=uri;TYPE="work,voice":tel:+1-418-656;ext=102', {"phone": "+1-418-656 ext. 102"}),
        ("TEL;TYPE=WORK,FAX:1\nTEL;TYPE=CELL:2\nTEL;TYPE=pager:3", {"phone": "2", "fax": "1", "pager": "3"}),
        ("TEL;TYPE=VOICE,FAX:1", {"phone": "1"}),
        ("ORG:A\\, B\\; C\\\\D\nTITLE:Boss", {"company": "A, B; C\\D", "title": "Boss"}),
        ("NOTE:one\\ntwo\\Nthree", {"notes": "one\ntwo\nthree"}),
        ("CATEGORIES:VIP,new\\, hot\nCATEGORIES:old", {"tags": "VIP ::: new, hot ::: old"}),
        ("REV:20120305T131933Z", {"modified_at": "2012-03-05T13:19:33Z"}),
        ("BDAY:19800322\nANNIVERSARY:--0322", {"bday": "1980-03-22", "anniversary": "--0322"}),
        ("REV:2012-03-05T13:32:54Z", {"modified_at": "2012-03-05T13:32:54Z"}),
        ("URL:http\\://x.org\nUID:42\nX-SKYPE:jo", {"url": "http://x.org", "uid": "42", "x-skype": "jo"}),
        ("item1.X-ABRELATEDNAMES:Jenny\nitem1.X-ABLabel:_$!<Spouse>!$_", {"related spouse": "Jenny"}),
        ("X-ABDATE:2000-01-01\nLABEL:1 Main St", {"date": "2000-01-01", "address_label": "1 Main St"}),
        ("PHOTO;ENCODING=b;TYPE=JPEG:/9j/4AAQ\n SkZJ\nNOTE:x", {"notes": "x"}),
        ("PHOTO;ENCODING=BASE64:/9j/4AAQ\nSkZJ==\n\nNOTE:x", {"notes": "x"}),
        ("PHOTO:data:image/jpeg;base64,AAAA\nLOGO:https://x.org/l.png", {"logo": "https://x.org/l.png"}),
        ("X-MS-CARDPICTURE;ENCODING=b:/9j/\nX-ICON;ENCODING=b:/9j/", {}),
        ("NOTE;ENCODING=b:aGVsbG8=", {"notes": "hello"}),
        ("NOTE;X=\"a:b;c\":x", {"notes": "x"}),
        ("NOTE:" + "x" * 70 + "\n y", {"notes": "x" * 70 + "y"}),
        ("AGENT:BEGIN:VCARD\\nFN:Joe\\nEND:VCARD\\n", {"agent": "Joe"}),
        ("EMAIL:mailto:a@x.org\nKIND:individual", {"email": "a@x.org", "kind": "individual"}),
    ],
)  # fmt: skip
def test_what_a_property_becomes(body: str, fields: dict[str, str]) -> None:
    """Names, escapes, preferences, types, groups, dates and pictures of versions 3.0 and 4.0."""
    assert fields_of(body) == fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BC;J", {"last_name": "Mü", "first_name": "J"}),
        ("NOTE;ENCODING=QUOTED-PRINTABLE:one=0D=0Atwo=\nthree =\n four", {"notes": "one\ntwothree  four"}),
        ("NOTE;ENCODING=QUOTED-PRINTABLE:one=\n\nTEL:1", {"notes": "one", "phone": "1"}),
        ("NOTE;QUOTED-PRINTABLE;CHARSET=ISO-8859-1:=E9t=E9", {"notes": "été"}),
        ("NOTE;CHARSET=ISO-2022-JP;ENCODING=QUOTED-PRINTABLE:=1B$B;3ED=1B(B", {"notes": "山田"}),
        ("NOTE:one \n  two", {"notes": "one  two"}),
        ("NOTE:C:\\new\\; x", {"notes": "C:\\new; x"}),
        ("TEL;CELL:1\nTEL;HOME;PREF:2\nTEL;WORK;FAX:3", {"phone": "2 ::: 1", "fax": "3"}),
        ("N:Doe;;Richter,James", {"last_name": "Doe", "middle_name": "Richter,James"}),
        (f"AGENT:\n{AGENT_CARD}\nTEL:2", {"agent": "Joe", "phone": "2"}),
    ],
)  # fmt: skip
def test_version_2_1_is_read_by_its_own_rules(body: str, fields: dict[str, str]) -> None:
    """Quoted-printable, character sets, bare types, folding that keeps its blank, cards within cards."""
    assert fields_of(body, "2.1") == fields


def test_the_preferred_address_has_the_columns() -> None:
    """City and street never come from two addresses; the others are one text each."""
    read = fields_of(
        "ADR;TYPE=HOME:;Apt 2;1 Main St;Bonn;NRW;53111;Germany\n"
        "ADR;TYPE=WORK,PREF:Box 5;;2 Side St, Back;Rome;;;\nADR:;;;;;;"
    )
    assert read == {
        "address": "2 Side St, Back, Box 5",
        "city": "Rome",
        "other_addresses": "1 Main St, Apt 2, Bonn, NRW, 53111, Germany",
    }


def test_columns_are_the_fixed_ones_and_what_is_found() -> None:
    """Every table begins with our own fields, also where no card has them."""
    table = opened(open_vcard, cards("X-B:1", "X-A:2\nX-B:3"))
    assert table.columns == (*FIELDS, "x-b", "x-a")
    assert table.lines == [1, 5]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_line_ends_and_versions_may_be_mixed(end: str) -> None:
    """Cards of all versions stand in one file, whatever ends its lines."""
    old = cards("NOTE;ENCODING=QUOTED-PRINTABLE:=C3=A9", version="2.1", end=end)
    table = opened(open_vcard, old + cards("NOTE:é\\n1", end=end) + cards("NOTE:2", version="4.0", end=end))
    assert [cell["notes"] for cell in table.cells] == ["é", "é\n1", "2"]
    assert table.faults == {}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_encodings_are_found(encoding: str) -> None:
    """A byte order mark, UTF-16 and the code page of old programs are seen."""
    data = cards("N:Müller;José;;;\nNOTE:schöne Grüße aus Köln").decode().encode(encoding)
    assert opened(open_vcard, data).cells[0]["last_name"] == "Müller"


def test_values_without_a_character_set_are_guessed_with_a_note() -> None:
    """Quoted-printable that names no character set and is no UTF-8 is Windows-1252, and a note says so."""
    body = "N;ENCODING=QUOTED-PRINTABLE:M=FCller;;;;"
    table = opened(open_vcard, cards(body, version="2.1"))
    assert table.cells[0]["last_name"] == "Müller"
    assert "windows-1252" in table.notes[0]
    assert opened(open_vcard, cards(body), "utf-8").faults == {1: "bad_encoding"}


@pytest.mark.parametrize(
    ("data", "faults", "rows"),
    [
        (b"BEGIN:VCARD\nTEL:1\nBEGIN:VCARD\nTEL:2\nEND:VCARD\n", {1: "card_not_ended"}, 2),
        (b"BEGIN:VCARD\nTEL:1\n", {1: "card_not_ended"}, 1),
        (b"END:VCARD\nBEGIN:VCARD\nTEL:2\nEND:VCARD\n", {1: "card_not_begun"}, 2),
        (b"hello\n\nTEL:1\nEND:VCARD\nBEGIN:VCARD\nTEL:2\nEND:VCARD", {1: "card_not_begun"}, 2),
        (b"BEGIN:VCARD\nTEL:2\nEND:VCARD\nbye\nbye", {4: "card_not_begun"}, 2),
        (b"BEGIN:VCARD\nTEL:1\nno property\nEND:VCARD\n", {1: "broken_line"}, 1),
        (b"BEGIN:VCARD\nTEL:1\0\nEND:VCARD\n", {1: "nul_byte"}, 1),
        (b"BEGIN:VCARD\nNOTE;CHARSET=utf-8:\xff\nEND:VCARD\n", {1: "bad_encoding"}, 1),
        (b"BEGIN:VCARD\nNOTE;CHARSET=no-such:\xff\nEND:VCARD\n", {1: "bad_encoding"}, 1),
        (b"BEGIN:VCARD\nFN:Team\nKIND:group\nMEMBER:urn:1\nEND:VCARD\n", {1: "group_card"}, 1),
        (b"BEGIN:VCARD\nFN:Team\nX-ADDRESSBOOKSERVER-KIND:group\nEND:VCARD\n", {1: "group_card"}, 1),
        (b"BEGIN:VCARD\nNOTE:" + b"x" * 300_000 + b"\nTEL:1\nEND:VCARD\n", {1: "row_too_long"}, 1),
        (b"BEGIN:VCARD\nNOTE:" + b"x\n " * 300_000 + b"\nTEL:1\nEND:VCARD\n", {1: "row_too_long"}, 1),
        (b"BEGIN:VCARD\n" + b"TEL:123456\n" * 50_000 + b"END:VCARD\n", {1: "row_too_long"}, 1),
        (b"BEGIN:VCARD\nPHOTO;ENCODING=b:" + b"A" * 999_999 + b"\nTEL:1\nEND:VCARD\n", {}, 1),
        (b"BEGIN:VCARD\nPHOTO;ENCODING=b:" + b"AAAA\n " * 99_999 + b"\nTEL:1\nEND:VCARD\n", {}, 1),
    ],
)  # fmt: skip
def test_no_card_is_lost(data: bytes, faults: dict[int, str], rows: int) -> None:
    """A broken card is a faulty row with its line and what could be read, and the next one is whole."""
    table = opened(open_vcard, data)
    assert table.faults == faults
    assert len(table.rows) == rows
    assert all(cells.get("phone", "1")[:1] in "12" for cells in table.cells)


def test_a_broken_line_is_named() -> None:
    """The sentence tells the line within the file."""
    table = opened(open_vcard, b"BEGIN:VCARD\nTEL:1\nno property\nEND:VCARD\n")
    assert table.sentences[0].startswith("Line 3 ")


@pytest.mark.parametrize(
    "data",
    [
        b"BEGIN:VCARD\nAGENT:" + b"\\nFN" * 60_000 + b"\nEND:VCARD\n",
        b"BEGIN:VCARD\nX;b;" + b"A" * 250_000 + b"\n" + b"A\n" * 60_000 + b"END:VCARD\n",
    ],
    ids=["names of an agent", "base64 behind a long line"],
)
def test_a_hostile_card_takes_no_longer_than_its_size(data: bytes) -> None:
    """What looks like the beginning of something again and again is looked at once."""
    began = time.process_time()
    assert len(opened(open_vcard, data).rows) == 1
    assert time.process_time() - began < 5


def test_files_without_a_card_are_refused() -> None:
    """Nothing, no card, and too many different properties each end in a sentence."""
    with pytest.raises(FileEmpty):
        opened(open_vcard, b"")
    with pytest.raises(FileUnreadable):
        opened(open_vcard, b'["vcard", [["version", {}, "text", "4.0"]]]')
    with pytest.raises(FileHasTooManyFields):
        opened(open_vcard, cards("\n".join(f"X-{number}:1" for number in range(MAX_COLUMNS))))


def test_memory_is_flat(tmp_path: Path) -> None:
    """Four times the cards take no more memory, nor do pictures."""

    def peak(count: int) -> int:
        path = tmp_path / f"{count}.vcf"
        path.write_bytes(cards("FN:Ann Example\nEMAIL:a@x.org\nPHOTO;ENCODING=b:" + "A" * 4000) * count)
        tracemalloc.start()
        assert sum(1 for _ in open_vcard(path, Asked()).rows) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(2_000) < 1.2 * peak(500)


def read_file(path: Path) -> Opened:
    return opened(open_vcard, path.read_bytes())


@pytest.mark.skipif(not CARD_FILES, reason="SLUICE_CORPORA names no folder")
@pytest.mark.parametrize("path", CARD_FILES, ids=lambda path: path.name)
def test_every_card_of_the_corpora_comes_out(path: Path) -> None:
    """There are as many rows as BEGIN:VCARD lines, and each has a name, an address or a number."""
    table = read_file(path)
    assert len(table.rows) == len(
        re.findall(rb"^begin:vcard\s*$", path.read_bytes(), re.IGNORECASE | re.MULTILINE)
    )
    assert all({"email", "phone"} & cells.keys() for cells in table.cells)
    # One value of that file ends in the middle of a character.
    assert table.faults == ({71: "bad_encoding"} if path.name == "John_Doe_ANDROID.vcf" else {})


@pytest.mark.skipif(not CARD_FILES, reason="SLUICE_CORPORA names no folder")
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("vcard-cardme/John_Doe_IPHONE.vcf", {"address": "Silicon Alley 5", "pager": "905-111-1234"}),
        ("vcard-cardme/John_Doe_MS_OUTLOOK.vcf", {"zip": "12345", "modified_at": "2012-03-05T13:19:33Z"}),
        ("vcard-ez-vcard/issue114.vcf", {"city": "Bad Homburg", "zip": "61352", "country": "Germany"}),
        ("vcard-ez-vcard/rfc6350-example.vcf", {"address": "2875 Laurier, Suite D2-630", "zip": "G1V 2M2"}),
        ("vcard-ez-vcard/gmail-single2.vcf", {"fax": "5555551117 ::: 5555551118", "related spouse": "Name2"}),
    ],
)  # fmt: skip
def test_well_known_cards_are_read_right(name: str, fields: dict[str, str]) -> None:
    """What a person sees in these cards is what the columns hold."""
    (cells,) = read_file(CORPORA / name).cells
    assert {column: cells.get(column) for column in fields} == fields


PIECES = [
    *("BEGIN:VCARD", "END:VCARD", "VERSION:2.1", "N:a;b", "TEL;", "ADR:;;", "AGENT:", "CHARSET=utf-16"),
    *("ENCODING=QUOTED-PRINTABLE", "ENCODING=b", "\\;", ":", ";", "\\", '"', "=", "é", "\ufeff", "\0"),
]
hostile = st.lists(st.sampled_from([*PIECES, " ", "\n", "\r\n"])).map(lambda parts: "".join(parts).encode())


@unhurried
@given(data=st.one_of(st.binary(max_size=200), hostile))
def test_any_bytes_end_in_rows_or_a_refusal(data: bytes) -> None:
    """Whatever the bytes, nothing but FileRefused is raised, and every cell can be stored."""
    with contextlib.suppress(FileRefused):
        for _, row, _ in opened(open_vcard, data).rows:
            assert all("\0" not in cell and cell.encode() == cell.encode() for cell in row)


words = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Z", "C")), min_size=1
)
people = st.fixed_dictionaries(
    {"last_name": words, "first_name": words, "email": words, "company": words, "notes": words}
)


def folded(line: str, width: int) -> str:
    """The line cut at every `width` characters."""
    return "\n ".join(line[at : at + width] for at in range(0, len(line), width))


def written(person: dict[str, str], version: str, width: int) -> str:
    """A card as a program of this version writes it."""

    def line(name: str, *values: str) -> str:
        if version == "2.1":
            joined = ";".join(value.replace("\\", "\\\\").replace(";", "\\;") for value in values)
            encoded = quopri.encodestring(joined.encode(), quotetabs=True).decode()
            return f"{name};ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:{encoded}"
        escapes = {"\\": "\\\\", ";": "\\;", ",": "\\,"}
        joined = ";".join("".join(escapes.get(c, c) for c in value) for value in values)
        return folded(f"{name}:{joined}", width)

    lines = [line("N", person["last_name"], person["first_name"]), line("EMAIL", person["email"])]
    lines += [line("ORG", person["company"]), line("NOTE", person["notes"])]
    picture = base64.b64encode(b"\xff\xd8" * 60).decode()
    return "\n".join([*lines, folded(f"PHOTO;ENCODING=BASE64:{picture}", 60)])


@unhurried
@given(
    contacts=st.lists(people, min_size=1, max_size=5),
    version=st.sampled_from(["2.1", "3.0", "4.0"]),
    width=st.integers(30, 75),
)
def test_written_cards_come_out_as_they_went_in(
    contacts: list[dict[str, str]], version: str, width: int
) -> None:
    """Every text survives escapes, folding and quoted-printable."""
    table = opened(
        open_vcard, cards(*(written(person, version, width) for person in contacts), version=version)
    )
    assert table.faults == {}
    assert [{name: cells.get(name) for name in contacts[0]} for cells in table.cells] == [
        {**person, "email": person["email"].removeprefix("mailto:")} for person in contacts
    ]
