"""Roles by name, and each with an environment of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import roles
from cli.local.failures import RoleUnknown
from cli.local.layout import Layout
from cli.local.ports import Ports
from cli.local.roles import units

LAYOUT = Layout(Path("/project"), Path("/project/home"), Path("/project/servers"))


def test_a_list_of_roles_is_read_in_its_order() -> None:
    """Spaces do not matter, a role may be named twice, `none` is none."""
    assert roles.parse("sink, streams,streams") == ("sink", "streams", "streams")
    assert roles.parse("none") == ()


@pytest.mark.parametrize("text", ["sinks", "ingress,none", "ingress;sink"])
def test_an_unknown_role_is_named_with_the_known_ones(text: str) -> None:
    """The sentence lists what there is."""
    with pytest.raises(RoleUnknown, match="ingress, reader, streams, sink, tasks"):
        roles.parse(text)


def test_an_unknown_role_cannot_be_loaded() -> None:
    """`sluice run` answers as `sluice up --roles` does."""
    with pytest.raises(RoleUnknown, match="no role sinks"):
        roles.load("sinks")


def test_each_role_has_its_own_metrics_port_and_instance() -> None:
    """Two of one role differ by instance, which is their static member id."""
    made = units(LAYOUT, Ports(metrics=100), {"JWT_SECRET": "s"}, ("reader", "streams", "streams"))
    assert [unit.name for unit in made] == ["reader", "streams", "streams-1"]
    assert [unit.environment["METRICS_PORT"] for unit in made] == ["100", "101", "102"]
    assert [unit.environment["INSTANCE"] for unit in made] == ["0", "0", "1"]
    assert made[2].metrics == "http://127.0.0.1:102/metrics"
    assert made[2].command[-2:] == ("run", "streams")


def test_the_ingress_answers_on_the_api_port() -> None:
    """Its health and metrics are the API's own."""
    (unit,) = units(LAYOUT, Ports(api=80), {}, ("ingress",))
    assert unit.health == "http://127.0.0.1:80/health"
    assert unit.environment["API_PORT"] == "80"


def test_the_stack_s_settings_beat_those_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DATABASE_URL that someone has exported must not lead the local roles to another database."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://production")
    monkeypatch.setenv("GOOGLE_CLIENT_ID", "mine")
    (unit,) = units(LAYOUT, Ports(), {"DATABASE_URL": "postgresql://local"}, ("sink",))
    assert unit.environment["DATABASE_URL"] == "postgresql://local"
    assert unit.environment["GOOGLE_CLIENT_ID"] == "mine"
    assert unit.environment["PATH"] == os.environ["PATH"]
