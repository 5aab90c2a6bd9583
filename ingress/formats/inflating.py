"""Compressed bytes out, counted as they come: no size that a file claims is believed."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingress.formats.opening import FileDamaged, FileEncrypted, FileUnpacksTooLarge

# A million rows of eleven columns are 0.6 GB as a sheet's XML and 0.2 GB as CSV (measured); twice that is a
# file made to fill the disk.
MAX_INFLATED_BYTES = 1024 * 1024 * 1024

# The XML of a sheet of names shrinks to a fifth, that of one value repeated in every cell to a fortieth
# (measured); deflate's own bound is 1,032.
MAX_RATIO = 200

# Below this, unpacking costs nothing: a small file of blanks may have any ratio.
FREE_BYTES = 16 * 1024 * 1024

PIECE_BYTES = 256 * 1024

_ENCRYPTED = 0x01


class Allowance:
    """How much one file may unpack to, over all of its parts."""

    def __init__(self, packed_bytes: int) -> None:
        self._limit = min(MAX_INFLATED_BYTES, max(FREE_BYTES, MAX_RATIO * packed_bytes))
        self._taken = 0

    def pieces(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        """What `read(n)` gives until it gives nothing. Raises FileUnpacksTooLarge."""
        while piece := read(PIECE_BYTES):
            self._taken += len(piece)
            if self._taken > self._limit:
                raise FileUnpacksTooLarge(
                    limit_megabytes=MAX_INFLATED_BYTES // (1024 * 1024), ratio=MAX_RATIO
                )
            yield piece


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ZIP archive's directory. Errors of reading it or its entries become FileDamaged.

    Raises FileEncrypted when an entry has a password.
    """
    with damage_refused(), zipfile.ZipFile(path) as archive:
        if any(entry.flag_bits & _ENCRYPTED for entry in archive.infolist()):
            raise FileEncrypted()
        yield archive


@contextmanager
def damage_refused() -> Iterator[None]:
    """Whatever the libraries raise on broken compressed data, as FileDamaged."""
    try:
        yield
    except NotImplementedError as error:
        problem = "it is compressed in a way that is not supported."
        raise FileDamaged(problem=problem) from error
    except EOFError as error:
        raise FileDamaged(problem="it ends too early.") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, RuntimeError) as error:
        raise FileDamaged(problem="its compressed data contradict themselves.") from error
