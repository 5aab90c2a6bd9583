"""Whatever a body is made of, it is an import or the sender's fault: never a 5xx, never a thing left."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.doors.api import Api, Tenant

PIECES = st.one_of(
    st.sampled_from(
        [
            b"--XX\r\n",
            b"--XX--\r\n",
            b"--XX",
            b"--XX--",
            b"--XY\r\n",
            b"\r\n--XX\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b'Content-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n',
            b'Content-Disposition: form-data; name="file"; filename=""\r\n\r\n',
            b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%ff%00.csv\r\n\r\n",
            b'Content-Disposition: form-data; name="on_duplicate"\r\n\r\n',
            b'Content-Disposition: form-data; name="_charset_"\r\n\r\nklingon\r\n',
            b"Content-Disposition: form-data\r\n\r\n",
            b"Content-Disposition: \xff\xfe\r\n",
            b"Content-Type: multipart/mixed; boundary=YY\r\n\r\n--YY\r\n\r\n\r\n--YY--\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Content-Length: 99999999999\r\n",
            b"Content-Length: -1\r\n",
            b"Header without colon\r\n",
            b"X: " + b"y" * 9000 + b"\r\n",
            b"Email,Name\r\nann@example.com,Ann\r\n",
            b'Email\n"never closed\n',
            b"skip",
            b"overwrite",
            b"\x00" * 50,
            b"%PDF-1.7",
        ]
    ),
    st.binary(max_size=200),
)
TYPES = st.sampled_from(
    [
        "multipart/form-data; boundary=XX",
        'multipart/form-data; boundary="XX"',
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "X" * 71,
        "multipart/mixed; boundary=XX",
        "multipart/",
        "text/csv",
        "application/json",
        "",
    ]
)
BODIES = st.lists(PIECES, max_size=12).map(b"".join)
STARTED = BODIES.map(
    lambda rest: (
        b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nEmail\n' + rest
    )
)


@pytest.mark.requirement("S0-037", "S0-041")
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=st.one_of(BODIES, STARTED),
    content_type=TYPES,
    path=st.sampled_from(["/v1/imports", "/api/contacts/import"]),
    encoding=st.sampled_from(["", "", "", "", "gzip", "deflate", "br", "klingon"]),
)
async def test_no_body_breaks_the_doors(
    api: Api, tenant: Tenant, body: bytes, content_type: str, path: str, encoding: str
) -> None:
    """Refused with a 4xx, a code and a sentence, leaving neither object nor job; or taken in."""
    objects, jobs = await api.objects(), await tenant.jobs()
    headers = {"Content-Type": content_type}
    if encoding:
        headers["Content-Encoding"] = encoding
    answer = await api.call("POST", path, token=tenant.token, data=body, headers=headers)

    if answer.status == 202:
        assert await tenant.jobs() == jobs + 1
        return
    assert 400 <= answer.status < 500, answer.text
    assert answer.code
    assert answer.message.endswith(".")
    assert await api.objects() == objects
    assert await tenant.jobs() == jobs
