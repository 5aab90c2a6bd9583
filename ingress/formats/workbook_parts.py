"""An xlsx file as the archive it is: sound, of bearable size, and the cells that calamine shows otherwise.

The sheets' XML is unpacked once anyway to count its true size, and searched for signs of such cells
(`xlsx_cells`) then. A sheet that has some is read a second time along with its rows, and so is every sheet of
a workbook with a format of zeros.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from posixpath import join, normpath

from ingress.formats.inflating import Allowance, open_archive
from ingress.formats.opening import FileDamaged
from ingress.formats.xlsx_cells import SIGNS, SIGNS_BYTES, Masks, ShownCell, masks_of, shown_cells

# calamine reads these alone; pictures and the like are never unpacked.
_READ_PARTS = (".xml", ".rels", ".bin")


def check_parts(path: Path) -> frozenset[str]:
    """See that a workbook's parts can be unpacked; the names of those with signs of such cells.

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
        return frozenset(part.filename for part in read if _has_signs(archive, part, allowance))


def cells_shown(path: Path, sheet: str, parts: frozenset[str]) -> Iterator[ShownCell]:
    """The cells of one sheet that calamine shows otherwise, in the order of the file.

    `parts` are those with signs of them.
    """
    with open_archive(path) as archive:
        workbook = next((name for name in archive.namelist() if name.lower().endswith("workbook.xml")), None)
        if workbook is None:
            return
        relations = _relations(archive, workbook)
        styles = next((part for kind, part in relations.values() if kind.endswith("/styles")), None)
        masks: Masks = {}
        if styles in archive.namelist():
            with archive.open(styles) as stream:
                masks = masks_of(stream)
        _, part = relations.get(_relation_of(archive, workbook, sheet), ("", ""))
        if part not in archive.namelist() or not (masks or part in parts):
            return
        with archive.open(part) as stream:
            yield from shown_cells(stream, masks)


def _has_signs(archive: zipfile.ZipFile, part: zipfile.ZipInfo, allowance: Allowance) -> bool:
    found, last = False, b""
    with archive.open(part) as stream:
        for piece in allowance.pieces(stream.read):
            found = found or SIGNS.search(last + piece) is not None
            last = piece[-SIGNS_BYTES:]
    return found


def _relation_of(archive: zipfile.ZipFile, workbook: str, sheet: str) -> str:
    """The relationship by which the workbook names this sheet's part."""
    for element in _elements(archive, workbook, "sheet"):
        if element.get("name") == sheet:
            return next((value for key, value in element.items() if key.endswith("}id")), "")
    return ""


def _relations(archive: zipfile.ZipFile, workbook: str) -> dict[str, tuple[str, str]]:
    """The workbook's relationships: the kind and the part of each."""
    folder, _, name = workbook.rpartition("/")
    return {
        element.get("Id", ""): (element.get("Type", ""), normpath(join("/", folder, target)).lstrip("/"))
        for element in _elements(archive, join(folder, "_rels", f"{name}.rels"), "Relationship")
        if (target := element.get("Target"))
    }


def _elements(archive: zipfile.ZipFile, part: str, name: str) -> list[ElementTree.Element]:
    try:
        # Entities cannot harm here: expat bounds what they grow to, and this is the limited child.
        root = ElementTree.fromstring(archive.read(part))  # noqa: S314
    except (KeyError, ElementTree.ParseError):
        return []
    return [element for element in root.iter() if element.tag.rpartition("}")[2] == name]
