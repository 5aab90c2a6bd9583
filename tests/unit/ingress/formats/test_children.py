"""The limited child process: what kills it, hangs it or fills it is one refused file, and nothing stays."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import string
import sys
import tempfile
import zipfile
from pathlib import Path

import psutil
import pytest
import structlog

from ingress.formats import opening, rows
from ingress.formats.children import _end_of, _Error, _place_in, _refusal, open_rows
from ingress.formats.limits import Limits
from ingress.formats.opening import Asked, FileDamaged, FileTooDemanding, Kind, SheetUnknown
from ingress.formats.rows import HeaderUnreadable
from sluice import errors
from sluice.errors import FileHasNoRows, FileHasTooManyRows, OptionInvalid, Refused
from tests.unit.ingress.formats.opening import open_here, open_in_child
from tests.unit.ingress.formats.workbooks import MAIN, OFFICE, PACKAGE, make_package, make_workbook, make_zip

MEGABYTE = 1024 * 1024


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A workbook whose rows fill more than a pipe."""
    return make_workbook(
        tmp_path / "book.xlsx", [["name", "note"], *([f"n{n}", "x" * 90] for n in range(9000))]
    )


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the children's folders are made: empty, and to be so again."""
    folder = tmp_path / "folders"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def children() -> list[psutil.Process]:
    """The openers that this process has started and that live; servers of other tests are none."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "ingress.formats.child" in child.cmdline()
    ]


async def test_rows_come_through_the_child(book: Path, folders: Path) -> None:
    """What the child gives is what the opener gives, and nothing of it stays."""
    assert await open_in_child(book) == open_here(book)
    assert not any(folders.iterdir())
    assert not children()


async def test_a_reader_that_stops_early_ends_the_child(book: Path, folders: Path) -> None:
    """Leaving the context after the first piece kills the child, which waits to write the others."""
    async with open_rows(book, Kind.XLSX) as file:
        async for _ in file.pieces():
            break
        assert children()
    assert not children()
    assert not any(folders.iterdir())


async def test_cancelling_ends_the_child(tmp_path: Path, folders: Path) -> None:
    """A cancelled job kills a child that hangs, and removes its folder."""
    os.mkfifo(tmp_path / "silent.csv")
    task = asyncio.create_task(open_in_child(tmp_path / "silent.csv", kind=Kind.CSV))
    writer = await asyncio.to_thread(open, tmp_path / "silent.csv", "wb")  # opens when the child does
    assert children()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    writer.close()
    assert not children()
    assert not any(folders.iterdir())


async def test_a_child_that_hangs_is_refused(tmp_path: Path) -> None:
    """A child that says nothing for too long is killed."""
    os.mkfifo(tmp_path / "silent.csv")
    with pytest.raises(FileTooDemanding, match="more time than"):
        await open_in_child(tmp_path / "silent.csv", kind=Kind.CSV, limits=Limits(silent_seconds=0.2))
    assert not children()


@pytest.mark.parametrize(
    ("number", "refusal"),
    [
        (signal.SIGXCPU, FileTooDemanding),
        (signal.SIGKILL, FileTooDemanding),
        (signal.SIGABRT, FileDamaged),
        (signal.SIGSEGV, FileDamaged),
    ],
)
async def test_a_child_that_dies_is_one_refused_file(
    tmp_path: Path, number: signal.Signals, refusal: type[Refused]
) -> None:
    """Whatever signal ends the child, the parent gets a refusal with a sentence."""
    os.mkfifo(tmp_path / "silent.csv")
    task = asyncio.create_task(open_in_child(tmp_path / "silent.csv", kind=Kind.CSV))
    writer = await asyncio.to_thread(open, tmp_path / "silent.csv", "wb")  # opens when the child does
    children()[0].send_signal(number)
    with pytest.raises(refusal) as caught:
        await task
    writer.close()
    assert caught.value.message.endswith(".")


async def test_a_child_that_fails_is_one_refused_file(tmp_path: Path) -> None:
    """An error that nobody thought of ends the child, not the parent."""
    with pytest.raises(FileDamaged, match="ended in an error"):
        await open_in_child(tmp_path / "not there", kind=Kind.CSV)


async def test_the_log_has_the_place_of_an_error_and_no_value(tmp_path: Path) -> None:
    """What a dying child says may hold a cell: its type and place are logged, nothing else."""
    with structlog.testing.capture_logs() as logs, pytest.raises(FileDamaged):
        await open_in_child(tmp_path / "4155550001", kind=Kind.CSV)
    (entry,) = logs
    assert entry["error"] == "builtins.FileNotFoundError"
    assert re.fullmatch(r"\S+\.py:[0-9]+", entry["place"])
    assert "4155550001" not in str(entry)


def test_only_the_end_of_what_a_child_said_is_read(tmp_path: Path) -> None:
    """A child may write until its limit: the last error counts, and its text is not taken."""
    place = b'  File "a.py", line 7, in f\n    g(x)\n    ^^^^\n'
    (tmp_path / "words").write_bytes(b"x" * MEGABYTE + b"\n" + place + b"csv.Error: 4155550001\n")
    words = _end_of(tmp_path / "words")
    assert len(words) < MEGABYTE
    assert _place_in(words) == {"place": "a.py:7", "error": "csv.Error"}
    assert _place_in("memory allocation of 9 bytes failed") == {}


async def test_the_processor_is_limited(tmp_path: Path) -> None:
    """A file that computes for too long ends as one that takes too much time."""
    path = tmp_path / "long.csv"
    path.write_bytes(b"a,b,c\n" + b'"x",y,z\n' * 3_000_000)
    with pytest.raises(FileTooDemanding, match="more time than"):
        await open_in_child(path, limits=Limits(max_rows=10**9, processor_seconds=1))


async def test_two_cells_in_opposite_corners_are_too_much(tmp_path: Path) -> None:
    """The rectangle around two cells would take 550 GB: the child dies of it, the file is refused."""
    far = '<row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    path = make_package(tmp_path / "corners.xlsx", f'<row r="1"><c r="A1"><v>1</v></c></row>{far}')
    with pytest.raises(FileTooDemanding, match="more memory than"):
        await open_in_child(path)


async def test_a_repeated_cell_is_too_much(tmp_path: Path) -> None:
    """OpenDocument says in a few bytes that a cell is repeated over the whole grid."""
    path = make_workbook(tmp_path / "repeated.ods", [["a"], ["b"]])
    rows, cells = 'table:number-rows-repeated="1048576"', 'table:number-columns-repeated="16384"'
    repeated = f"table-row {rows}><table:table-cell {cells}".encode()
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["content.xml"] = files["content.xml"].replace(b"table-row><table:table-cell", repeated, 1)
    with pytest.raises(FileTooDemanding, match="more memory than"):
        await open_in_child(make_zip(path, files), kind=Kind.ODS)


async def test_shared_strings_do_not_fill_the_store(tmp_path: Path) -> None:
    """A long text that thousands of cells share makes more rows than the store is asked to hold."""
    shared = f'<sst xmlns="{MAIN}"><si><t>{"x" * 30_000}</t></si></sst>'
    more = (
        f'<Relationship Id="rId2" Type="{OFFICE}/sharedStrings" Target="sharedStrings.xml"/></Relationships>'
    )
    relations = PACKAGE["xl/_rels/workbook.xml.rels"].replace("</Relationships>", more)
    cells = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(2, 1000))
    path = make_package(
        tmp_path / "shared.xlsx",
        f'<row r="1"><c r="A1"><v>1</v></c></row>{cells}',
        parts={"xl/sharedStrings.xml": shared, "xl/_rels/workbook.xml.rels": relations},
    )
    with pytest.raises(FileTooDemanding, match="more room than"):
        await open_in_child(path, limits=Limits(output_bytes=MEGABYTE))
    assert len((await open_in_child(path)).rows) == 998


async def test_an_archive_is_stopped_at_the_size_of_files(tmp_path: Path) -> None:
    """The kernel stops what would fill the disk, whatever the child thinks of it."""
    path = make_zip(tmp_path / "a.zip", {"a.csv": b"a\n" + b"row\n" * 100_000})
    with pytest.raises(FileDamaged):
        await open_in_child(path, limits=Limits(file_bytes=1000))


async def test_too_many_rows_are_refused(book: Path) -> None:
    """The parent's limit of rows is kept by the child, to the row."""
    assert len((await open_in_child(book, limits=Limits(max_rows=9000))).rows) == 9000
    with pytest.raises(FileHasTooManyRows, match="more than 8999 rows"):
        await open_in_child(book, limits=Limits(max_rows=8999))


@pytest.mark.parametrize(
    ("content", "asked", "refusal"),
    [
        (b"a,b\n", Asked(), FileHasNoRows),
        (b",,\nx", Asked(), HeaderUnreadable),
        (b"a,b\nx", Asked(encoding="latin-99"), OptionInvalid),
        (b"a,b\nx", Asked(delimiter="::"), OptionInvalid),
    ],
)
async def test_refusals_arrive_as_they_were_raised(
    tmp_path: Path, content: bytes, asked: Asked, refusal: type[Refused]
) -> None:
    """Class, facts and sentence of a refusal are the same on both sides of the pipe."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(refusal) as here:
        open_here(path, asked)
    with pytest.raises(refusal) as there:
        await open_in_child(path, asked)
    assert there.value.facts == here.value.facts
    assert there.value.message == here.value.message


async def test_names_from_a_file_cross_the_pipe_unchanged(book: Path) -> None:
    """Quotation marks, braces and other scripts in a name are data on both sides."""
    with pytest.raises(SheetUnknown) as caught:
        await open_in_child(book, Asked(sheet='{x} "п"\n'))
    assert caught.value.facts["sheet"] == '{x} "п"\n'


def test_the_parent_knows_every_refusal() -> None:
    """Each refusal that may be raised in the child is found by its name."""
    known = {
        found
        for module in (opening, rows, errors)
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, errors.FileRefused)
    }
    assert len(known) > 10
    for refusal in {*known, OptionInvalid}:
        names = dict.fromkeys(_names_in(refusal), "x")
        assert type(_refusal(_Error(refusal.__name__, names))) is refusal


def _names_in(refusal: type[Refused]) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(refusal.__doc__ or "") if name]


async def test_the_child_gets_no_secret_and_leaves_nothing(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the parent's environment reaches the child, and it compiles no modules to disk."""
    monkeypatch.setenv("JWT_SECRET", "do not pass on")
    async with open_rows(book, Kind.XLSX) as file:
        environment = children()[0].environ()
        assert set(environment) <= {"PATH", "LANG", "TMPDIR", "LC_CTYPE"}
        assert "-B" in children()[0].cmdline()
        async for _ in file.pieces():
            pass


async def test_the_childs_folder_is_made_where_the_caller_says(book: Path, tmp_path: Path) -> None:
    """So that whoever cleans up behind a killed reader finds it."""
    (tmp_path / "reader").mkdir()
    async with open_rows(book, Kind.XLSX, within=tmp_path / "reader") as file:
        [folder] = (tmp_path / "reader").iterdir()
        assert children()[0].environ()["TMPDIR"] == str(folder)
        async for _ in file.pieces():
            pass
    assert not any((tmp_path / "reader").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
async def test_the_child_does_not_outlive_a_killed_reader(tmp_path: Path) -> None:
    """A hanging child would hold its memory until the machine is started again."""
    os.mkfifo(tmp_path / "silent.csv")
    opening = f"""
import asyncio
from pathlib import Path
from ingress.formats.children import open_rows
from ingress.formats.opening import Kind
async def main():
    async with open_rows(Path({str(tmp_path / "silent.csv")!r}), Kind.CSV):
        pass
asyncio.run(main())
"""
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", opening, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    writer = await asyncio.to_thread(open, tmp_path / "silent.csv", "wb")  # opens when the child does
    [child] = psutil.Process(reader.pid).children()
    reader.kill()
    await reader.wait()
    async with asyncio.timeout(10):
        while _lives(child):  # noqa: ASYNC110 - nobody tells of another's child
            await asyncio.sleep(0.02)
    writer.close()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
