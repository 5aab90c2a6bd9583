"""A multipart form, read as a stream: fields into memory, the one file into whoever takes it.

aiohttp finds the parts; what a body may hold is counted here, because its own limits do not reach into a
multipart body. Fields and file may come in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError

from sluice.errors import OptionInvalid, Refused, RequestInvalid

CHUNK_BYTES = 64 * 1024
MAX_PARTS = 40
MAX_FIELD_BYTES = 1024 * 1024
"""Of all fields together: a list of excluded rows is the longest thing that anybody sends."""

IDLE_SECONDS = 30.0
"""How long a client may send nothing before it counts as gone."""

BODY_SECONDS = 3600.0
"""How long a whole body may take: 100 MB in an hour is 28 KB a second, less than any line that a file of that
size is sent over. Without it a byte every few seconds would hold a connection and an upload for ever."""


class BodyIncomplete(Refused):
    """The request ended before the whole form had arrived. Nothing was imported; send it again."""

    code = "BODY_INCOMPLETE"


class BodyMalformed(Refused):
    """The request is no well-formed multipart/form-data. Send the file as the form field "file"."""

    code = "BODY_MALFORMED"


class FileMissing(Refused):
    """The request holds no file. Send a CSV file as the form field "file" of multipart/form-data."""

    code = "FILE_MISSING"


class SeveralFiles(Refused):
    """The request holds more than one file. Send them one after the other."""

    code = "SEVERAL_FILES"


class FormTooLarge(Refused):
    """The form's fields are too many or too long: {limit} are taken at most."""

    code = "FORM_TOO_LARGE"
    status = 413


TakeFile = Callable[[str, "Chunks"], Awaitable[None]]
"""Called once with the file's name and its bytes; has to read them all."""


class Chunks:
    """The bytes of one part, in pieces of up to 64 KiB."""

    def __init__(self, part: BodyPartReader, idle_seconds: float) -> None:
        self._part = part
        self._idle_seconds = idle_seconds

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        with _translated():
            while not self._part.at_eof():
                async with asyncio.timeout(self._idle_seconds):
                    if piece := await self._part.read_chunk(CHUNK_BYTES):
                        return piece
        raise StopAsyncIteration


async def read_form(
    request: web.Request,
    fields: dict[str, str],
    take_file: TakeFile,
    *,
    idle_seconds: float = IDLE_SECONDS,
    body_seconds: float = BODY_SECONDS,
) -> None:
    """Put the form's fields into `fields`, as they come, and hand its file to `take_file`.

    Raises FileMissing, SeveralFiles, BodyIncomplete, BodyMalformed, FormTooLarge, OptionInvalid for a field
    given twice, and whatever `take_file` raises.
    """
    reader = _reader(request)
    try:
        async with asyncio.timeout(body_seconds) as whole:
            await _read_parts(reader, fields, take_file, idle_seconds)
    except TimeoutError as error:
        if not whole.expired():
            raise
        raise BodyIncomplete from error


async def _read_parts(
    reader: MultipartReader, fields: dict[str, str], take_file: TakeFile, idle_seconds: float
) -> None:
    files, parts, field_bytes = 0, 0, 0
    while (part := await _next(reader, idle_seconds)) is not None:
        parts += 1
        if parts > MAX_PARTS:
            raise FormTooLarge(limit=f"{MAX_PARTS} fields")
        name, filename = _names(part)
        chunks = Chunks(part, idle_seconds)
        if filename is None and name != "file":
            field_bytes += await _read_field(name, chunks, fields, MAX_FIELD_BYTES - field_bytes)
            continue
        files += 1
        if files > 1:
            raise SeveralFiles
        # A browser sends an empty nameless part for a file that nobody chose.
        if filename == "" and await _is_empty(chunks):
            files -= 1
            continue
        await take_file(filename or "upload.csv", chunks)
    if not files:
        raise FileMissing


def _reader(request: web.Request) -> MultipartReader:
    if request.content_type != "multipart/form-data":
        raise FileMissing
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise RequestInvalid(problem="The request's body is compressed. Send it as it is.")
    try:
        return MultipartReader(request.headers, request.content)
    except (ValueError, AssertionError, KeyError, UnicodeError) as error:
        raise BodyMalformed from error


async def _next(reader: MultipartReader, idle_seconds: float) -> BodyPartReader | None:
    with _translated():
        async with asyncio.timeout(idle_seconds):
            part = await reader.next()
    if part is None:
        return None
    if not isinstance(part, BodyPartReader):
        raise BodyMalformed
    encoding = part.headers.get("Content-Transfer-Encoding", "binary").strip().lower()
    if encoding not in ("binary", "7bit", "8bit") or "Content-Encoding" in part.headers:
        raise RequestInvalid(problem="The form's parts are encoded. Send the file's bytes as they are.")
    return part


def _names(part: BodyPartReader) -> tuple[str, str | None]:
    with _translated():
        return part.name or "", part.filename


async def _read_field(name: str, chunks: Chunks, fields: dict[str, str], room: int) -> int:
    """Read one field; its bytes."""
    value = bytearray()
    async for piece in chunks:
        value += piece
        if len(value) > room:
            raise FormTooLarge(limit=f"{MAX_FIELD_BYTES} bytes")
    if name in fields:
        raise OptionInvalid(field=name[:100], value="given twice", allowed="it once")
    try:
        fields[name] = value.decode("utf-8")
    except UnicodeDecodeError:
        raise OptionInvalid(field=name[:100], value="no UTF-8 text", allowed="UTF-8") from None
    return len(value)


async def _is_empty(chunks: Chunks) -> bool:
    async for _ in chunks:
        raise RequestInvalid(problem="The file has no name. Send it with one.")
    return True


@contextmanager
def _translated() -> Iterator[None]:
    """What aiohttp raises on a body that is cut off or is not what it says, as ours."""
    try:
        yield
    except TimeoutError as error:
        raise BodyIncomplete from error
    except (ConnectionError, EOFError, asyncio.IncompleteReadError) as error:
        raise BodyIncomplete from error
    except Refused:
        raise
    # aiohttp's multipart reader tells by ValueError, AssertionError, RuntimeError and its own errors alike
    # that a body does not follow RFC 2046; the parser of HTTP itself by the errors of its module.
    except (ValueError, AssertionError, RuntimeError, LookupError, TypeError, HttpProcessingError) as error:
        raise (BodyIncomplete if "EOF" in str(error) else BodyMalformed) from error
    except Exception as error:
        if type(error).__module__.startswith("aiohttp"):
            raise BodyIncomplete from error
        raise


def content_length(request: web.Request) -> int | None:
    """What the client says its body has; only good for refusing early."""
    length: Any = request.content_length
    return length if isinstance(length, int) else None
