"""Every bad input of the doors that take a file: a status, a code, a sentence, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
import pytest

from tests.integration.doors.api import Answer, Api, Tenant, form

S0, V1 = "/api/contacts/import", "/v1/imports"
GOOD = b"Email,First Name\nann@example.com,Ann\nbob@example.com,Bob\n"
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Refusal:
    """What is sent, and what has to come back."""

    status: int
    code: str
    says: str
    content: bytes = GOOD
    filename: str = "contacts.csv"
    fields: Mapping[str, str] = field(default_factory=dict)


REFUSALS = {
    "an empty file": Refusal(422, "FILE_EMPTY", "The file is empty.", b""),
    "only line ends": Refusal(422, "FILE_EMPTY", "The file is empty.", b"\r\n\n"),
    "a header only": Refusal(422, "FILE_HAS_NO_ROWS", "no rows below it", b"Email,Name\n"),
    "a header and blank lines": Refusal(422, "FILE_HAS_NO_ROWS", "no rows below it", b"Email\n\n\n"),
    "a PDF named .csv": Refusal(415, "UNSUPPORTED_FILE_TYPE", "it is a PDF document", b"%PDF-1.7\n%\xe2\xe3"),
    "a picture": Refusal(415, "UNSUPPORTED_FILE_TYPE", "PNG image", b"\x89PNG\r\n\x1a\n\x00\x00"),
    "no required column": Refusal(
        422, "MISSING_COLUMN", "Its columns are: Name, City", b"Name,City\nAnn,Oslo\n"
    ),
    "one byte over the limit": Refusal(
        413, "FILE_TOO_LARGE", "larger than 1 MB", (GOOD + b"x" * MEGABYTE)[: MEGABYTE + 1]
    ),
    "far over the limit": Refusal(413, "FILE_TOO_LARGE", "larger than 1 MB", GOOD + b"x" * 6 * MEGABYTE),
    "one single line": Refusal(422, "HEADER_UNREADABLE", "does not end within", b"Email," * 170_000),
    "too many rows": Refusal(
        422, "TOO_MANY_ROWS", "more than 2000 rows", b"Email\n" + b"a@example.com\n" * 2001
    ),
    "a field of another name": Refusal(
        422, "VALIDATION_ERROR", 'no option "on_dupplicate"', fields={"on_dupplicate": "skip"}
    ),
}

S0_REFUSALS = {
    "a wrong duplicate_handling": Refusal(
        422,
        "VALIDATION_ERROR",
        'duplicate_handling cannot be "replace"; use skip or overwrite.',
        fields={"duplicate_handling": "replace"},
    ),
    "a policy of another door": Refusal(
        422, "VALIDATION_ERROR", "use skip or overwrite", fields={"duplicate_handling": "fill_blanks"}
    ),
    "a ZIP archive": Refusal(415, "UNSUPPORTED_FILE_TYPE", "ZIP archive", b"PK\x03\x04\x14\x00\x06\x00"),
    "JSON": Refusal(415, "UNSUPPORTED_FILE_TYPE", "JSON document", b'[{"email": "a@example.com"}]'),
    "no email column": Refusal(422, "MISSING_COLUMN", "no email column", b"Phone\n+12125550101\n"),
}

V1_REFUSALS = {
    "an unknown policy": Refusal(
        422, "VALIDATION_ERROR", "on_duplicate cannot be", fields={"on_duplicate": "replace"}
    ),
    "an unknown region": Refusal(422, "VALIDATION_ERROR", "region cannot be", fields={"region": "XX"}),
    "a delimiter of two": Refusal(422, "VALIDATION_ERROR", "delimiter cannot be", fields={"delimiter": ",,"}),
    "a letter as delimiter": Refusal(
        422, "VALIDATION_ERROR", "delimiter cannot be", fields={"delimiter": "a"}
    ),
    "an unknown encoding": Refusal(
        422, "VALIDATION_ERROR", "encoding cannot be", fields={"encoding": "klingon"}
    ),
    "a list of another organization": Refusal(
        422,
        "VALIDATION_ERROR",
        "list_id cannot be",
        fields={"list_id": "00000000-0000-4000-8000-000000000000"},
    ),
    "two lists": Refusal(
        422,
        "VALIDATION_ERROR",
        "not by both",
        fields={"list_id": "00000000-0000-4000-8000-000000000000", "list_name": "Friends"},
    ),
    "a mapping that is no object": Refusal(
        422, "VALIDATION_ERROR", "mapping cannot be", fields={"mapping": "[1]"}
    ),
    "a mapping to a field that is none": Refusal(
        422, "VALIDATION_ERROR", "does not exist", fields={"mapping": '{"Email": "shoe_size"}'}
    ),
    "a mapping of a column that is none": Refusal(
        422, "VALIDATION_ERROR", "names the column", fields={"mapping": '{"Mail": "email"}'}
    ),
    "a row number that is none": Refusal(
        422, "VALIDATION_ERROR", "exclude_rows cannot be", fields={"exclude_rows": "1,two"}
    ),
    "row zero": Refusal(422, "VALIDATION_ERROR", "exclude_rows cannot be", fields={"exclude_rows": "[0]"}),
    "no truth value": Refusal(422, "VALIDATION_ERROR", "dry_run cannot be", fields={"dry_run": "perhaps"}),
}

CASES = [
    pytest.param(path, refusal, id=f"{path} {name}")
    for path, refusals in ((S0, REFUSALS | S0_REFUSALS), (V1, REFUSALS | V1_REFUSALS))
    for name, refusal in refusals.items()
]


def assert_refused(answer: Answer, status: int, code: str, says: str, path: str) -> None:
    """The error object of S4, with a sentence for a person, on both doors."""
    assert (answer.status, answer.code) == (status, code), answer.text
    assert says in answer.message
    assert answer.message.endswith(".")
    error = answer.json["error"]
    assert set(error) == {"code", "message", "details", "timestamp", "requestId"}
    assert set(error["details"]) == {"field", "value", "constraint"}
    assert error["requestId"] == answer.headers["X-Request-ID"]
    assert ("success" in answer.json) == (path == S0)


@pytest.mark.requirement("S0-011", "S0-012", "S0-013", "S0-015", "S0-034", "S0-035", "S0-037", "S0-043")
@pytest.mark.requirement("K-19", "K-20", "K-21")
@pytest.mark.parametrize(("path", "refusal"), CASES)
async def test_what_cannot_be_imported_is_refused_and_leaves_nothing(
    api: Api, tenant: Tenant, path: str, refusal: Refusal
) -> None:
    """A status, a code, a sentence; no object and no job."""
    before = await api.objects()

    answer = await tenant.upload(refusal.content, path, name=refusal.filename, **refusal.fields)

    assert_refused(answer, refusal.status, refusal.code, refusal.says, path)
    assert await api.objects() == before
    assert await tenant.jobs() == 0


FORMS: dict[str, tuple[Callable[[], aiohttp.FormData], str]] = {
    "no file": (lambda: form(duplicate_handling="skip"), "FILE_MISSING"),
    "a file that nobody chose": (lambda: form(("file", b"", "")), "FILE_MISSING"),
    "two files": (lambda: form(("file", GOOD, "a.csv"), ("file", GOOD, "b.csv")), "SEVERAL_FILES"),
    "two files of two names": (lambda: form(("file", GOOD, "a.csv"), ("other", GOOD, "b")), "SEVERAL_FILES"),
}


@pytest.mark.requirement("S0-002", "S0-037", "S0-043")
@pytest.mark.parametrize("path", [S0, V1])
@pytest.mark.parametrize("name", FORMS)
async def test_a_form_without_exactly_one_file_is_refused(
    api: Api, tenant: Tenant, path: str, name: str
) -> None:
    """400 for none and for two, and the first of two is not kept."""
    make, code = FORMS[name]
    before = await api.objects()

    answer = await tenant.post(path, data=make())

    assert_refused(answer, 400, code, "file", path)
    assert await api.objects() == before
    assert await tenant.jobs() == 0


@pytest.mark.parametrize("path", [S0, V1])
async def test_a_body_that_is_no_form_is_refused(tenant: Tenant, path: str) -> None:
    """A plain body has no file in it."""
    answer = await tenant.post(path, data=GOOD, headers={"Content-Type": "text/csv"})
    assert_refused(answer, 400, "FILE_MISSING", "multipart/form-data", path)


async def test_a_file_id_of_nothing_is_refused_clearly(tenant: Tenant) -> None:
    """Nothing was uploaded under that id; without one the sentence says what to send."""
    answer = await tenant.post(V1, json={"fileId": "file_00000000-0000-4000-8000-000000000000"})
    assert_refused(answer, 404, "NOT_FOUND", "no upload with this id", V1)
    answer = await tenant.post(V1, json={"on_duplicate": "skip"})
    assert_refused(answer, 422, "VALIDATION_ERROR", "POST /api/upload", V1)


def half_a_request(tenant: Tenant, path: str, *, claimed: int, sent: bytes) -> bytes:
    """A request that claims more bytes than it has."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {tenant.token}\r\n"
        f"Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: {claimed}\r\n\r\n"
    )
    part = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    return head.encode() + part + sent


@pytest.mark.requirement("S0-037", "S0-043")
@pytest.mark.parametrize("path", [S0, V1])
async def test_a_body_that_stops_half_way_is_refused(api: Api, tenant: Tenant, path: str) -> None:
    """The client says nothing more: 400, no object, no job."""
    before = await api.objects()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(half_a_request(tenant, path, claimed=10_000, sent=GOOD))

    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()

    assert text.startswith("HTTP/1.1 400 ")
    assert "X-Request-ID: " in text
    assert await api.objects() == before
    assert await tenant.jobs() == 0


@pytest.mark.requirement("S0-037", "S0-043")
@pytest.mark.parametrize("sent", [GOOD, GOOD * 2000], ids=["small", "large"])
async def test_a_client_that_hangs_up_leaves_nothing(api: Api, tenant: Tenant, sent: bytes) -> None:
    """Nobody is there to be answered; nothing stays of what was sent."""
    before = await api.objects()
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(half_a_request(tenant, V1, claimed=900_000, sent=sent))
    await writer.drain()

    writer.close()
    await writer.wait_closed()

    await asyncio.sleep(0.6)
    assert await api.objects() == before
    assert await tenant.jobs() == 0


@pytest.mark.parametrize("path", [S0, V1])
async def test_a_form_that_ends_without_its_boundary_is_no_whole_file(
    api: Api, tenant: Tenant, path: str
) -> None:
    """A proxy that ends a cut body properly must not make half a file a whole one."""
    before = await api.objects()
    body = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + GOOD
    for end in (b"", b"\r\n", b"\r\n--X", b"\r\n--XX"):
        answer = await tenant.post(
            path, data=body + end, headers={"Content-Type": "multipart/form-data; boundary=XX"}
        )
        assert answer.status == 400, answer.text
        assert answer.code in ("BODY_INCOMPLETE", "BODY_MALFORMED")
    assert await api.objects() == before
    assert await tenant.jobs() == 0


ACCEPTED = {
    "a NUL byte": GOOD + b"ni\0ck@example.com,Nick\n",
    "an unclosed quote on line 3": b'Email,Name\na@example.com,A\n"b@example.com,B\n'
    + b"c@example.com,C\n" * 997,
    "ragged rows": b"Email,Name\na@example.com\nb@example.com,B,C,D\n",
    "duplicate headers": b"Email,Email,Email\na@example.com,b@example.com,\n",
    "a very long row": b"Email,Name\na@example.com," + b"x" * 1_000_000 + b"\n",
    "exactly the limit": (GOOD + b"x" * MEGABYTE)[: MEGABYTE - 1] + b"\n",
    "quoted line ends beyond the limit of rows": b"Email,Notes\n" + b'a@example.com,"1\n2\n3"\n' * 900,
    "exactly as many rows as allowed": b"Email\n" + b"a@example.com\r\n" * 2000,
}


@pytest.mark.requirement("S0-011", "S0-036", "S0-043")
@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_only_some_rows_suffer_from_is_taken_in(api: Api, tenant: Tenant, name: str) -> None:
    """Broken rows are the rows' own fault: the file becomes a job."""
    answer = await tenant.upload(ACCEPTED[name])
    assert answer.status == 202, answer.text
    assert await tenant.jobs() == 1


@pytest.mark.requirement("S0-003")
async def test_the_order_of_the_form_does_not_matter(api: Api, tenant: Tenant) -> None:
    """Fields may follow the file, and are checked all the same."""
    data = form(("file", b"Mail;Anything\nann@example.com;x\n", "a.csv"))
    for name, value in {
        "on_duplicate": "overwrite",
        "mapping": '{"Anything": "notes", "Mail": "email"}',
    }.items():
        data.add_field(name, value)
    answer = await tenant.post(V1, data=data)
    assert answer.status == 202, answer.text
    assert answer.json["data"]["options"]["on_duplicate"] == "overwrite"

    data = form(("file", GOOD, "a.csv"))
    data.add_field("on_duplicate", "wrong")
    answer = await tenant.post(V1, data=data)
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")
    assert await tenant.jobs() == 1


async def test_errors_of_unknown_addresses_have_the_same_shape(tenant: Tenant) -> None:
    """404 and 405 are told like any other refusal."""
    missing = await tenant.get("/v1/nowhere")
    assert (missing.status, missing.code) == (404, "NOT_FOUND")
    wrong = await tenant.api.call("DELETE", V1, token=tenant.token)
    assert (wrong.status, wrong.code) == (405, "METHOD_NOT_ALLOWED")
    assert wrong.headers["Allow"] == "GET, POST"
    assert json.loads(wrong.text)["error"]["requestId"] == wrong.headers["X-Request-ID"]
