"""The client of our own API, against a real HTTP server: streaming, paging, a sentence for every failure."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cli.api_client import Api, ApiAway, ApiRefused, FileUnreadable, open_api

JOB = uuid.UUID(int=7)


@pytest.fixture
async def address(unused_tcp_port: int) -> AsyncIterator[str]:
    """A server that answers as `/v1/imports` does."""
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.add_routes([
        web.post("/v1/imports", _take),
        web.get("/v1/imports/{id}", _refuse),
        web.get("/v1/imports/{id}/rows", _page),
        web.get("/v1/imports", _broken),
    ])  # fmt: skip
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    yield f"http://127.0.0.1:{unused_tcp_port}"
    await runner.cleanup()


async def _take(request: web.Request) -> web.Response:
    body = await request.read()
    names = [name.decode() for name in re.findall(rb'; name="(\w+)"', body)]
    facts = {"names": names, "file": 10 * body.count(b"x" * 10), "auth": request.headers["Authorization"]}
    return web.json_response({"data": facts})


async def _refuse(request: web.Request) -> web.Response:
    body = {
        "error": {"code": "NOT_FOUND", "message": "There is no import with this id in your organization."}
    }
    return web.json_response(body, status=404)


async def _page(request: web.Request) -> web.Response:
    first = int(request.query.get("cursor", "0"))
    found = [{"row_no": n} for n in range(first + 1, min(first + int(request.query["limit"]), 1200) + 1)]
    following = str(found[-1]["row_no"]) if found and found[-1]["row_no"] < 1200 else None
    return web.json_response({"data": found, "pagination": {"next_cursor": following}})


async def _broken(request: web.Request) -> web.Response:
    return web.Response(text="<h1>Bad gateway</h1>", status=502, content_type="text/html")


@pytest.fixture
async def api(address: str) -> AsyncIterator[Api]:
    async with open_api(address + "/", "secret") as client:
        yield client


async def test_a_file_is_streamed_behind_its_options(api: Api, tmp_path: Path) -> None:
    """The server knows what is wanted before the file ends, and the caller how far it is."""
    file = tmp_path / "contacts.csv"
    file.write_bytes(b"x" * 1_000_000)
    sent: list[int] = []
    answer = await api.import_file(file, {"mode": "atomic", "region": "DE"}, sent.append)
    assert answer == {"names": ["mode", "region", "file"], "file": 1_000_000, "auth": "Bearer secret"}
    assert sum(sent) == 1_000_000
    assert len(sent) > 1


@pytest.mark.parametrize(("limit", "count"), [(3, 3), (500, 500), (501, 501), (9999, 1200)])
async def test_rows_are_fetched_page_after_page(api: Api, limit: int, count: int) -> None:
    """Up to the limit or the end, each once and in order."""
    found: list[Any] = [row["row_no"] async for row in api.rows(JOB, None, limit)]
    assert found == list(range(1, count + 1))


async def test_a_refusal_is_the_apis_own_sentence(api: Api) -> None:
    """Nothing is translated twice."""
    with pytest.raises(ApiRefused, match="There is no import with this id in your organization"):
        await api.job(JOB)


async def test_an_answer_that_is_not_ours_still_makes_a_sentence(api: Api) -> None:
    """Such as a proxy's page."""
    with pytest.raises(ApiRefused, match="answered with status 502"):
        await api.jobs(5)


async def test_an_api_that_does_not_answer_is_named(unused_tcp_port: int) -> None:
    """With what to do about it."""
    async with open_api(f"http://127.0.0.1:{unused_tcp_port}", "t") as client:
        with pytest.raises(ApiAway, match=f"127.0.0.1:{unused_tcp_port} does not answer"):
            await client.jobs(5)


async def test_a_file_that_cannot_be_read_is_named(api: Api, tmp_path: Path) -> None:
    """A directory, or a file that went away."""
    with pytest.raises(FileUnreadable, match="cannot be read: No such file"):
        await api.import_file(tmp_path / "gone.csv", {}, lambda _: None)
