"""The secrets that a stack makes for itself, and the settings made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.local.credentials import Credentials, read_settings, settings, write_settings
from cli.local.layout import Layout
from cli.local.ports import Ports
from cli.local.world import settings_of


@pytest.fixture(name="layout")
def _layout(tmp_path: Path) -> Layout:
    layout = Layout(project=tmp_path, home=tmp_path / "home", servers=tmp_path / "servers")
    layout.make()
    return layout


def test_secrets_are_made_once_and_kept(layout: Layout) -> None:
    """A second start finds the secrets of the first: the data was written under them."""
    assert Credentials.of(layout) == Credentials.of(layout)


def test_two_stacks_share_no_secret(layout: Layout, tmp_path: Path) -> None:
    """No secret has a default."""
    other = Layout(project=tmp_path, home=tmp_path / "other", servers=tmp_path)
    other.make()
    first, second = Credentials.of(layout).values, Credentials.of(other).values
    assert not set(first.values()) & set(second.values())


def test_only_the_owner_may_read_them(layout: Layout) -> None:
    """Neither the group nor others, whatever the umask."""
    Credentials.of(layout)
    write_settings(layout.env_file, {"NAME": "value"})
    for path in (layout.secrets_file, layout.env_file):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_secret_that_is_new_is_added_to_the_kept_ones(layout: Layout) -> None:
    """An older stack that lacks one keeps the others."""
    kept = dict(Credentials.of(layout).values)
    del kept["IDENTITY_HASH_KEY"]
    write_settings(layout.secrets_file, kept)
    assert {name: Credentials.of(layout)[name] for name in kept} == kept
    assert len(bytes.fromhex(Credentials.of(layout)["IDENTITY_HASH_KEY"])) == 32


def test_secrets_are_not_in_a_representation(layout: Layout) -> None:
    """A traceback or a log line that shows the object shows no secret."""
    made = Credentials.of(layout)
    assert not any(secret in repr(made) for secret in made.values.values())


def test_the_settings_are_those_that_the_roles_read(layout: Layout) -> None:
    """What the stack writes down is complete and well-formed for the product's own settings."""
    made = settings(layout, Ports(api=1, postgres=2, kafka=3, registry=4, s3=5), Credentials.of(layout))
    read = settings_of(made)
    assert read.kafka_bootstrap_servers == "127.0.0.1:3"
    assert read.schema_registry_url == "http://127.0.0.1:4/apis/ccompat/v7"
    assert read.s3_endpoint_url == "http://127.0.0.1:5"
    assert read.api_port == 1
    assert "sluice_api:" in read.database_url.get_secret_value()
    assert "sluice_sink:" in read.sink_database_url.get_secret_value()


def test_settings_files_are_read_line_by_line(tmp_path: Path) -> None:
    """Comments and empty lines are passed over, a value may hold an equals sign, no file is no settings."""
    path = tmp_path / "env"
    path.write_text("# A=1\n\nB=postgresql://x?a=b\n  C = d \nnonsense\n", "utf-8")
    assert read_settings(path) == {"B": "postgresql://x?a=b", "C": "d"}
    assert read_settings(tmp_path / "none") == {}
