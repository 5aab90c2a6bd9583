"""`sluice token`, and how the other commands find the API and a token for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from cli import output
from cli.api_client import Api, open_api
from ingress.authentication import ROLES, issue_token
from ingress.commands.accounts import Account, ensure_account
from sluice.settings import Settings, load_settings

ORGANIZATION = "Local"
USER = "Operator"
"""Whom the commands act for where nobody says."""

TIERS = ("free", "pro", "enterprise")

organization_option = click.option(
    "--org",
    "organization",
    default=ORGANIZATION,
    show_default=True,
    metavar="NAME",
    help="The organization to act for; made if it is new.",
)


@click.command()
@organization_option
@click.option("--user", default=USER, show_default=True, metavar="NAME", help="The user; made if new.")
@click.option("--role", type=click.Choice(ROLES), default="admin", show_default=True)
@click.option(
    "--tier",
    type=click.Choice(TIERS),
    default="enterprise",
    show_default=True,
    help="The organization's from now on.",
)
@click.option("--json", "as_json", is_flag=True, help="Also answer the ids, as one JSON document.")
def token(organization: str, user: str, role: str, tier: str, as_json: bool) -> None:
    """Print a bearer token for the local stack."""
    settings = load_settings()
    account = asyncio.run(
        ensure_account(settings, organization=organization, user=user, role=role, tier=tier)
    )
    issued = token_for(settings, account)
    if as_json:
        output.print_json(
            {
                "token": issued,
                "organization_id": str(account.organization_id),
                "user_id": str(account.user_id),
            }
        )
    else:
        click.echo(issued)


def token_for(settings: Settings, account: Account) -> str:
    """A bearer token that speaks for this account."""
    return issue_token(
        settings, user_id=account.user_id, organization_id=account.organization_id, role=account.role
    )


@asynccontextmanager
async def api_for(organization: str) -> AsyncIterator[Api]:
    """The API, as the organization's operator.

    SLUICE_URL and SLUICE_TOKEN name another API and a token for it; then no settings are needed here.
    """
    address, held = os.environ.get("SLUICE_URL"), os.environ.get("SLUICE_TOKEN")
    if not (address and held):
        settings = load_settings()
        address = address or f"http://{settings.api_host}:{settings.api_port}"
        if not held:
            account = await ensure_account(settings, organization=organization, user=USER, role="admin")
            held = token_for(settings, account)
    async with open_api(address, held) as api:
        yield api
