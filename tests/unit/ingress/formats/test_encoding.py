"""Which encoding a file is in, and where its lines end."""

from __future__ import annotations

import random

import pytest

from ingress.formats.encoding import LateEvidence, LineSplitter, canonical_encoding, guess_encoding

NAMES = {
    "cp1252": [
        "Jürgen Müller",
        "Zoë Smith",
        "François Lefèvre",
        "José Núñez",
        "Søren Ångström",
        "John O’Neil",
    ],
    "cp1250": ["Łukasz Wiśniewski", "Jiří Dvořák", "Żaneta Gołąb", "Petr Novák", "Šárka Čermáková"],
    "cp1251": ["Иван Петров", "Мария Сидорова"],
    "cp1253": ["Γιώργος Παπαδόπουλος"],
    "cp1255": ["דוד כהן"],
    "cp1256": ["محمد أحمد"],
    "cp932": ["田中太郎", "鈴木花子"],
    "cp949": ["김철수", "박영희"],
}


def contacts(names: list[str], count: int) -> str:
    """A file of so many contacts with these names."""
    draw = random.Random(count)
    rows = [f"{draw.choice(names)},user{number}@example.com,+1415555{number:04d}" for number in range(count)]
    return "\r\n".join(["Name,Email,Phone", *rows, ""])


@pytest.mark.requirement("S0-018", "T-11")
@pytest.mark.parametrize(
    ("head", "encoding", "bom_bytes", "certain"),
    [
        (b"name,email\n", "utf-8", 0, True),
        ("name,émail\n".encode(), "utf-8", 0, True),
        ("name,émail\n".encode("utf-8-sig"), "utf-8", 3, True),
        (b"\xff\xfe" + "näme\n".encode("utf-16-le"), "utf-16-le", 2, True),
        (b"\xfe\xff" + "näme\n".encode("utf-16-be"), "utf-16-be", 2, True),
        ("name,email\nZoë,z@example.com\n".encode("utf-16-le"), "utf-16-le", 0, False),
        ("name,email\nZoë,z@example.com\n".encode("utf-16-be"), "utf-16-be", 0, False),
        (b"\xff\xfe\0\0n\0\0\0", "utf-32-le", 4, True),
        ("Müller,Größe\n".encode("cp1252"), "cp1252", 0, False),
        ("Müller,Größe,Ångström\n".encode() + b"M\xfcller\n", "utf-8", 0, False),
        (b"", "utf-8", 0, True),
    ],
)
def test_guess(head: bytes, encoding: str, bom_bytes: int, certain: bool) -> None:
    """Mark, then strict UTF-8, then a guess that a person is asked to confirm."""
    guess = guess_encoding(head, complete=True)
    assert (guess.encoding, guess.bom_bytes, guess.certain) == (encoding, bom_bytes, certain)
    assert bool(guess.note) is not certain


def test_a_letter_cut_in_half_by_the_end_of_the_head_is_no_evidence() -> None:
    """A head that ends within a letter is still UTF-8; a whole file that does is not."""
    assert guess_encoding("Zoé".encode()[:-1], complete=False).certain
    assert not guess_encoding("Zoé".encode()[:-1], complete=True).certain


@pytest.mark.requirement("S0-018")
@pytest.mark.parametrize("encoding", list(NAMES))
@pytest.mark.parametrize("count", [3, 20, 300])
def test_code_pages_of_lists_of_names(encoding: str, count: int) -> None:
    """A list of contacts in a code page of Windows is recognized from a few names on."""
    guess = guess_encoding(contacts(NAMES[encoding], count).encode(encoding), complete=True)
    assert guess.encoding == encoding


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("UTF8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("Windows-1252", "cp1252"),
        (" latin-1 ", "iso8859-1"),
        ("shift_jis", "shift_jis"),
        ("utf-32", None),
        ("utf-7", None),
        ("cp037", None),
        ("iso2022_jp", None),
        ("hz", None),
        ("base64", None),
        ("rot13", None),
        ("idna", None),
        ("unicode_escape", None),
        ("undefined", None),
        ("no-such", None),
        ("", None),
        ("a\0b", None),
    ],
)
def test_encodings_that_can_be_named(name: str, canonical: str | None) -> None:
    """Encodings of text in lines are known by their codec's name; everything else is refused."""
    assert canonical_encoding(name) == canonical


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_lines_end_with_lf_crlf_and_cr_only(encoding: str) -> None:
    """The splitter gives the same lines, ends included, from single bytes as from the whole."""
    texts = ["a\n", "b\r\n", "c\r", "\n", "\r", "ਊ഍\u2028\u0a00\x0b\n", "d"]
    data = "".join(["a\n", "b\r\n", "c\r", "\r", "\n", "ਊ഍\u2028\u0a00\x0b\n", "d"]).encode(encoding)
    expected = [text.encode(encoding) for text in ["a\n", "b\r\n", "c\r", "\r\n", *texts[5:]]]
    for step in (1, 2, 3, len(data)):
        splitter = LineSplitter(encoding)
        lines = []
        for at in range(0, len(data), step):
            lines += splitter.feed(data[at : at + step]).lines
        assert lines + splitter.finish().lines == expected
        assert splitter.finish().lines == []


@pytest.mark.requirement("S0-018")
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64])
def test_the_first_accent_of_a_long_file_decides_its_encoding(encoding: str, piece: int) -> None:
    """However the file is cut into pieces, a name with an accent far behind the head is evidence."""
    data = ("Ann,Smith\n" * 50 + "José,Müller\nChloë,Núñez\n" + "Bob,Jones\n" * 50).encode(encoding)
    evidence = LateEvidence()
    for start in range(0, len(data), piece):
        evidence.add(data[start : start + piece])
    guess = evidence.guess()
    assert guess is not None
    assert guess.encoding == encoding


@pytest.mark.requirement("S0-018")
def test_a_file_without_accents_gives_no_evidence() -> None:
    """ASCII is UTF-8 already."""
    evidence = LateEvidence()
    evidence.add(b"Ann,Smith\n" * 10)
    assert evidence.guess() is None


@pytest.mark.timeout(10)
def test_a_long_cell_is_looked_at_once() -> None:
    """A cell of 200 KiB with one accent at its end costs its length, not its square."""
    data = b"x" * 200 * 1024 + b"\xe9"
    evidence = LateEvidence()
    evidence.add(data)
    assert evidence.guess() is not None
    assert guess_encoding(data, complete=True).encoding == "cp1252"
