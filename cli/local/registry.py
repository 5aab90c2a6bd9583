"""Apicurio Registry, which keeps its schemas in PostgreSQL and speaks Confluent's API."""

from __future__ import annotations

from cli.local.credentials import REGISTRY_DATABASE, REGISTRY_ROLE, Credentials
from cli.local.fetch import Servers
from cli.local.layout import Layout
from cli.local.ports import HOST, Ports
from cli.local.probes import answers_http
from cli.local.unit import Unit, java, server_environment

NAME = "registry"
HEAP_MEGABYTES = 256


def registry(layout: Layout, ports: Ports, servers: Servers, credentials: Credentials) -> Unit:
    """The schema registry as a unit. Its database must be there."""
    environment = {
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "postgresql",
        "APICURIO_DATASOURCE_URL": f"jdbc:postgresql://{HOST}:{ports.postgres}/{REGISTRY_DATABASE}",
        "APICURIO_DATASOURCE_USERNAME": REGISTRY_ROLE,
        "APICURIO_DATASOURCE_PASSWORD": credentials["REGISTRY_DATABASE_PASSWORD"],
        "APICURIO_DATASOURCE_JDBC_INITIAL_SIZE": "2",
        "APICURIO_DATASOURCE_JDBC_MIN_SIZE": "1",
        "APICURIO_DATASOURCE_JDBC_MAX_SIZE": "5",
        "QUARKUS_HTTP_HOST": HOST,
        "QUARKUS_HTTP_PORT": str(ports.registry),
        # Its health page has a port of its own that nobody here asks: any free one will do.
        "QUARKUS_MANAGEMENT_HOST": HOST,
        "QUARKUS_MANAGEMENT_PORT": "0",
        "QUARKUS_LOG_LEVEL": "WARN",
        "QUARKUS_LOG_CONSOLE_COLOR": "false",
    }
    logging = "-Djava.util.logging.manager=org.jboss.logmanager.LogManager"
    return Unit(
        name=NAME,
        kind="server",
        command=(*java(layout.temporary, HEAP_MEGABYTES, logging), "-jar", str(servers.registry)),
        environment=server_environment(layout.home, **environment),
        address=f"{HOST}:{ports.registry}",
        ready=lambda: answers_http(f"http://{HOST}:{ports.registry}/apis/ccompat/v7/subjects"),
        directory=layout.temporary,
    )
