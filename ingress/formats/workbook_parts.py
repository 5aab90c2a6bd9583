"""An xlsx file as the archive it is: sound, of bearable size, and the error cells that calamine leaves out.

calamine answers a cell such as #N/A as an empty one, but a person should see that a look-up failed. So the
sheets' XML, which is unpacked once anyway to count its true size, is searched for such cells, and a sheet
that has some is read a second time along with its rows.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from posixpath import join, normpath

from ingress.formats.inflating import PIECE_BYTES, Allowance, open_archive
from ingress.formats.opening import FileDamaged

# calamine reads these alone; pictures and the like are never unpacked.
_READ_PARTS = (".xml", ".rels", ".bin")

# A formula may have 8,192 characters ("Excel specifications and limits"), each up to six bytes as an entity.
_CELL_BYTES = 64 * 1024
_ERROR_TYPE = re.compile(rb"""\st=["']e["']""")
_ERROR_CELL = re.compile(
    rb"""<(?:\w+:)?c\s(?=[^<>]*?\bt=["']e["'])[^<>]*?\br=["']([A-Z]{1,3})([0-9]{1,7})["'][^<>]*>"""
    rb"""(?:(?!</(?:\w+:)?c>).){0,60000}?<(?:\w+:)?v>([^<]{1,40})</""",
    re.DOTALL,
)

ErrorCell = tuple[int, int, str]  # row and column from 0, the text


def check_parts(path: Path) -> frozenset[str]:
    """See that a workbook's parts can be unpacked; the names of those that have error cells.

    Raises FileDamaged, FileEncrypted, FileUnpacksTooLarge.
    """
    allowance = Allowance(path.stat().st_size)
    with open_archive(path) as archive:
        parts = archive.infolist()
        twice = [
            name for name, count in Counter(part.filename.lower() for part in parts).items() if count > 1
        ]
        if twice:
            raise FileDamaged(problem=f'it has two parts named "{twice[0]}".')
        read = [part for part in parts if part.filename.lower().endswith(_READ_PARTS)]
        return frozenset(part.filename for part in read if _has_errors(archive, part, allowance))


def error_cells(path: Path, sheet: str, parts: frozenset[str]) -> Iterator[ErrorCell]:
    """The error cells of one sheet in the order of the file, if its part is among these."""
    with open_archive(path) as archive:
        part = _part_of(archive, sheet)
        if part not in parts:
            return
        with archive.open(part) as stream:
            held = b""
            while piece := stream.read(PIECE_BYTES):
                held += piece
                behind = 0
                for cell in _ERROR_CELL.finditer(held):
                    behind = cell.end()
                    yield int(cell[2]) - 1, _column(cell[1]), cell[3].decode("utf-8", "replace")
                held = held[max(behind, len(held) - _CELL_BYTES) :]


def _has_errors(archive: zipfile.ZipFile, part: zipfile.ZipInfo, allowance: Allowance) -> bool:
    found, last = False, b""
    with archive.open(part) as stream:
        for piece in allowance.pieces(stream.read):
            found = found or _ERROR_TYPE.search(last + piece) is not None
            last = piece[-8:]
    return found


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """The part that holds this sheet: the workbook names a relationship, which names the part."""
    workbook = next((name for name in archive.namelist() if name.lower().endswith("workbook.xml")), None)
    if workbook is None:
        return None
    folder, _, name = workbook.rpartition("/")
    wanted = next(
        (
            next((value for key, value in element.items() if key.endswith("}id")), None)
            for element in _elements(archive, workbook, "sheet")
            if element.get("name") == sheet
        ),
        None,
    )
    for element in _elements(archive, join(folder, "_rels", f"{name}.rels"), "Relationship"):
        if element.get("Id") == wanted and (target := element.get("Target")):
            return normpath(join("/", folder, target)).lstrip("/")
    return None


def _elements(archive: zipfile.ZipFile, part: str, name: str) -> list[ElementTree.Element]:
    try:
        # Entities cannot harm here: expat bounds what they grow to, and this is the limited child.
        root = ElementTree.fromstring(archive.read(part))  # noqa: S314
    except (KeyError, ElementTree.ParseError):
        return []
    return [element for element in root.iter() if element.tag.rpartition("}")[2] == name]


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number - 1
