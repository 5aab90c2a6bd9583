"""The deployment files name the roles, ports and settings that the code has."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import roles
from cli.local.ports import Ports, variable
from sluice.settings import Settings

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="services", scope="module")
def _services() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text("utf-8"))
    return dict(parsed["services"])


def test_compose_runs_every_role_and_server(services: dict[str, Any]) -> None:
    """The same as the local stack, and the one that prepares."""
    assert set(services) == {*roles.ALL, "postgres", "kafka", "s3", "registry", "migrate"}
    for role in roles.ALL:
        assert services[role]["command"] == ["run", role]


def test_compose_binds_to_the_loopback_alone(services: dict[str, Any]) -> None:
    """And to the documented ports by default, under the same variables."""
    published = {port for service in services.values() for port in service.get("ports", ())}
    defaults = Ports()
    expected = {name: getattr(defaults, name) for name in ("api", "postgres", "kafka", "registry", "s3")}
    assert {port.rpartition(":")[0] for port in published} == {
        f"127.0.0.1:${{{variable(name)}:-{port}}}" for name, port in expected.items()
    }


def test_compose_starts_in_order(services: dict[str, Any]) -> None:
    """The roles wait for the world to be made, which waits for servers that answer."""
    for role in roles.ALL:
        assert services[role]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["migrate"]["depends_on"] == {
        server: {"condition": "service_healthy"} for server in ("postgres", "kafka", "s3", "registry")
    }
    for name in ("postgres", "kafka", "s3", "registry", *roles.ALL):
        assert "test" in services[name]["healthcheck"], name


def test_compose_sets_what_a_role_needs(services: dict[str, Any]) -> None:
    """Every setting without a default is there, and every name set is one that is read."""
    given = {name.lower() for name in services["ingress"]["environment"]}
    required = {name for name, field in Settings.model_fields.items() if field.is_required()}
    assert required <= given
    assert given <= set(Settings.model_fields)
    assert "migrate_database_url" in {name.lower() for name in services["migrate"]["environment"]}
    assert "migrate_database_url" not in given, "the roles must not be able to change tables"


def test_no_secret_has_a_default(services: dict[str, Any]) -> None:
    """A missing one stops the start with a sentence; `make .env` knows them all."""
    text = (PROJECT / "docker-compose.yml").read_text("utf-8")
    example = (PROJECT / ".env.example").read_text("utf-8")
    secret = re.findall(r"\$\{([A-Z_]+):\?([^}]*)\}", text)
    assert {name for name, _ in secret} == set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))
    assert {hint for _, hint in secret} == {"run `make .env`"}
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text):
        assert not re.search(r"SECRET|PASSWORD|KEY", name), f"{name} has the default {default}"
    assert services["migrate"]["command"] == ["prepare"]


def test_images_are_pinned(services: dict[str, Any]) -> None:
    """No `latest`, and the servers in the versions of the local stack."""
    pom = (PROJECT / "deploy" / "local" / "pom.xml").read_text("utf-8")
    versions = dict(re.findall(r"<(\w+)\.version>([\d.]+)<", pom))
    assert services["kafka"]["image"] == f"apache/kafka:{versions['kafka']}"
    assert services["registry"]["image"] == f"apicurio/apicurio-registry:{versions['apicurio']}"
    assert services["s3"]["image"] == f"andrewgaul/s3proxy:{versions['s3proxy']}"
    assert services["postgres"]["image"] == f"postgres:{versions['postgres'].split('.')[0]}"


def test_the_image_runs_as_an_ordinary_user() -> None:
    """And from a Python that the project supports, with the locked dependencies."""
    dockerfile = (PROJECT / "deploy" / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER sluice$", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile
    assert "EXPOSE 8000" in dockerfile


def test_make_help_names_every_target() -> None:
    """`make` alone lists what can be made."""
    done = subprocess.run(
        ["make", "-C", str(PROJECT)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    for target in ("setup", "demo", "test", "check", "bench", "chaos", "down", "clean"):
        assert f"make {target}" in done.stdout


def test_uv_is_one_version_everywhere() -> None:
    """What the Makefile brings is what the image is built with."""
    versions = {
        re.search(r"UV_VERSION := ([\d.]+)", (PROJECT / "Makefile").read_text("utf-8")),
        re.search(r"uv==([\d.]+)", (PROJECT / "deploy" / "Dockerfile").read_text("utf-8")),
    }
    assert len({found.group(1) for found in versions if found is not None}) == 1
    assert None not in versions
