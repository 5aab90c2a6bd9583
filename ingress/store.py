"""The object store's border: what the API stores, reads back and removes; botocore's errors stop here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from sluice.errors import SourceChanged, StoreUnavailable
from sluice.settings import Settings

READ_BYTES = 256 * 1024

# How long one answer may take: a connection that has become slow is given up for a new one.
SLOW_SECONDS = 10.0

# What the store answers when the object is gone or is another version than the pinned one.
_CHANGED = frozenset({"404", "412", "416", "NoSuchKey", "PreconditionFailed", "InvalidRange"})
_BROKEN = (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError)
NOT_IMPLEMENTED = 501
_BUCKET_EXISTS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists", "409"})


class Stored(NamedTuple):
    """A version of an object."""

    etag: str
    size_bytes: int


class Store:
    """One bucket. Every method raises StoreUnavailable when the store does not do as asked.

    Reads name the ETag that they expect and raise SourceChanged when the object is gone or another.
    """

    def __init__(
        self, client: Any, bucket: str, slow_seconds: float = SLOW_SECONDS, *, signer: Any = None
    ) -> None:
        self._client = client
        self._signer = signer or client
        self._bucket = bucket
        self._slow_seconds = slow_seconds

    async def put(self, key: str, data: bytes) -> str:
        """Store a whole object; its ETag."""
        with _translated(key):
            answer = await self._client.put_object(Bucket=self._bucket, Key=key, Body=data)
        return str(answer["ETag"])

    async def begin(self, key: str) -> str:
        """Begin an object that comes in parts; the upload's id."""
        with _translated(key):
            answer = await self._client.create_multipart_upload(Bucket=self._bucket, Key=key)
        return str(answer["UploadId"])

    async def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        """Store part `number` (from 1; all but the last have 5 MiB or more); its ETag."""
        with _translated(key):
            answer = await self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data
            )
        return str(answer["ETag"])

    async def complete(self, key: str, upload_id: str, etags: Sequence[str]) -> str:
        """Make the parts one object; the object's ETag."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        with _translated(key):
            answer = await self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
            )
        return str(answer["ETag"])

    async def abort(self, key: str, upload_id: str) -> None:
        """Forget an object that was begun, and its parts."""
        with _translated(key):
            await self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with _translated(key):
            await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def head(self, key: str) -> Stored:
        """What is stored under this key now. Raises SourceChanged when nothing is."""
        with _translated(key):
            answer = await self._client.head_object(Bucket=self._bucket, Key=key)
        return Stored(str(answer["ETag"]), int(answer["ContentLength"]))

    async def get(self, key: str) -> bytes:
        """A whole object that is known to be small, in its present version. Raises SourceChanged."""
        with _translated(key):
            answer = await self._client.get_object(Bucket=self._bucket, Key=key)
            async with answer["Body"] as body:
                return bytes(await body.read())

    async def read(self, key: str, etag: str, start: int, end: int) -> bytes:
        """The bytes from `start` on, up to but not including `end`, of this version of the object.

        Fewer where the answer is slow or breaks off: what came is kept, so that reading goes on from there.
        """
        if start >= end:
            return b""
        with _translated(key):
            answer = await self._client.get_object(
                Bucket=self._bucket, Key=key, IfMatch=etag, Range=f"bytes={start}-{end - 1}"
            )
            received = bytearray()
            try:
                async with asyncio.timeout(self._slow_seconds), answer["Body"] as body:
                    while piece := await body.read(READ_BYTES):
                        received += piece
            except _BROKEN:
                if not received:
                    raise
            return bytes(received)

    async def stream(
        self, key: str, etag: str, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes]:
        """This version of the object from `start` up to, but without, `end`, in pieces of up to 256 KiB."""
        if end is not None and start >= end:
            return
        last = "" if end is None else end - 1
        with _translated(key):
            answer = await self._client.get_object(
                Bucket=self._bucket, Key=key, IfMatch=etag, Range=f"bytes={start}-{last}"
            )
            async with answer["Body"] as body:
                while piece := await body.read(READ_BYTES):
                    yield piece

    async def presign_put(self, key: str, content_type: str, seconds: int) -> str:
        """A URL to which anybody may PUT this key with this content type for so long (S1-034)."""
        where = {"Bucket": self._bucket, "Key": key, "ContentType": content_type}
        with _translated(key):
            url = await self._signer.generate_presigned_url("put_object", Params=where, ExpiresIn=seconds)
        return str(url)

    async def presign_post(
        self, key: str, content_type: str, max_bytes: int, seconds: int
    ) -> tuple[str, dict[str, str]]:
        """A form to POST this key with: its URL and its fields; the store refuses more than `max_bytes`."""
        conditions = [{"Content-Type": content_type}, ["content-length-range", 0, max_bytes]]
        with _translated(key):
            form = await self._signer.generate_presigned_post(
                self._bucket, key, {"Content-Type": content_type}, conditions, seconds
            )
        return str(form["url"]), dict(form["fields"])

    async def allow_uploads(self, origins: Sequence[str]) -> bool:
        """Let pages of these origins upload; False where the store has no such call (its settings say it)."""
        rule = {
            "AllowedOrigins": list(origins),
            "AllowedMethods": ["GET", "HEAD", "PUT", "POST"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 3600,
        }
        with _translated(self._bucket):
            try:
                await self._client.put_bucket_cors(
                    Bucket=self._bucket, CORSConfiguration={"CORSRules": [rule]}
                )
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != NOT_IMPLEMENTED:
                    raise
                return False
        return True

    async def check(self) -> None:
        """Return when the bucket answers."""
        with _translated(self._bucket):
            await self._client.head_bucket(Bucket=self._bucket)

    async def make_bucket(self) -> None:
        """Make the bucket unless it is there."""
        with _translated(self._bucket):
            try:
                await self._client.create_bucket(Bucket=self._bucket)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _BUCKET_EXISTS:
                    raise


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The settings' bucket. Opening makes no call, so it works while the store is away."""
    async with AsyncExitStack() as exits:
        client = await exits.enter_async_context(_client(settings, settings.s3_endpoint_url))
        signer = client
        if settings.s3_public_url:
            signer = await exits.enter_async_context(_client(settings, settings.s3_public_url))
        yield Store(client, settings.s3_bucket_name, signer=signer)


def _client(settings: Settings, endpoint: str | None) -> AbstractAsyncContextManager[Any]:
    config = AioConfig(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=50,
        retries={"total_max_attempts": 2, "mode": "standard"},
        # Version 2 of the signature, which presigning would else choose, binds fewer headers.
        signature_version="s3v4",
        # Stores other than Amazon's know neither names as hosts nor the newer checksums.
        s3={"addressing_style": "path" if endpoint else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client: AbstractAsyncContextManager[Any] = get_session().create_client(
        "s3",
        region_name=settings.aws_region,
        endpoint_url=endpoint,
        aws_access_key_id=settings.aws_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        config=config,
    )
    return client


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _CHANGED:
            raise SourceChanged(key=key) from error
        raise StoreUnavailable from error
    except _BROKEN as error:
        raise StoreUnavailable from error
