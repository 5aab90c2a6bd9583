"""A ZIP or gzip archive with one file in it, opened as that file.

The file is unpacked into the child's own folder, counted as it comes; names inside an archive are shown to
people and never used as paths. An archive may hold one other archive, and that one none.
"""

from __future__ import annotations

import gzip
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ingress.formats.detect import detect
from ingress.formats.inflating import Allowance, damage_refused, open_archive
from ingress.formats.inspect import HEAD_BYTES
from ingress.formats.opening import ArchiveUnusable, Asked, Kind, Table, opener_of

# Shown of the names in an archive with too many files.
NAMES_SHOWN = 5

_ARCHIVES = (Kind.ZIP, Kind.GZIP)


def open_zip(path: Path, asked: Asked) -> Table:
    """Raises ArchiveUnusable, FileDamaged, FileEncrypted, FileUnpacksTooLarge, and what its file's opener
    raises. An Office document whose first bytes did not tell is opened as what its directory says.
    """
    return _open_zip(path, asked, inner=False)


def open_gzip(path: Path, asked: Asked) -> Table:
    """Raises FileDamaged, FileUnpacksTooLarge, and what the opener of its content raises."""
    return _open_gzip(path, asked, inner=False)


def _open_zip(path: Path, asked: Asked, *, inner: bool) -> Table:
    with open_archive(path) as archive:
        document = _document(archive)
        if document is None:
            entry = _only_file(archive)
            with archive.open(entry) as content:
                unpacked = _unpack(Allowance(path.stat().st_size).pieces(content.read))
    if document is not None:
        return _opened_as(document, path, asked)
    return _open_unpacked(unpacked, entry.filename, asked, inner=inner)


def _open_gzip(path: Path, asked: Asked, *, inner: bool) -> Table:
    with damage_refused(), gzip.open(path) as content:
        unpacked = _unpack(Allowance(path.stat().st_size).pieces(content.read))
    return _open_unpacked(unpacked, "", asked, inner=inner)


def _document(archive: zipfile.ZipFile) -> Kind | None:
    names = archive.namelist()
    if "[Content_Types].xml" in names:
        return Kind.XLSX
    return Kind.ODS if "mimetype" in names and "content.xml" in names else None


def _only_file(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The one file that a person put in. Folders, and what file systems hide or add, are none."""
    # Not `is_dir`, which a file without a name breaks.
    files = [
        entry
        for entry in archive.infolist()
        if not entry.filename.endswith("/") and not _hidden(entry.filename)
    ]
    if len(files) == 1:
        return files[0]
    names = ", ".join(f'"{entry.filename}"' for entry in files[:NAMES_SHOWN])
    more = f" and {len(files) - NAMES_SHOWN} more" if len(files) > NAMES_SHOWN else ""
    raise ArchiveUnusable(found=f"{len(files)}: {names}{more}" if files else "none")


def _hidden(name: str) -> bool:
    return any(part == "__MACOSX" or part.startswith(".") for part in PurePosixPath(name).parts)


def _unpack(pieces: Iterable[bytes]) -> Path:
    with tempfile.NamedTemporaryFile(prefix="unpacked-", delete=False) as file:
        file.writelines(pieces)
    return Path(file.name)


def _open_unpacked(path: Path, name: str, asked: Asked, *, inner: bool) -> Table:
    with path.open("rb") as file:
        kind = detect(file.read(HEAD_BYTES), name)
    if kind not in _ARCHIVES:
        return _opened_as(kind, path, asked)
    if inner:
        raise ArchiveUnusable(found="an archive in an archive")
    return (_open_zip if kind is Kind.ZIP else _open_gzip)(path, asked, inner=True)


def _opened_as(kind: Kind, path: Path, asked: Asked) -> Table:
    return replace(opener_of(kind)(path, asked), inner=kind)
