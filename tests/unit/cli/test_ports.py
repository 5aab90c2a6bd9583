"""The ports: defaults, variables, and the sentences about those that cannot be had."""

from __future__ import annotations

import os
import socket

import pytest

from cli.local.failures import PortInvalid, PortsCollide, PortTaken
from cli.local.ports import Ports, free_ports, is_free, require_free


def test_the_defaults_are_the_documented_ones() -> None:
    """Without variables the ports are those of the documentation."""
    assert Ports.of({}) == Ports(8000, 15432, 19092, 18081, 19000, 18100)


def test_every_port_has_its_variable() -> None:
    """What `environment` names, `of` reads back."""
    ports = Ports(1, 2, 3, 4, 5, 6)
    assert set(ports.environment()) == {
        "SLUICE_API_PORT",
        "SLUICE_POSTGRES_PORT",
        "SLUICE_KAFKA_PORT",
        "SLUICE_REGISTRY_PORT",
        "SLUICE_S3_PORT",
        "SLUICE_METRICS_PORT",
    }
    assert Ports.of(ports.environment()) == ports


@pytest.mark.parametrize("value", ["0", "65536", "-1", "http", "80 80", "１２３４", "8000.0"])
def test_a_malformed_port_is_named(value: str) -> None:
    """The sentence names the variable and its value."""
    with pytest.raises(PortInvalid, match="SLUICE_S3_PORT") as caught:
        Ports.of({"SLUICE_S3_PORT": value})
    assert value in str(caught.value)


def test_an_empty_variable_means_the_default() -> None:
    """As in a shell, empty is not set."""
    assert Ports.of({"SLUICE_S3_PORT": ""}).s3 == 19000


def test_one_port_for_two_servers_is_refused() -> None:
    """Both variables are named."""
    with pytest.raises(
        PortsCollide, match=r"SLUICE_POSTGRES_PORT and SLUICE_KAFKA_PORT both want port 15432"
    ):
        Ports.of({"SLUICE_KAFKA_PORT": "15432"})


def test_a_taken_port_names_its_owner_and_its_variable() -> None:
    """Who has it, and how to choose another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(PortTaken) as caught:
            require_free(port, "kafka", "SLUICE_KAFKA_PORT")
    sentence = str(caught.value)
    assert f"Port {port} (kafka) is taken by" in sentence
    assert f"(process {os.getpid()})" in sentence
    assert "SLUICE_KAFKA_PORT=NUMBER" in sentence


def test_a_port_left_by_a_closed_connection_can_be_had() -> None:
    """A restart need not wait for TIME_WAIT."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as all servers do
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first and so keeps the port in TIME_WAIT
        client.close()
    assert is_free(port)


def test_free_ports_are_different_and_avoid_what_they_are_told() -> None:
    """No port is given twice."""
    first = free_ports(5)
    assert len(set(first)) == 5
    assert not set(free_ports(20, avoid=first)) & set(first)


def test_a_stack_of_many_roles_gets_a_row_of_metrics_ports() -> None:
    """Each role has a port of its own, none of them another server's."""
    ports = Ports.free(roles=6)
    metrics = set(range(ports.metrics, ports.metrics + 6))
    assert not metrics & {ports.api, ports.postgres, ports.kafka, ports.registry, ports.s3}
    assert all(is_free(port) for port in metrics)
