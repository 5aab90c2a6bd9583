"""The secrets that the local stack makes for itself, once, and the settings made of them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.local.layout import Layout
from cli.local.ports import HOST, Ports

DATABASE = "sluice"
OWNER = "sluice"
API_ROLE = "sluice_api"
SINK_ROLE = "sluice_sink"
REGISTRY_ROLE = "registry"
REGISTRY_DATABASE = "registry"
BUCKET = "sluice"
REGION = "us-east-1"

# name -> bytes of randomness. Hexadecimal, so that none needs quoting anywhere.
_RANDOM_BYTES = {
    "POSTGRES_PASSWORD": 24,
    "API_DATABASE_PASSWORD": 24,
    "SINK_DATABASE_PASSWORD": 24,
    "REGISTRY_DATABASE_PASSWORD": 24,
    "JWT_SECRET": 32,
    "IDENTITY_HASH_KEY": 32,
    "AWS_ACCESS_KEY_ID": 10,
    "AWS_SECRET_ACCESS_KEY": 20,
}


@dataclass(frozen=True)
class Credentials:
    """The stack's own secrets by name."""

    values: Mapping[str, str]

    @classmethod
    def of(cls, layout: Layout) -> Credentials:
        """Those of the stack, made now where they are new. What was made is never made again."""
        kept = read_settings(layout.secrets_file)
        made = {name: secrets.token_hex(size) for name, size in _RANDOM_BYTES.items() if not kept.get(name)}
        values = {name: kept.get(name) or made[name] for name in _RANDOM_BYTES}
        if made:
            write_settings(layout.secrets_file, values)
        return cls(values)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def __repr__(self) -> str:
        return "Credentials(***)"


def database_url(role: str, password: str, port: int, database: str = DATABASE) -> str:
    """A PostgreSQL address for asyncpg."""
    return f"postgresql://{role}:{password}@{HOST}:{port}/{database}"


def settings(layout: Layout, ports: Ports, credentials: Credentials) -> dict[str, str]:
    """What the roles and the command line need to know of this stack."""
    return {
        "DATABASE_URL": database_url(API_ROLE, credentials["API_DATABASE_PASSWORD"], ports.postgres),
        "SINK_DATABASE_URL": database_url(SINK_ROLE, credentials["SINK_DATABASE_PASSWORD"], ports.postgres),
        "MIGRATE_DATABASE_URL": database_url(OWNER, credentials["POSTGRES_PASSWORD"], ports.postgres),
        "JWT_SECRET": credentials["JWT_SECRET"],
        "IDENTITY_HASH_KEY": credentials["IDENTITY_HASH_KEY"],
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": credentials["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": credentials["AWS_SECRET_ACCESS_KEY"],
        "S3_BUCKET_NAME": BUCKET,
        "S3_ENDPOINT_URL": f"http://{HOST}:{ports.s3}",
        "BROWSER_ORIGINS": os.environ.get("BROWSER_ORIGINS") or _own_origins(ports),
        "KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{ports.kafka}",
        "SCHEMA_REGISTRY_URL": f"http://{HOST}:{ports.registry}/apis/ccompat/v7",
        "SLUICE_STATE_DIR": str(layout.state),
        "API_HOST": HOST,
        "API_PORT": str(ports.api),
    }


def _own_origins(ports: Ports) -> str:
    """The API's own pages, and where a front end under development usually is."""
    return " ".join(f"http://{host}:{port}" for host in (HOST, "localhost") for port in (ports.api, 3000))


def read_settings(path: Path) -> dict[str, str]:
    """The NAME=value lines of a file, without comments; nothing when there is no file."""
    if not path.exists():
        return {}
    pairs = (line.split("=", 1) for line in path.read_text("utf-8").splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs if not name.lstrip().startswith("#")}


def write_settings(path: Path, values: Mapping[str, str]) -> None:
    """Write NAME=value lines that only their owner may read; whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
