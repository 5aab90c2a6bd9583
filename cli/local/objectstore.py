"""S3Proxy over a directory: signatures, expiry and POST policies are enforced as in S3."""

from __future__ import annotations

from collections.abc import Sequence

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from cli.local.credentials import REGION, Credentials
from cli.local.fetch import Servers
from cli.local.layout import Layout
from cli.local.ports import HOST, Ports
from cli.local.probes import listens
from cli.local.unit import Unit, java, server_environment

NAME = "s3"
HEAP_MEGABYTES = 128


def objectstore(
    layout: Layout, ports: Ports, servers: Servers, credentials: Credentials, origins: Sequence[str]
) -> Unit:
    """The object store as a unit; browsers may upload from pages of these origins."""
    directory = layout.data / "s3"
    properties = layout.run / "s3proxy.properties"
    endpoint = f"http://{HOST}:{ports.s3}"

    def prepare() -> None:
        (directory / "objects").mkdir(parents=True, exist_ok=True)
        properties.touch(mode=0o600)
        properties.write_text(_properties(layout, ports, credentials, origins), encoding="utf-8")

    async def ready() -> bool:
        return await listens(HOST, ports.s3) and await answers(
            endpoint, credentials["AWS_ACCESS_KEY_ID"], credentials["AWS_SECRET_ACCESS_KEY"]
        )

    return Unit(
        name=NAME,
        kind="server",
        command=(
            *java(layout.temporary, HEAP_MEGABYTES, "-DLOG_LEVEL=warn"),
            "-jar",
            str(servers.s3proxy),
            "--properties",
            str(properties),
        ),
        environment=server_environment(layout.home),
        address=f"{HOST}:{ports.s3}",
        ready=ready,
        prepare=prepare,
    )


def _properties(layout: Layout, ports: Ports, credentials: Credentials, origins: Sequence[str]) -> str:
    """S3Proxy's configuration, in which origins are regular expressions and a backslash is written twice."""
    allowed = " ".join(origin.replace(".", r"\\.") for origin in origins)
    return f"""\
s3proxy.endpoint=http://{HOST}:{ports.s3}
s3proxy.authorization=aws-v2-or-v4
s3proxy.identity={credentials["AWS_ACCESS_KEY_ID"]}
s3proxy.credential={credentials["AWS_SECRET_ACCESS_KEY"]}
s3proxy.cors-allow-origins={allowed}
s3proxy.cors-allow-methods=GET HEAD PUT POST
s3proxy.cors-allow-headers=content-type content-length content-md5 x-amz-*
s3proxy.cors-exposed-headers=ETag
jclouds.provider=filesystem-nio2
jclouds.identity=local
jclouds.credential=local
jclouds.filesystem.basedir={layout.data / "s3" / "objects"}
"""


async def answers(endpoint: str, access_key: str, secret_key: str) -> bool:
    """Whether the store answers a signed call."""
    config = AioConfig(
        connect_timeout=1, read_timeout=2, retries={"max_attempts": 0}, s3={"addressing_style": "path"}
    )
    client = get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=config,
    )
    try:
        async with client as s3:
            await s3.list_buckets()
    except (BotoCoreError, ClientError, OSError):
        return False
    return True
