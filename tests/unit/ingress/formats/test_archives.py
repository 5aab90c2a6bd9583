"""One file in an archive is opened as that file; everything else about archives is refused."""

from __future__ import annotations

import gzip
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ingress.formats import inflating
from ingress.formats.inflating import FREE_BYTES, MAX_RATIO
from ingress.formats.opening import ArchiveUnusable, Asked, FileDamaged, FileEncrypted, FileUnpacksTooLarge
from ingress.formats.rows import MAX_ROW_BYTES
from sluice.errors import FileNotCsv, FileRefused
from tests.unit.ingress.formats.opening import open_here
from tests.unit.ingress.formats.workbooks import make_package, make_workbook, make_zip

CSV = b"name;email\nAnn;a@b.de\n\nBen;c@d.de;surplus\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is unpacked goes where the test's files are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_delimited_text_in_an_archive(tmp_path: Path) -> None:
    """Rows, lines, faults, encoding and delimiter are those of the text in the archive."""
    for path in (make_zip(tmp_path / "a.zip", {"list.csv": CSV}), tmp_path / "a.csv.gz"):
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(CSV))
        opened = open_here(path)
        assert opened.head.columns == ("name", "email")
        assert (opened.head.encoding, opened.head.delimiter) == ("utf-8", ";")
        assert opened.lines == [2, 4]
        assert opened.rows == [["Ann", "a@b.de"], ["Ben", "c@d.de", "surplus"]]
        assert opened.faults == {2: "too_many_cells"}


def test_encoding_and_delimiter_may_be_named(tmp_path: Path) -> None:
    """What the caller asked for holds in an archive, too."""
    path = make_zip(tmp_path / "a.zip", {"list.csv": "name:city\nJosé:São Paulo\n".encode("cp1252")})
    opened = open_here(path, Asked(encoding="cp1252", delimiter=":"))
    assert opened.rows == [["José", "São Paulo"]]
    assert opened.head.encoding == "cp1252"


def test_an_accent_far_behind_the_head_tells_the_encoding(tmp_path: Path) -> None:
    """A text that is ASCII for its first 256 KiB is read in the encoding of what comes later."""
    text = "name\n" + "Ann\n" * 90_000 + "José\n"
    opened = open_here(make_zip(tmp_path / "a.zip", {"list.csv": text.encode("cp1252")}))
    assert opened.rows[-1] == ["José"]
    assert opened.faults == {}
    assert "windows-1252" in opened.head.notes[0].lower() or "cp1252" in opened.head.notes[0]


def test_an_accent_far_behind_the_head_leaves_utf_16_as_it_is(tmp_path: Path) -> None:
    """Without a mark its head has no byte beyond ASCII, and an accent is half a character of it."""
    path = tmp_path / "a.csv.gz"
    text = "name;email\n" + "Ann;a@b.de\n" * 20_000 + "Jörg;j@b.de\n"
    path.write_bytes(gzip.compress(text.encode("utf-16-le")))
    opened = open_here(path)
    assert opened.head.encoding == "utf-16-le"
    assert opened.rows[-1] == ["Jörg", "j@b.de"]


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_ways_of_compressing(tmp_path: Path, method: int) -> None:
    """All ways that the library knows are read."""
    assert len(open_here(make_zip(tmp_path / "a.zip", {"a.csv": CSV}, compression=method)).rows) == 2


@pytest.mark.parametrize("kind", ["xlsx", "xls", "ods"])
def test_workbooks_in_an_archive(tmp_path: Path, kind: str) -> None:
    """A workbook in an archive is a workbook: sheets can be named."""
    book = make_workbook(tmp_path / f"book.{kind}", {"One": [["a"], ["1"]], "Two": [["b"], ["2"]]})
    path = make_zip(tmp_path / "a.zip", {f"book.{kind}": book.read_bytes()})
    assert open_here(path, Asked(sheet="Two")).rows == [["2"]]
    assert open_here(path).head.sheets == ("One", "Two")


def test_what_systems_add_is_overlooked(tmp_path: Path) -> None:
    """Folders, hidden files and the shadows that macOS leaves count for nothing."""
    files = {
        "export/": b"",
        "export/list.csv": CSV,
        "__MACOSX/export/._list.csv": b"x",
        "export/.DS_Store": b"x",
    }
    assert len(open_here(make_zip(tmp_path / "a.zip", files)).rows) == 2


def test_a_file_without_a_name_is_a_file(tmp_path: Path) -> None:
    """Names may be anything, even nothing."""
    data = make_zip(tmp_path / "named.zip", {"x": CSV}).read_bytes()
    central = data.index(b"PK\x01\x02")
    nameless = (
        data[:26]
        + b"\0\0"
        + data[28:30]
        + data[31 : central + 28]
        + b"\0\0"
        + data[central + 30 : central + 46]
        + data[central + 47 :]
    )
    end = nameless.index(b"PK\x05\x06")
    size = end - (central - 1)
    nameless = (
        nameless[: end + 12]
        + size.to_bytes(4, "little")
        + (central - 1).to_bytes(4, "little")
        + nameless[end + 20 :]
    )
    path = tmp_path / "nameless.zip"
    path.write_bytes(nameless)
    assert len(open_here(path).rows) == 2


def test_one_archive_in_another(tmp_path: Path) -> None:
    """A compressed file in an archive is opened; an archive in that one is not."""
    once = make_zip(tmp_path / "once.zip", {"list.csv.gz": gzip.compress(CSV)})
    assert len(open_here(once).rows) == 2
    twice = tmp_path / "twice.gz"
    twice.write_bytes(gzip.compress(once.read_bytes()))
    with pytest.raises(ArchiveUnusable, match="an archive in an archive"):
        open_here(twice)


def test_members_of_a_gzip_file_are_one_text(tmp_path: Path) -> None:
    """Compressed pieces that were put behind each other are read as one file."""
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"name\nAnn\n") + gzip.compress(b"Ben\n") + bytes(100))
    assert open_here(path).rows == [["Ann"], ["Ben"]]


def test_a_workbook_whose_first_part_tells_nothing_is_a_workbook(tmp_path: Path) -> None:
    """The archive's directory decides where its first bytes do not."""
    book = make_package(
        tmp_path / "book.xlsx",
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="A2"><v>2</v></c></row>',
    )
    with zipfile.ZipFile(book) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert open_here(make_zip(tmp_path / "odd.xlsx", {"odd.xml": b"", **files})).rows == [["2"]]


def encrypted(path: Path) -> Path:
    """An archive that says of its file that it has a password."""
    data = bytearray(make_zip(path, {"list.csv": CSV}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return path


def changed(path: Path, old: bytes, new: bytes) -> Path:
    """A file with some bytes replaced."""
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


def gz(path: Path, data: bytes) -> Path:
    """A file of these bytes."""
    path.write_bytes(data)
    return path


REFUSALS: dict[str, tuple[Callable[[Path], Path], type[FileRefused], str]] = {
    "two files": (
        lambda p: make_zip(p / "a.zip", {"a.csv": CSV, "b.csv": CSV}),
        ArchiveUnusable,
        'but it holds 2: "a.csv", "b.csv".',
    ),
    "many files": (
        lambda p: make_zip(p / "a.zip", {f"{n}.csv": CSV for n in range(9)}),
        ArchiveUnusable,
        'but it holds 9: "0.csv", "1.csv", "2.csv", "3.csv", "4.csv" and 4 more.',
    ),
    "no file": (lambda p: make_zip(p / "a.zip", {".hidden": b""}), ArchiveUnusable, "but it holds none."),
    "a password": (lambda p: encrypted(p / "a.zip"), FileEncrypted, "password"),
    "a picture": (lambda p: make_zip(p / "a.zip", {"a.png": b"\x89PNG\r\n"}), FileNotCsv, "PNG"),
    "half an archive": (
        lambda p: gz(p / "a.zip", make_zip(p / "b.zip", {"a.csv": CSV}).read_bytes()[:-30]),
        FileDamaged,
        "contradict",
    ),
    "a changed byte": (
        lambda p: changed(make_zip(p / "a.zip", {"a.csv": CSV}, compression=0), b"Ann", b"Bnn"),
        FileDamaged,
        "contradict",
    ),
    "an unknown method": (
        lambda p: changed(make_zip(p / "a.zip", {"a.csv": CSV}), b"\x08\x00", b"\x09\x00"),
        FileDamaged,
        "not supported",
    ),
    "half a gzip file": (lambda p: gz(p / "a.gz", gzip.compress(CSV)[:-9]), FileDamaged, "ends too early"),
    "rubbish behind a gzip file": (
        lambda p: gz(p / "a.gz", gzip.compress(CSV) + b"rubbish"),
        FileDamaged,
        "contradict",
    ),
    "a bomb": (
        lambda p: make_zip(p / "a.zip", {"a.csv": b"a\n" + bytes(FREE_BYTES)}),
        FileUnpacksTooLarge,
        f"{MAX_RATIO} times its size",
    ),
    "a gzip bomb": (
        lambda p: gz(p / "a.gz", gzip.compress(bytes(FREE_BYTES + 1))),
        FileUnpacksTooLarge,
        "1024 MB",
    ),
    "an lzma bomb": (
        lambda p: make_zip(p / "a.zip", {"a": bytes(FREE_BYTES + 1)}, compression=zipfile.ZIP_LZMA),
        FileUnpacksTooLarge,
        "Split it",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_archive_of_one_file_is_refused(tmp_path: Path, name: str) -> None:
    """Each hostile or broken archive ends in its own refusal."""
    make, refusal, words = REFUSALS[name]
    path = make(tmp_path)
    with pytest.raises(FileRefused) as caught:
        open_here(path)
    assert type(caught.value) is refusal
    assert words in caught.value.message


def test_a_size_that_the_archive_claims_is_not_believed(tmp_path: Path) -> None:
    """An entry that unpacks to more than it claims is damaged, not a way around the count."""
    path = make_zip(tmp_path / "a.zip", {"a.csv": b"a\n" + b"row\n" * 1000})
    data = path.read_bytes().replace((4002).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(FileDamaged):
        open_here(path)


def test_what_unpacks_to_too_much_is_stopped_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting stops the unpacking within a piece of the limit: the disk never holds the rest."""
    monkeypatch.setattr(inflating, "MAX_INFLATED_BYTES", 1_000_000)
    path = make_zip(tmp_path / "a.zip", {"a.csv": b"a\n" + b"row\n" * 1_000_000})
    with pytest.raises(FileUnpacksTooLarge):
        open_here(path)
    assert max(file.stat().st_size for file in tmp_path.glob("unpacked-*")) <= 1_000_000


def test_a_line_of_megabytes_is_that_lines_fault(tmp_path: Path) -> None:
    """A line beyond all bounds in an archive costs one row."""
    content = b"a,b\n" + b"x" * (4 * MAX_ROW_BYTES) + b"\n1,2\n"
    opened = open_here(make_zip(tmp_path / "a.zip", {"a.csv": content}))
    assert opened.faults == {1: "row_too_long"}
    assert opened.rows[1] == ["1", "2"]
