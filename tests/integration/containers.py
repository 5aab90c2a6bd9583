"""The same servers in containers, for machines with a Docker engine."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from testcontainers.core.container import DockerContainer

from cli.local import credentials, kafka, objectstore, postgres
from cli.local.credentials import Credentials
from cli.local.layout import Layout
from cli.local.ports import Ports
from cli.local.probes import answers_http
from cli.local.world import make_world, settings_of
from sluice.settings import Settings

START_SECONDS = 120.0


@cache
def engine_answers() -> bool:
    """Whether there is a Docker engine that we may use."""
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@dataclass(frozen=True)
class ContainerStack:
    """The servers in containers, their world made."""

    env: dict[str, str]

    def settings(self, **changes: str) -> Settings:
        """The settings as the roles read them; `changes` are by environment name."""
        return settings_of({**self.env, **changes})


@contextmanager
def containers(directory: Path) -> Iterator[ContainerStack]:
    """Start the four servers with the images of docker-compose.yml, on free ports of the loopback."""
    project = Path(__file__).resolve().parents[2]
    services = yaml.safe_load((project / "docker-compose.yml").read_text("utf-8"))["services"]
    images = {name: service["image"] for name, service in services.items() if "image" in service}
    layout = Layout(project=project, home=directory, servers=directory)
    layout.make()
    made, ports = Credentials.of(layout), Ports.free(0)
    with ExitStack() as running:
        running.enter_context(_postgres(images["postgres"], ports, made))
        running.enter_context(_kafka(images["kafka"], ports))
        env = credentials.settings(layout, ports, made)
        running.enter_context(_s3(images["s3"], ports, made, env["BROWSER_ORIGINS"]))
        asyncio.run(_until(lambda: postgres.answers(env["MIGRATE_DATABASE_URL"])))
        asyncio.run(postgres.create_roles_and_databases(ports, made))
        running.enter_context(_registry(images["registry"], ports))
        asyncio.run(_until(lambda: _all_answer(env)))
        asyncio.run(make_world(settings_of(env)))
        yield ContainerStack(env)


async def _all_answer(env: dict[str, str]) -> bool:
    keys = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    return (
        await asyncio.to_thread(kafka.every_partition_has_a_leader, env["KAFKA_BOOTSTRAP_SERVERS"])
        and await objectstore.answers(env["S3_ENDPOINT_URL"], *keys)
        and await answers_http(f"{env['SCHEMA_REGISTRY_URL']}/subjects")
    )


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not await holds():  # noqa: ASYNC110 - a server in a container sends no event
            await asyncio.sleep(0.1)


def _container(image: str, port: int, inside: int, **environment: str) -> DockerContainer:
    container = DockerContainer(image).with_bind_ports(inside, ("127.0.0.1", port))
    for name, value in environment.items():
        container = container.with_env(name, value)
    return container


def _postgres(image: str, ports: Ports, made: Credentials) -> DockerContainer:
    return _container(
        image,
        ports.postgres,
        5432,
        POSTGRES_USER=credentials.OWNER,
        POSTGRES_PASSWORD=made["POSTGRES_PASSWORD"],
        POSTGRES_DB=credentials.DATABASE,
    )


def _kafka(image: str, ports: Ports) -> DockerContainer:
    return _container(
        image,
        ports.kafka,
        19092,
        KAFKA_NODE_ID="1",
        KAFKA_PROCESS_ROLES="broker,controller",
        KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
        KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
        KAFKA_LISTENERS="HOST://:19092,LOCAL://localhost:9092,CONTROLLER://localhost:9093",
        KAFKA_ADVERTISED_LISTENERS=f"HOST://127.0.0.1:{ports.kafka},LOCAL://localhost:9092",
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="HOST:PLAINTEXT,LOCAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        KAFKA_INTER_BROKER_LISTENER_NAME="LOCAL",
        KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
        KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
        KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
        KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
        KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
        CLUSTER_ID=secrets.token_urlsafe(16),
    )


def _s3(image: str, ports: Ports, made: Credentials, origins: str) -> DockerContainer:
    return _container(
        image,
        ports.s3,
        80,
        S3PROXY_AUTHORIZATION="aws-v2-or-v4",
        S3PROXY_IDENTITY=made["AWS_ACCESS_KEY_ID"],
        S3PROXY_CREDENTIAL=made["AWS_SECRET_ACCESS_KEY"],
        S3PROXY_CORS_ALLOW_ORIGINS=origins,
        S3PROXY_CORS_ALLOW_METHODS="GET HEAD PUT POST",
        S3PROXY_CORS_ALLOW_HEADERS="content-type content-length content-md5 x-amz-*",
        S3PROXY_CORS_EXPOSED_HEADERS="ETag",
        JCLOUDS_PROVIDER="filesystem-nio2",
    )


def _registry(image: str, ports: Ports) -> DockerContainer:
    # From inside a container the host's loopback is another one, so it keeps its schemas in memory.
    return _container(image, ports.registry, 8080)
