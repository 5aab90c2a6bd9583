"""The parent's side of opening a file: start the limited child, take its rows as they come, judge its end.

The child is trusted with nothing: its output is counted, its silence is timed, its environment holds no
setting and no secret, and whatever kills it is one refused file. Memory here is one piece and one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import structlog

from ingress.formats.child import Request, TableHead
from ingress.formats.limits import Limits
from ingress.formats.opening import Asked, FileDamaged, FileTooDemanding, Kind
from ingress.formats.rows import MAX_ROW_BYTES
from sluice.errors import Refused

log = structlog.get_logger("sluice.ingress")

PIECE_BYTES = 256 * 1024

# No line is longer than a row may be; the head is bound alike.
MAX_LINE_BYTES = 2 * MAX_ROW_BYTES

# Between the end of its output and its own: it has nothing left to do.
ENDING_SECONDS = 5.0

# The end of what a dying child writes says why. Only a place and a type of it go to the log
# (`child.tell_place`): the rest may hold a cell's value.
READ_BYTES = 16 * 1024
_PLACE = re.compile(r'^  File "([^"\n]{1,300})", line (\d{1,9})', re.MULTILINE)
_TYPE = re.compile(r"^([A-Za-z_][\w.]{0,200})(?::|$)", re.MULTILINE)

NOTHING_ASKED = Asked()
DEFAULT_LIMITS = Limits()


class _Ending(msgspec.Struct):
    """The child's last line: how many rows came, or what refuses the file."""

    rows: int = 0
    error: _Error | None = None


class _Error(msgspec.Struct):
    type: str
    facts: dict[str, Any]


class OpenedFile:
    """A file that is being opened: its head is known, its rows come with `pieces`."""

    def __init__(self, child: _Child, head: TableHead) -> None:
        self.head = head
        self.row_count = 0  # known when all pieces were taken
        self._child = child

    async def pieces(self) -> AsyncIterator[bytes]:
        """The rows as `stored_rows` reads them: pieces of whole lines, of about 256 KiB. To be called once.

        Raises what refuses the file; what came until then is not all of it.
        """
        while True:
            rows, last_line = _split(await self._child.lines())
            if rows:
                yield rows
            if last_line:
                self.row_count = _ending(last_line).rows
                return


@contextlib.asynccontextmanager
async def open_rows(
    path: Path,
    kind: Kind,
    asked: Asked = NOTHING_ASKED,
    limits: Limits = DEFAULT_LIMITS,
    *,
    within: Path | None = None,
) -> AsyncIterator[OpenedFile]:
    """Open a file in a child process, which ends with this context however that ends.

    The child's own folder is made `within` another, by default where temporary files are.

    Raises FileRefused, and OptionInvalid for what was asked.
    """
    with TemporaryDirectory(prefix="sluice-opening-", dir=within) as folder:
        child = await _Child.start(Request(str(path), kind, asked, limits), Path(folder))
        try:
            yield OpenedFile(child, await child.head())
        finally:
            await child.stop()


class _Child:
    """The child process: its output line by line, within its limits."""

    def __init__(self, process: Process, limits: Limits, words: Path) -> None:
        assert process.stdout is not None
        self._process = process
        self._output = process.stdout
        self._limits = limits
        self._words = words  # what it writes beside its output
        self._taken = 0
        self._held = b""  # what came and was not handed out

    @classmethod
    async def start(cls, request: Request, folder: Path) -> _Child:
        """Start it with a folder of its own for what it unpacks."""
        words = folder / "words"
        with words.open("wb") as beside:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Isolated: neither the environment nor the working directory says what is imported. And
                # nothing is compiled to disk: a limited process would leave half a module there.
                *("-I", "-B", "-m", "ingress.formats.child", msgspec.json.encode(request).decode()),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=beside,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": str(folder)},
                start_new_session=True,  # a Ctrl-C at the terminal is the parent's to handle
            )
        return cls(process, request.limits, words)

    async def head(self) -> TableHead:
        """The first line. Raises what refuses the file."""
        first, _, rest = (await self.lines()).partition(b"\n")
        if first.startswith(b'{"error"'):
            _ending(first)
        self._held = rest + self._held
        return msgspec.json.decode(first, type=TableHead)

    async def lines(self) -> bytes:
        """The next whole lines. Raises what its end says when there are none, and when a limit is passed."""
        while (behind := self._held.rfind(b"\n") + 1) == 0:
            if len(self._held) > MAX_LINE_BYTES:
                raise FileDamaged(problem="what it holds makes no rows.")
            data = await self._read()
            if not data:
                raise await self._verdict()
            self._held += data
        lines, self._held = self._held[:behind], self._held[behind:]
        return lines

    async def stop(self) -> None:
        """End it if it lives, and take what it has written: only then is its end seen."""
        if self._process.returncode is None:
            self._process.kill()
        while await self._output.read(PIECE_BYTES):
            pass
        await self._process.wait()

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._limits.silent_seconds):
                data = await self._output.read(PIECE_BYTES)
        except TimeoutError as error:
            raise FileTooDemanding(resource="time") from error
        self._taken += len(data)
        if self._taken > self._limits.output_bytes:
            raise FileTooDemanding(resource="room")
        return data

    async def _verdict(self) -> Refused:
        """Why it ended without a last line."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDING_SECONDS):
                await self._process.wait()
        await self.stop()
        code = self._process.returncode
        words = _end_of(self._words)
        log.warning("file opener died", exit=code, **_place_in(words))
        if code == -signal.SIGXCPU:
            return FileTooDemanding(resource="time")
        # Rust says so and aborts; the kernel, when the machine has no more, kills.
        if code == -signal.SIGKILL or (code == -signal.SIGABRT and "memory allocation" in words):
            return FileTooDemanding(resource="memory")
        return FileDamaged(problem="reading it ended in an error.")


def _end_of(words: Path) -> str:
    with words.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - READ_BYTES))
        return file.read().decode("utf-8", "replace")


def _place_in(words: str) -> dict[str, str]:
    """Where the last error came from, and its type; nothing where a signal ended the child."""
    places = list(_PLACE.finditer(words))
    if not places:
        return {}
    kind = _TYPE.search(words, places[-1].end())
    return {"place": f"{places[-1][1]}:{places[-1][2]}", "error": kind[1] if kind else ""}


def _split(lines: bytes) -> tuple[bytes, bytes]:
    """The rows and the last line, if it is among these: it alone begins with a brace."""
    if lines.startswith(b"{"):
        return b"", lines
    rows, mark, last = lines.rpartition(b"\n{")
    return (rows + b"\n", b"{" + last) if mark else (lines, b"")


def _ending(line: bytes) -> _Ending:
    """The last line, read. Raises the refusal that it carries."""
    ending = msgspec.json.decode(line, type=_Ending)
    if ending.error is not None:
        raise _refusal(ending.error)
    return ending


def _refusal(error: _Error) -> Refused:
    """The child's refusal as one of this process."""
    classes: list[type[Refused]] = [Refused]
    for known in classes:
        if known.__name__ == error.type:
            return known(**error.facts)
        classes += known.__subclasses__()
    raise LookupError(f"the refusal {error.type} is not one of opening.py, rows.py or errors.py")
