"""A small client of our own API, for the commands that a person uses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from sluice.errors import SluiceError

READ_BYTES = 256 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
"""No limit on the whole: an upload takes as long as its bytes. A silent server is noticed."""

Json = dict[str, Any]


class ApiAway(SluiceError):
    """The API at {address} does not answer. Start it with `sluice up`, or name another in SLUICE_URL."""


class ApiRefused(SluiceError):
    """{message}"""


class FileUnreadable(SluiceError):
    """{path} cannot be read: {reason}."""


class Api:
    """Calls with one token; every answer is the value of `data`, every refusal the API's own sentence."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def import_file(
        self,
        path: Path,
        options: Mapping[str, str],
        sent: Callable[[int], None],
        *,
        heals: uuid.UUID | None = None,
    ) -> Json:
        """Upload a file, streaming; `sent` hears of the bytes on their way. The new job, or the one it heals.

        Raises:
            FileUnreadable, ApiRefused, ApiAway.
        """
        form = aiohttp.FormData()
        # The options come first: the server reads in order, and knows what is wanted before the file ends.
        for name, value in options.items():
            form.add_field(name, value)
        form.add_field("file", _pieces(path, sent), filename=path.name, content_type="text/csv")
        address = "/v1/imports" if heals is None else f"/v1/imports/{heals}/rows"
        answer = await self._call("POST", address, data=form)
        return dict(answer["data"])

    async def commit(self, job_id: uuid.UUID) -> Json:
        """Write a dry run; its job, which may still be on its way."""
        return dict((await self._call("POST", f"/v1/imports/{job_id}/commit"))["data"])

    async def job(self, job_id: uuid.UUID) -> Json:
        """One job as it stands."""
        return dict((await self._call("GET", f"/v1/imports/{job_id}"))["data"])

    async def jobs(self, limit: int) -> list[Json]:
        """The organization's newest jobs."""
        return list((await self._call("GET", "/v1/imports", params={"limit": str(limit)}))["data"])

    async def undo(self, job_id: uuid.UUID) -> Json:
        """Have an import undone; the job."""
        return dict((await self._call("POST", f"/v1/imports/{job_id}/undo"))["data"])

    async def kept(self, job_id: uuid.UUID, limit: int) -> list[Json]:
        """The first contacts that the undo of a job kept."""
        params = {"limit": str(limit)}
        return list((await self._call("GET", f"/v1/imports/{job_id}/undo", params=params))["data"])

    async def rows(self, job_id: uuid.UUID, outcome: str | None, limit: int) -> AsyncIterator[Json]:
        """A job's rows in order, page after page, up to `limit` of them."""
        params = {"limit": str(min(limit, 500))} | ({"outcome": outcome} if outcome else {})
        left = limit
        while left > 0:
            page = await self._call("GET", f"/v1/imports/{job_id}/rows", params=params)
            for row in page["data"][:left]:
                left -= 1
                yield row
            cursor = page.get("pagination", {}).get("next_cursor")
            if not cursor:
                return
            params["cursor"] = str(cursor)

    async def _call(self, method: str, path: str, **arguments: Any) -> Json:
        try:
            async with self._session.request(method, self._address + path, **arguments) as answer:
                body = await _json(answer)
        except aiohttp.ClientConnectorError as error:
            raise ApiAway(address=self._address) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error.__cause__, FileUnreadable):
                raise error.__cause__ from error
            raise ApiAway(address=self._address) from error
        if answer.status >= 400:
            raise ApiRefused(message=_sentence(answer.status, body))
        return body


@asynccontextmanager
async def open_api(address: str, token: str) -> AsyncIterator[Api]:
    """A client of the API at `address`, such as http://127.0.0.1:8000."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=TIMEOUT) as session:
        yield Api(session, address.rstrip("/"))


async def _pieces(path: Path, sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, READ_BYTES):
                yield piece
                sent(len(piece))
    except OSError as error:
        raise FileUnreadable(path=path, reason=error.strerror or type(error).__name__) from error


async def _json(answer: aiohttp.ClientResponse) -> Json:
    try:
        body = await answer.json()
    except (aiohttp.ContentTypeError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _sentence(status: int, body: Json) -> str:
    error = body.get("error")
    if isinstance(error, dict) and error.get("message"):
        return str(error["message"])
    return str(body.get("message") or error or f"The API answered with status {status} and no reason.")
