"""One folder for the temporary files of one reader; those of readers that were killed are removed.

A reader holds a lock on its folder for as long as it lives: whose lock is free, that reader has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "sluice-reader-"


@contextlib.contextmanager
def own_folder(instance: str) -> Iterator[Path]:
    """A new folder below where temporary files are, named for this reader, and removed at the end."""
    for left_behind in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), _locked(left_behind):
            shutil.rmtree(left_behind, ignore_errors=True)
    with contextlib.ExitStack() as lock:
        folder = _made(re.sub(r"[^\w.]", "_", instance), lock)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _made(name: str, lock: contextlib.ExitStack) -> Path:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-"))
        # Until it is locked, another reader that starts may take it for one that was left behind.
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            lock.enter_context(_locked(folder))
            if folder.exists():
                return folder


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises OSError when the folder is gone or another's."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
