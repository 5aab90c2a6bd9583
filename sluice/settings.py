"""The environment, read in one place. No secret has a default; the local stack makes its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sluice.errors import SettingsInvalid

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?")


class Settings(BaseSettings):
    """Everything that can be set from outside; names are the environment's, in lower case here."""

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, frozen=True)

    # PostgreSQL: the API's role is under row security, the workers' role bypasses it (D10).
    database_url: SecretStr
    sink_database_url: SecretStr
    # Only `sluice migrate` uses it: a role that owns the tables and may create roles.
    migrate_database_url: SecretStr | None = None

    kafka_bootstrap_servers: str
    schema_registry_url: str

    aws_region: str = "us-east-1"
    aws_access_key_id: SecretStr
    aws_secret_access_key: SecretStr
    s3_bucket_name: Annotated[str, Field(validation_alias=AliasChoices("s3_bucket_name", "aws_bucket_name"))]
    s3_endpoint_url: str | None = None
    # Where browsers reach the store, when that is another address than ours: presigned URLs name it.
    s3_public_url: str | None = None
    # Pages of these origins may call the API and upload to the bucket; separated by commas or blanks.
    browser_origins: str = ""
    # Where the wizard keeps what lives for an hour.
    state_backend: Literal["postgres", "objects"] = "postgres"

    jwt_secret: SecretStr
    jwt_expires_in: str = "24h"
    # The identities table knows e-mails and phones only by their hash under this key (64 hex digits).
    identity_hash_key: SecretStr

    api_host: str = "127.0.0.1"
    api_port: int = Field(8000, ge=0, le=65535)
    metrics_port: int = Field(18100, ge=0, le=65535)
    # Names this process among its role's: the static member id of its consumer group.
    instance: str = "0"
    sluice_state_dir: Path = Path(".sluice/state")

    max_file_size_mb: int = Field(100, ge=1)
    max_rows_allowed: int = Field(500_000, ge=1)
    import_wait_seconds: float = Field(10.0, ge=0)

    enable_rate_limiting: bool = True
    rate_limit_window: int = Field(3600, ge=1)
    rate_limit_max: int = Field(1000, ge=1)

    # The window of D2: batches of a job that may be on their way, and rows and bytes of one batch (D1).
    window_batches: int = Field(40, ge=1)
    batch_rows: int = Field(500, ge=1, le=500)
    batch_bytes: int = Field(512 * 1024, ge=1024, le=512 * 1024)
    # Batches that the sink writes in one transaction (D6).
    group_batches: int = Field(8, ge=1, le=64)
    lease_seconds: float = Field(15.0, gt=0)

    log_level: str = "INFO"
    debug_mode: bool = False

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value().encode()) < 32:
            raise ValueError("must be at least 32 bytes (256 bits)")
        return value

    @field_validator("browser_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in value.replace(",", " ").split():
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("must be origins such as https://app.example.com, without a path")
        return value

    @field_validator("identity_hash_key")
    @classmethod
    def _hexadecimal(cls, value: SecretStr) -> SecretStr:
        try:
            key = bytes.fromhex(value.get_secret_value())
        except ValueError:
            key = b""
        if len(key) != 32:
            raise ValueError("must be 64 hexadecimal digits (32 bytes)")
        return value

    @property
    def identity_secret(self) -> bytes:
        """The 32 bytes of `IDENTITY_HASH_KEY`."""
        return bytes.fromhex(self.identity_hash_key.get_secret_value())

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """`BROWSER_ORIGINS`, one by one."""
        return tuple(self.browser_origins.replace(",", " ").split())

    @property
    def max_file_size_bytes(self) -> int:
        """`MAX_FILE_SIZE_MB` in bytes (S1-028)."""
        return self.max_file_size_mb * 1024 * 1024


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process.

    Raises:
        SettingsInvalid: a value is missing or malformed; the sentence names it and never shows it.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = [
            f"{str(fault['loc'][0] if fault['loc'] else '').upper()} is missing."
            if fault["type"] == "missing"
            else f"{str(fault['loc'][0] if fault['loc'] else '').upper()} is not usable: {fault['msg']}."
            for fault in error.errors(include_input=False)
        ]
        raise SettingsInvalid(problem=" ".join(problems)) from None
